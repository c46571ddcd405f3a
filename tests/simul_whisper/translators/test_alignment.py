"""Which heads are believed: as measured, as written down, and as the makers of a model trained them."""

import json
from pathlib import Path

import pytest

from simul_whisper.errors import WeightsError
from simul_whisper.translators.alignment import (
    Alignment,
    alignment_of,
    decoder_size,
    with_alignment,
    write_alignment,
)
from simul_whisper.translators.calibration import calibrate
from simul_whisper.translators.ctranslate2 import load_model
from simul_whisper.translators.model_files import read_files
from tests.fixture_translator import DIRECTORY, fixture_sentence, held_out
from tests.simul_whisper.translators.model_directory import copy_of_fixture

WORDS = held_out(1)[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = copy_of_fixture(tmp_path / "model")
    (directory / "alignment.json").unlink()
    return directory


def test_measuring_finds_the_head_that_was_trained_to_align(model: Path) -> None:
    found = calibrate(model, "model", held_out(40, seed=4), "en", "la")
    assert sorted((each.layer, each.heads) for each in found) == [(-1, 1), (-1, 2), (0, 1), (0, 2)]
    best, *others = found
    assert (best.layer, best.heads, best.is_believed) == (-1, 1, True)
    assert best.agreement is not None
    assert best.agreement > 0.99
    assert all((each.agreement or 0) < best.agreement for each in others)


def test_what_was_measured_is_used(model: Path) -> None:
    write_alignment(model, Alignment(layer=0, heads=2, agreement=0.97, told_early=0.3))
    written = load_model(model, "model").translate(fixture_sentence(WORDS))
    assert written == load_model(model, "model", Alignment(layer=0, heads=2)).translate(fixture_sentence(WORDS))
    trained = load_model(DIRECTORY, "model").translate(fixture_sentence(WORDS))
    assert [token.text for token in written] == [token.text for token in trained]
    assert [token.source_word for token in written] != [token.source_word for token in trained]


def test_heads_that_were_not_believed_are_not_used(model: Path) -> None:
    write_alignment(model, Alignment(agreement=0.5, told_early=0.5, is_believed=False))
    assert alignment_of(read_files(model), "opus-mt-en-la") is None


@pytest.mark.parametrize(
    ("name", "is_believed"),
    [
        ("Helsinki-NLP/opus-mt-en-de", True),
        ("gaudi/opus-mt-en-de-ctranslate2", True),
        ("opus-mt-tc-big-en-pt", False),
        ("my-own", False),
    ],
)
def test_an_opus_mt_was_trained_to_align_unless_it_is_a_big_one(model: Path, name: str, is_believed: bool) -> None:
    assert alignment_of(read_files(model), name) == (Alignment() if is_believed else None)


def test_only_the_two_numbers_change(model: Path) -> None:
    file = model / "model.bin"
    assert decoder_size(file) == (2, 2)
    assert with_alignment(file, Alignment()) is None
    changed = with_alignment(file, Alignment(layer=0, heads=2))
    assert changed is not None
    whole = file.read_bytes()
    assert len(changed) == len(whole)
    assert sum(a != b for a, b in zip(changed, whole, strict=True)) == 3
    file.write_bytes(changed)
    assert with_alignment(file, Alignment()) == whole


@pytest.mark.parametrize("named", [Alignment(2), Alignment(-3), Alignment(heads=3), Alignment(900, 900)])
def test_heads_that_a_model_does_not_have_are_refused(model: Path, named: Alignment) -> None:
    """Also those that it names itself."""
    file = model / "model.bin"
    with pytest.raises(WeightsError, match=r"expected at most 2 of one of 2 layers"):
        with_alignment(file, named)
    whole = file.read_bytes()
    header = b"decoder/alignment_layer\0\0\2\2\0\0\0"
    file.write_bytes(whole.replace(header + b"\xff\xff", header + b"\x84\x03"))
    with pytest.raises(WeightsError, match=r"got 1 heads of layer 900"):
        load_model(model, "model")
    file.write_bytes(whole.replace(header, b"decoder/alignment_layer\0\0\1\2\0\0\0"))
    with pytest.raises(WeightsError, match=r"alignment_layer is not one number of 16 bits"):
        load_model(model, "model")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"layer": "x"}', b'{"heads": 0}', b'{"layer": 40000}', b'{"unknown": 1}', b'{"layer": true}'],
)
def test_a_damaged_measurement_is_told(model: Path, content: bytes) -> None:
    (model / "alignment.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"alignment\.json: .*(measure it again|delete it)") as refused:
        alignment_of(read_files(model), "model")
    assert str(refused.value).isprintable()


def test_a_file_that_was_not_downloaded_to_its_end_is_told_to_be_that(model: Path) -> None:
    file = model / "model.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"got no layers of a decoder, expected a whole model; download"):
        with_alignment(file, None)


def test_the_fixtures_measurement_is_written_down() -> None:
    found = json.loads((DIRECTORY / "alignment.json").read_text())
    assert found["is_believed"]
    assert found["agreement"] == 1.0
