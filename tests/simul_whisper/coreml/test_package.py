"""Packages on disk: names, digests, what is in them, links, errors, and the command that makes them."""

import errno
import importlib.metadata
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simul_whisper import BackendError, ConfigError
from simul_whisper.coreml import writing
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.package import convert, encoder_digest, package_name
from simul_whisper.coreml.parity import LEAST_DB
from simul_whisper.coreml.quality import likeness_db
from simul_whisper.coreml.writing import folder_in
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.weights import Weights, load_weights
from streaming.cli import main
from tests.simul_whisper.weights.build import DIMS, HEADS, random_tensors, write_huggingface, write_mlx

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate_coreml_encoder.sh"


@pytest.fixture
def parent(tmp_path: Path) -> Weights:
    return model_of(tmp_path, "whisper-parent")


def model_of(folder: Path, name: str, **changes: Any) -> Weights:
    """A small random model; `changes`: tensors that differ."""
    file = folder / "weights.npz"
    file.write_bytes(b"weights")
    return Weights(name, DIMS, random_tensors() | changes, HEADS, folder / "tokenizer.json", (file,))


def distilled(weights: Weights) -> Weights:
    """The same encoder, another decoder, another name."""
    decoder = {name: value + 1 for name, value in weights.tensors.items() if name.startswith("decoder.")}
    return replace(weights, name="someone/other", tensors={**weights.tensors, **decoder})


def test_names_are_whisper_cpps() -> None:
    assert package_name("base") == "ggml-base-encoder.mlpackage"
    assert package_name("openai/whisper-large-v3-turbo") == "ggml-large-v3-turbo-encoder.mlpackage"


def test_the_digest_is_of_the_encoder_alone(parent: Weights) -> None:
    digest = encoder_digest(parent)
    assert digest == encoder_digest(distilled(parent))
    assert digest != encoder_digest(replace(parent, dims=replace(DIMS, n_audio_head=1)))
    bias = parent.tensors["encoder.ln_post.bias"]
    assert digest != encoder_digest(replace(parent, tensors={**parent.tensors, "encoder.ln_post.bias": bias + 1}))


def test_the_digest_sees_only_what_the_precision_keeps(parent: Weights) -> None:
    single = {name: value.astype(np.float32) for name, value in parent.tensors.items()}
    wider = replace(parent, tensors=single)
    finer = replace(parent, tensors={name: value * np.float32(1 + 1e-6) for name, value in single.items()})
    assert encoder_digest(parent) == encoder_digest(wider) == encoder_digest(finer)
    assert encoder_digest(parent, "float32") == encoder_digest(wider, "float32") != encoder_digest(finer, "float32")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"precision": "int8"}, "float16, float32"),
        ({"quantize": "int2"}, "int4, palette6"),
        ({"quantize": "int4"}, "target = macOS15, got macOS13"),
        ({"target": "macOS12"}, "macOS13"),
        ({"attention": "flash"}, "split, fused"),
        ({"attention": "fused"}, "target = macOS15"),
        ({"quantize": "int8", "precision": "float32"}, "precision = float16"),
        ({"shapes": "any"}, "enumerated, range, fixed"),
    ],
)
def test_impossible_conversions_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Conversion(**values)


def test_a_package_says_what_it_is(tmp_path: Path, parent: Weights) -> None:
    converted = convert(parent, tmp_path / "new" / "models", Conversion(quantize="int8"))
    assert converted.path == tmp_path / "new" / "models" / "ggml-parent-encoder.mlpackage"
    assert converted.linked_to is None
    description = describe(converted.path)
    assert converted.size_bytes == description.size_bytes
    assert (
        description.metadata.items()
        >= {
            "model": "whisper-parent",
            "encoder_sha256": encoder_digest(parent),
            "weights_sha256": parent.digest,
            "precision": "float16",
            "quantize": "int8",
            "target": "macOS13",
            "attention": "split",
            "shapes": "enumerated",
            "coremltools_version": importlib.metadata.version("coremltools"),
        }.items()
    )
    assert "simul_whisper_version" in description.metadata
    assert [path.name for path in converted.path.parent.iterdir() if path.suffix != ".mlmodelc"] == [
        converted.path.name
    ]


def test_a_model_with_the_same_encoder_gets_a_link(tmp_path: Path, parent: Weights) -> None:
    first = convert(parent, tmp_path)
    second = convert(distilled(parent), tmp_path)
    assert second.path.name == "ggml-other-encoder.mlpackage"
    assert second.linked_to == first.path
    assert second.path.is_symlink()
    assert second.path.resolve() == first.path.resolve()
    assert describe(second.path).metadata["model"] == "whisper-parent"
    assert convert(distilled(parent), tmp_path).linked_to == first.path
    assert convert(parent, tmp_path).linked_to is None


