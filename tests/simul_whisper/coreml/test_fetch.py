"""Published encoders fetched from a hub on the loopback interface, and compared with the weights that are here."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.fetch import fetch_encoder
from simul_whisper.coreml.package import convert
from simul_whisper.errors import EncoderNotLoadedError, ModelNotFoundError
from streaming.cli import main
from tests.simul_whisper.coreml.published import compiled
from tests.simul_whisper.coreml.test_package import distilled, model_of
from tests.simul_whisper.weights.build import Tensors, random_tensors, write_ctranslate2, write_huggingface, write_mlx
from tests.simul_whisper.weights.fakehub import FakeHub, be_the_hub, fake_hub
from tests.simul_whisper.weights.test_hub import as_cached

logging.getLogger("coremltools").setLevel(logging.ERROR)
MODEL = "distil-small.en"
HUB_ID = "Systran/faster-distil-whisper-small.en"
PUBLISHED = "openai_whisper-small.en/AudioEncoder.mlmodelc"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the compiled encoder of small.en, or what stands for it here."""
    folder = tmp_path_factory.mktemp("hub")
    package = convert(model_of(folder, "small.en"), folder / "converted").path
    compiled(package, folder / "published" / PUBLISHED)
    return folder / "published"


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPER_CPP", "argmaxinc/whisperkit-coreml")
    monkeypatch.setenv("SIMUL_WHISPER_CACHE", str(tmp_path / "cache"))
    with fake_hub("argmaxinc/whisperkit-coreml", published) as hub:
        be_the_hub(hub, tmp_path / "hubcache", monkeypatch)
        yield hub


def of_a_distilled_model(tmp_path: Path) -> Tensors:
    """The tensors of a model with the published encoder and another decoder."""
    return dict(distilled(model_of(tmp_path, "small.en")).tensors)


def test_a_distilled_model_gets_its_parents_encoder_compared_with_its_weights(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_cached(write_ctranslate2(tmp_path / "weights", of_a_distilled_model(tmp_path)), tmp_path / "hubcache", HUB_ID)
    for model in (MODEL, HUB_ID):
        assert main(["coreml", "fetch", model]) == 0
        out, err = capsys.readouterr()
        found = Path(out.strip())
        assert found.parts[-2:] == tuple(PUBLISHED.split("/"))
        assert (found / "weights/weight.bin").read_bytes() == hub.files[f"{PUBLISHED}/weights/weight.bin"]
        assert f"all 12 of 12 matrices are those of {model}" in err


@pytest.mark.parametrize("write", [write_mlx, write_huggingface])
def test_a_directory_is_compared_by_what_it_is_called(
    hub: FakeHub, tmp_path: Path, write: Callable[[Path, Tensors], Path]
) -> None:
    directory = write(tmp_path / f"whisper-{MODEL}", of_a_distilled_model(tmp_path))
    assert fetch_encoder(str(directory)).comparison == f"all 12 of 12 matrices are those of {directory}"
    assert hub.downloads


def test_another_encoder_is_refused_in_one_line(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "encoder.blocks.0.mlp1.weight"
    tuned = {**random_tensors(), name: random_tensors()[name] * 2}
    directory = write_mlx(tmp_path / "small.en", tuned)
    with pytest.raises(EncoderNotLoadedError, match=r"another model than .*small\.en: 11 of 12 matrices are its own"):
        fetch_encoder(str(directory))
    assert main(["coreml", "fetch", str(directory)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert hub.downloads


def test_what_cannot_be_compared_is_said(hub: FakeHub, tmp_path: Path) -> None:
    assert fetch_encoder(MODEL).comparison.startswith(f"not compared with {MODEL}: its weights are not here; ")
    directory = write_mlx(tmp_path / "whisper-small.en-q4", random_tensors(), bits=4)
    assert "its weights here have fewer bits" in fetch_encoder(str(directory)).comparison
    assert hub.downloads


def test_a_package_of_fewer_bits_cannot_be_compared(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = replace(model_of(tmp_path, "small.en"), name="small")
    package = convert(weights, tmp_path / "converted", Conversion(quantize="int8")).path
    monkeypatch.setattr("simul_whisper.coreml.fetch.fetched_package", lambda *_, **__: package)
    directory = write_mlx(tmp_path / "small.en", random_tensors())
    assert "the package has fewer bits" in fetch_encoder(str(directory)).comparison
    assert not hub.downloads


@pytest.mark.parametrize("model", ["somebody/whisper-small", "base-tuned", "medium"])
def test_where_the_hub_has_none_the_way_to_make_one_is_named(hub: FakeHub, model: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"{model}: the hub has no Core ML encoder of it; make one"):
        fetch_encoder(model)
    assert not hub.downloads


def test_a_hub_that_never_answers_is_one_line(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.silent = True
    assert main(["coreml", "fetch", "small.en", "--download-timeout", "0.2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "the hub did not answer in time (download_timeout is 0.2 s); make one with" in err
