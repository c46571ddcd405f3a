"""whisper.cpp's files: the same model as in other formats, and blocks that mean what ggml says."""

import logging
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, Model, load_model
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.package import convert_model, encoder_digest, package_name
from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.weights import Weights, load_weights, model_directory
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.ggml_blocks import TYPES, dequantised
from simul_whisper.weights.heads import published_heads
from streaming.evaluation.scoring import word_edits
from tests.conftest import Recording
from tests.listener import every, listen, quick_listener, text_of
from tests.simul_whisper.weights import build, ggml_files

QUANTISED = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")
SMALL = replace(build.DIMS, n_vocab=51864, n_audio_state=32, n_text_state=32)
TENSORS = build.random_tensors(SMALL)


def small(file: Path, kind: str = "f16") -> Path:
    """A small model, with a tokenizer of its own beside it."""
    return ggml_files.write(file, TENSORS, SMALL, kind=kind, tokens=ggml_files.write_tokenizer(file.parent))


@pytest.fixture(scope="module")
def genuine() -> Weights:
    return load_weights("tiny.en")


@pytest.fixture(scope="module")
def genuine_file(genuine: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # As in the published file, the end of text is listed too.
    tokens = [*ggml_files.vocabulary(51864), b"<|endoftext|>"]
    folder = tmp_path_factory.mktemp("ggml")
    return ggml_files.write(folder / "ggml-tiny.en.bin", dict(genuine.tensors), genuine.dims, tokens=tokens)


def test_the_file_is_as_long_as_the_published_one(genuine_file: Path) -> None:
    assert genuine_file.stat().st_size == 77_704_715


def test_it_is_the_same_model(genuine: Weights, genuine_file: Path) -> None:
    """Which can be loaded again, whatever else is in its folder, and has the same Core ML encoder."""
    shutil.copy(genuine_file, genuine_file.with_name("ggml-other.bin"))
    weights = load_weights(str(genuine_file))
    assert (weights.name, weights.dims, weights.alignment_heads) == ("tiny.en", genuine.dims, genuine.alignment_heads)
    assert weights.tokenizer_file == genuine.tokenizer_file
    assert weights.tensors.keys() == genuine.tensors.keys()
    assert all(np.array_equal(weights.tensors[name], tensor) for name, tensor in genuine.tensors.items())
    assert encoder_digest(weights) == encoder_digest(genuine)
    assert load_directory(weights.name, weights.source).name == "tiny.en"


def test_it_writes_the_same_text(genuine_file: Path, tiny: Model, captions: Recording) -> None:
    same = load_model(AlignAttConfig(model_name=str(genuine_file)))
    chunks = every(1.0, captions.samples)
    assert text_of(listen(quick_listener(same), chunks)) == text_of(listen(quick_listener(tiny), chunks))


def test_in_8_bits_it_writes_nearly_the_same_text(genuine: Weights, captions: Recording, tmp_path: Path) -> None:
    file = ggml_files.write(tmp_path / "ggml-tiny.en-q8_0.bin", dict(genuine.tensors), genuine.dims, kind="q8_0")
    text = text_of(listen(quick_listener(load_model(AlignAttConfig(model_path=str(file)))), [captions.samples]))
    assert word_edits(captions.transcript, text, "en").errors <= 1


def slowly(block: bytes, kind: str) -> list[float]:
    """The 32 numbers of a block, one by one."""
    at, (scale, minimum) = 4, struct.unpack_from("<2e", block + bytes(2))
    if not kind.endswith("_1"):
        at, minimum = 2, 0.0
    if kind == "q8_0":
        return [scale * number for number in struct.unpack_from("<32b", block, at)]
    fifth_bits = 0
    if kind.startswith("q5"):
        (fifth_bits,) = struct.unpack_from("<I", block, at)
        at += 4
    numbers = []
    for n in range(32):
        byte = block[at + n % 16]
        number = (byte & 15 if n < 16 else byte >> 4) + 16 * (fifth_bits >> n & 1)
        numbers.append(scale * (number if kind.endswith("_1") else number - 2 ** (int(kind[1]) - 1)) + minimum)
    return numbers


@pytest.mark.parametrize("kind", QUANTISED)
def test_blocks_are_read_as_number_by_number(kind: str) -> None:
    record = TYPES[ggml_files.NUMBERS[kind]].record
    random = np.random.default_rng(1)
    # More than are read at a time; scales and minima such as models have.
    blocks = np.frombuffer(random.bytes(17_000 * record.itemsize), record).copy()
    for field in {"scale", "minimum"} & set(record.names or ()):
        blocks[field] = random.normal(size=len(blocks))
    expected = [number for block in blocks for number in slowly(block.tobytes(), kind)]
    np.testing.assert_array_equal(dequantised(blocks), np.array(expected).astype(np.float32).astype(np.float16))


@pytest.mark.parametrize("kind", ["f32", "f16", *QUANTISED])
def test_every_type_gives_the_model_within_a_step(kind: str, tmp_path: Path) -> None:
    weights = load_weights(str(small(tmp_path / f"ggml-base.en-{kind}.bin", kind)), alignment_heads=build.HEADS)
    assert weights.tensors.keys() == TENSORS.keys()
    assert {tensor.dtype for tensor in weights.tensors.values()} <= {np.dtype(np.float16), np.dtype(np.float32)}
    n_steps = 2 ** int(kind[1]) - 1
    for name, tensor in TENSORS.items():
        off = np.abs(weights.tensors[name].astype(np.float32) - tensor).max()
        is_quantised = kind.startswith("q") and tensor.ndim == 2 and name.endswith("weight")
        assert off <= (2 * np.abs(tensor).max() / n_steps if is_quantised else 0), name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ggml-base.en-q5_1.bin", "base.en-q5_1"),
        ("tuned.bin", "tuned"),
        ("small/ggml-model.bin", "small"),
        ("small/ggml-model-f32.bin", "small"),
    ],
)
def test_a_file_says_what_its_model_is_called(file: str, name: str, tmp_path: Path) -> None:
    assert load_weights(str(small(tmp_path / file)), alignment_heads=build.HEADS).name == name