def test_other_encoders_and_other_conversions_are_not_shared(tmp_path: Path, parent: Weights) -> None:
    convert(parent, tmp_path)
    assert convert(distilled(parent), tmp_path, Conversion(shapes="fixed")).linked_to is None
    bias = parent.tensors["encoder.ln_post.bias"] + np.float16(0.5)
    tuned = replace(distilled(parent), name="tuned", tensors={**parent.tensors, "encoder.ln_post.bias": bias})
    assert convert(tuned, tmp_path).linked_to is None


def test_a_link_gives_way_to_a_package_of_its_own(tmp_path: Path, parent: Weights) -> None:
    first = convert(parent, tmp_path)
    link = convert(distilled(parent), tmp_path).path
    converted = convert(distilled(parent), tmp_path, Conversion(quantize="palette4"))
    assert converted.path == link
    assert not link.is_symlink()
    assert describe(first.path).metadata["quantize"] == "none"


def test_a_broken_neighbour_does_no_harm(tmp_path: Path, parent: Weights) -> None:
    (tmp_path / "ggml-broken-encoder.mlpackage").mkdir()
    (tmp_path / "ggml-gone-encoder.mlpackage").symlink_to("nowhere")
    assert convert(parent, tmp_path).linked_to is None


def test_a_failure_leaves_the_older_package_and_nothing_else(
    tmp_path: Path, parent: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = convert(parent, tmp_path / "models").path
    before = describe(package).digest

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coremltools.models.MLModel.save", full)
    with pytest.raises(ConfigError, match="No space left"):
        convert(parent, package.parent, Conversion(shapes="fixed"))
    assert describe(package).digest == before
    assert [path.name for path in package.parent.iterdir() if path.suffix != ".mlmodelc"] == [package.name]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, parent: Weights) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/models"):
        convert(parent, tmp_path / "file" / "models")


def test_without_coremltools_the_extra_is_named(
    tmp_path: Path, parent: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"simul-whisper\[coreml\]"):
        convert(parent, tmp_path)