@pytest.mark.parametrize("name", ["tiny.en", "tiny.en-q5_1", "tiny.en-f32"])
def test_a_quantised_model_has_the_heads_and_the_package_of_its_name(name: str, genuine: Weights) -> None:
    assert published_heads(name, genuine.dims) == genuine.alignment_heads
    assert package_name(f"models/ggml-{name}.bin") == "ggml-tiny.en-encoder.mlpackage"


def test_without_heads_they_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tuned: no alignment heads; give them as"):
        load_weights(str(small(tmp_path / "ggml-tuned.bin")))


def test_a_folder_of_one_file_is_a_model_and_of_several_is_none(tmp_path: Path) -> None:
    file = small(tmp_path / "ggml-a.bin")
    assert load_directory("x", tmp_path, build.HEADS).name == "a"
    shutil.copy(file, tmp_path / "ggml-b.bin")
    with pytest.raises(WeightsError, match=r"got 2 models, ggml-a\.bin, ggml-b\.bin; name one of the files"):
        load_directory("x", tmp_path, build.HEADS)


@pytest.mark.parametrize("name", ["ggml-base.en.bin", "models/ggml-base.en.bin"])
def test_a_file_that_is_missing_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"base\.en\.bin: no such file; expected"):
        load_weights(name)


def test_a_file_has_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="this is a file"):
        model_directory(str(small(tmp_path / "ggml-a.bin")))


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    tokens = ggml_files.write_tokenizer(tmp_path)
    file = ggml_files.write(tmp_path / "ggml-a.bin", TENSORS, SMALL, tokens=[*tokens[:65], b"Aa", *tokens[66:]])
    with pytest.raises(WeightsError, match=r"its token 65 is b'Aa', but b'b' in .*tokenizer\.json; put"):
        load_directory("a", file, build.HEADS)


def test_without_a_tokenizer_that_of_the_embedded_model_is_compared(tmp_path: Path) -> None:
    file = small(tmp_path / "ggml-a.bin")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"its token 256 is b'', but b' t' in"):
        load_directory("a", file, build.HEADS)


def test_its_encoder_becomes_a_core_ml_package(tmp_path: Path) -> None:
    pytest.importorskip("coremltools", exc_type=ImportError)
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    (converted,) = convert_model(str(small(tmp_path / "ggml-base.en-q8_0.bin", "q8_0")), tmp_path)
    assert converted.path.name == "ggml-base.en-encoder.mlpackage"
    weights = load_directory("", tmp_path, build.HEADS)
    assert describe(converted.path).metadata["encoder_sha256"] == encoder_digest(weights)