@pytest.fixture(scope="module")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command, with the embedded model."""
    directory = tmp_path_factory.mktemp("models")
    assert main(["coreml", "convert", "tiny.en", "--output", str(directory)]) == 0
    return directory / "ggml-tiny.en-encoder.mlpackage"


def test_a_package_is_hardly_larger_than_the_weights_in_float16(tiny_package: Path) -> None:
    weights = load_weights("tiny.en")
    n_values = sum(value.size for name, value in weights.tensors.items() if name.startswith("encoder."))
    # Whisper's own checkpoints hold the encoder's positions too; ours compute them.
    n_values += weights.dims.n_audio_ctx * weights.dims.n_audio_state
    assert describe(tiny_package).size_bytes <= 1.02 * 2 * n_values


@pytest.mark.skipif(sys.platform != "darwin", reason="only macOS compiles Core ML models")
def test_on_a_mac_it_is_compiled_and_runs(tiny_package: Path) -> None:
    from coremltools import ComputeUnit
    from coremltools.models import CompiledMLModel

    model = CompiledMLModel(str(tiny_package.with_suffix(".mlmodelc")), ComputeUnit.CPU_ONLY)
    output = model.predict({"logmel_data": np.zeros((1, 80, 3000), np.float32)})["output"]
    assert output.shape == (1, 1500, 384)


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_compressed_weights_are_compared_when_they_are_made(
    quantize: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_mlx(tmp_path / "small", random_tensors())
    flags = ["--quantize", quantize, "--target", "macOS15", "--output", str(tmp_path)]
    assert main(["coreml", "convert", str(directory), *flags]) == 0
    package = tmp_path / "ggml-small-encoder.mlpackage"
    weights = load_weights(str(directory))
    psnr_db = likeness_db(package, weights.dims, lambda: MlxEncoder(weights))
    assert LEAST_DB < psnr_db < 80
    said = f"{psnr_db:.1f}"
    assert describe(package).metadata["psnr_db"] == said
    assert f"{said} dB from MLX" in capsys.readouterr().err


def test_without_compression_nothing_is_compared(tmp_path: Path, parent: Weights) -> None:
    converted = convert(parent, tmp_path)
    assert converted.psnr_db is None
    assert "psnr_db" not in describe(converted.path).metadata


def fragile(weights: Weights) -> Weights:
    """What computes the same as other weights do, until they are rounded: what is large is multiplied by nothing."""
    tensors = {name: value.copy() for name, value in weights.tensors.items()}
    for layer in range(DIMS.n_audio_layer):
        block = f"encoder.blocks.{layer}"
        tensors[f"{block}.attn.value.weight"][0], tensors[f"{block}.attn.value.bias"][0] = 0, 0
        tensors[f"{block}.mlp1.weight"][0], tensors[f"{block}.mlp1.bias"][0] = 0, -100
        for name in ("attn.out", "mlp2"):
            tensors[f"{block}.{name}.weight"][:, 0] = 30_000
    return replace(weights, tensors=tensors)


def test_nonsense_is_refused_and_leaves_nothing(
    tmp_path: Path, parent: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, models, temporary = fragile(parent), tmp_path / "models", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ConfigError, match=r"quantize = int8 makes nonsense of these weights: got -?\d+\.\d dB"):
        convert(weights, models, Conversion(quantize="int8"))
    assert list(models.iterdir()) == list(temporary.iterdir()) == []
    assert likeness_db(convert(weights, models).path, weights.dims, lambda: MlxEncoder(weights)) > 50
    before = describe(package := models / "ggml-parent-encoder.mlpackage").digest
    with pytest.raises(ConfigError, match="Nothing was written"):
        convert(weights, models, Conversion(quantize="int8"))
    assert describe(package).digest == before


@pytest.mark.parametrize("write", [write_huggingface, write_mlx])
def test_the_command_takes_a_model_by_path_even_without_alignment_heads(
    tmp_path: Path, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    directory = write(tmp_path / "mine", random_tensors(), heads=None)
    assert main(["coreml", "convert", str(directory), "--output", str(tmp_path), "--shapes", "fixed"]) == 0
    out, err = capsys.readouterr()
    package = tmp_path / "ggml-mine-encoder.mlpackage"
    assert out.splitlines()[0] == str(package)
    assert "ggml-mine-encoder.mlpackage: converted in" in err
    assert describe(package).metadata["shapes"] == "fixed"
    assert main(["coreml", "convert", str(directory), "--output", str(tmp_path)]) == 0


def test_the_command_says_when_it_linked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        write_mlx(tmp_path / name, random_tensors())
        assert main(["coreml", "convert", str(tmp_path / name), "--output", str(tmp_path)]) == 0
    assert "ggml-one-encoder.mlpackage; linked, not converted again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-model"], "no-such-model"),
        (["tiny.en", "--attention", "fused"], "macOS15"),
        (["tiny.en", "--alignment-heads", "[[0, 0]]"], "alignment heads concern the decoder only"),
        (["tiny.en", "--output", "/dev/null/models"], "/dev/null/models"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coreml", "convert", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device", "/x/weight.bin"),
        # What copying a folder raises: each file, with the reason at the end.
        shutil.Error([("/x/weight.bin", "/y/weight.bin", "[Errno 28] No space left on device: '/x' -> '/y'")]),
    ],
)
def test_a_full_disk_is_one_short_line(full: OSError, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused, folder_in(tmp_path):
        raise full
    assert re.fullmatch(
        rf"{tmp_path}: cannot be written: (\[Errno 28\] )?No space left on device; make.*", str(refused.value)
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "said",
    [
        "[MIL FileWriter]: Unknown error occurred while writing data to the file.",
        "filesystem error: cannot copy: Input/output error [/tmp/x] [/tmp/x.mlpackage/Data/com.apple.CoreML/weights]",
    ],
)
def test_coremltools_that_cannot_write_its_files_is_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import coremltools

    def convert(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(coremltools, "convert", convert)
    directory = write_mlx(tmp_path / "mine", random_tensors())
    assert main(["coreml", "convert", str(directory), "--output", str(tmp_path / "models")]) == 2
    assert f"{tempfile.gettempdir()}: coremltools cannot write" in capsys.readouterr().err.splitlines()[-1]
    assert not any((tmp_path / "models").iterdir())


def test_the_command_is_quiet_in_a_program_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streaming.cli", "coreml", "convert"]
    directory = write_mlx(tmp_path / "small", random_tensors())
    done = subprocess.run(
        [*command, str(directory), "--output", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == str(tmp_path / "ggml-small-encoder.mlpackage")
    assert "scikit" not in done.stderr
    assert "coremltools" not in done.stderr


def test_what_cannot_be_compiled_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on a Mac coremltools has no bridge to Core ML, and says so by a plain Exception."""
    monkeypatch.setattr("simul_whisper.coreml.writing.sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(BackendError, match="written, but Core ML cannot compile it"):
        writing.compiled(tmp_path / "ggml-base-encoder.mlpackage")
