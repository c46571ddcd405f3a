"""Decoder packages on disk: names, digests, what they say, what they replace, refusals, and the command."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import ConfigError, DecoderNotLoadedError, WeightsError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.decoder_package import convert_decoder, decoder_digest
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import decoder_package_name
from simul_whisper.decoders.packages import decoder_packages
from simul_whisper.weights import Dims, Weights, expected_shapes
from streaming.cli import main
from tests.simul_whisper.weights.build import DIMS, HEADS, random_tensors, write_mlx

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

SMALL = replace(DIMS, n_text_ctx=64, n_text_layer=1)
STATES, INPUTS = Conversion(target="macOS15"), Conversion()
STEP_NAME, PREFILL_NAME, AUDIO_NAME = (f"ggml-small-decoder{suffix}.mlpackage" for suffix in ("", "-prefill", "-audio"))
TURBO = Dims(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4)
MOST_BYTES = 3e9


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    file = tmp_path / "weights.npz"
    file.write_bytes(b"weights")
    return Weights("small", SMALL, random_tensors(SMALL), ((0, 1),), tmp_path / "tokenizer.json", (file,))


def packages_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".mlmodelc")


def test_names_are_the_encoders() -> None:
    assert decoder_package_name("openai/whisper-base") == "ggml-base-decoder.mlpackage"
    assert decoder_package_name("base", "prefill") == "ggml-base-decoder-prefill.mlpackage"


def test_the_digest_is_of_what_a_decoder_computes(weights: Weights) -> None:
    digest = decoder_digest(weights)
    encoder = {name: value + 1 for name, value in weights.tensors.items() if name.startswith("encoder.")}
    assert digest == decoder_digest(replace(weights, tensors={**weights.tensors, **encoder}, name="other"))
    assert digest == decoder_digest(
        replace(weights, tensors={name: value.astype(np.float32) for name, value in weights.tensors.items()})
    )
    bias = {"decoder.ln.bias": weights.tensors["decoder.ln.bias"] + 1}
    others = [
        replace(weights, alignment_heads=((0, 0),)),
        replace(weights, dims=replace(SMALL, n_text_head=1)),
        replace(weights, tensors={**weights.tensors, **bias}),
    ]
    assert len({digest, *map(decoder_digest, others), decoder_digest(weights, "float32")}) == 5


@pytest.mark.parametrize(("conversion", "caches"), [(STATES, "states"), (INPUTS, "inputs")])
def test_packages_say_what_they_are(tmp_path: Path, weights: Weights, conversion: Conversion, caches: str) -> None:
    made = convert_decoder(weights, tmp_path / "models", conversion)
    names = [STEP_NAME] if caches == "states" else [STEP_NAME, PREFILL_NAME, AUDIO_NAME]
    assert packages_in(tmp_path / "models") == sorted(names)
    paths = [made.path, *(path for path in made.beside if path.suffix == ".mlpackage")]
    assert [path.name for path in paths] == names
    assert made.size_bytes == sum(describe(path).size_bytes for path in paths)
    for path in paths:
        assert (
            describe(path).metadata.items()
            >= {
                "part": "decoder",
                "caches": caches,
                "decoder_sha256": decoder_digest(weights),
                "alignment_heads": "[[0, 1]]",
                "precision": "float16",
                "quantize": "none",
                "target": conversion.target,
                "model": "small",
                "weights_sha256": weights.digest,
            }.items()
        )


def test_a_decoder_replaces_all_packages_of_an_older_one(tmp_path: Path, weights: Weights) -> None:
    models = tmp_path / "models"
    convert_decoder(weights, models, INPUTS)
    (models / "ggml-small-decoder-audio.mlmodelc").mkdir()
    (models / "ggml-smaller-decoder-audio.mlpackage").mkdir()
    convert_decoder(weights, models, STATES)
    assert packages_in(models) == [STEP_NAME, "ggml-smaller-decoder-audio.mlpackage"]
    assert sys.platform == "darwin" or not list(models.glob("*.mlmodelc"))
    assert {each.name for each in describe(models / STEP_NAME).functions} == {"audio", "prefill", "step"}


def test_a_failure_in_the_last_function_leaves_the_older_packages_and_nothing_else(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    import coremltools

    models, save = tmp_path / "models", coremltools.models.MLModel.save
    convert_decoder(weights, models, INPUTS)
    before = {name: describe(models / name).digest for name in packages_in(models)}

    def full_at_the_step(model: Any, path: str) -> None:
        if Path(path).stem == "step":
            raise OSError(28, "No space left on device")
        save(model, path)

    monkeypatch.setattr("coremltools.models.MLModel.save", full_at_the_step)
    with pytest.raises(ConfigError, match="No space left"):
        convert_decoder(replace(weights, alignment_heads=((0, 0),)), models, INPUTS)
    assert {name: describe(models / name).digest for name in packages_in(models)} == before


def test_packages_that_were_not_made_together_are_refused(tmp_path: Path, weights: Weights) -> None:
    mine = describe(convert_decoder(weights, tmp_path / "mine", INPUTS).path)
    bias = {"decoder.ln.bias": weights.tensors["decoder.ln.bias"] + 1}
    convert_decoder(replace(weights, tensors={**weights.tensors, **bias}), tmp_path / "others", INPUTS)
    names = [each.path.name for each in decoder_packages(mine, SMALL, weights.alignment_heads)]
    assert names == [STEP_NAME, PREFILL_NAME, AUDIO_NAME]
    shutil.rmtree(tmp_path / "mine" / AUDIO_NAME)
    shutil.copytree(tmp_path / "others" / AUDIO_NAME, tmp_path / "mine" / AUDIO_NAME)
    with pytest.raises(DecoderNotLoadedError, match=rf"{AUDIO_NAME}: was not made with {STEP_NAME} beside it"):
        decoder_packages(mine, SMALL, weights.alignment_heads)


@pytest.mark.parametrize("heads", [(), ((1, 0),), ((0, 0), (0, 0))])
def test_alignment_heads_must_be_there(tmp_path: Path, weights: Weights, heads: Any) -> None:
    with pytest.raises(WeightsError, match="alignment head"):
        convert_decoder(replace(weights, alignment_heads=heads), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "decoder", "--target", "macOS15", "--compute-precision", "float32"], "target = macOS14"),
        (["--part", "all", "--target", "macOS15", "--compute-precision", "float32"], "target = macOS14"),
        (["--part", "decoder", "--target", "macOS15", "--quantize", "palette4"], "take int8"),
        (["--part", "decoder", "--shapes", "fixed"], "shapes concern the encoder only"),
        (["--part", "decoder", "--target", "macOS15", "--attention", "fused"], "attention and shapes"),
        (["--part", "decoder", "--alignment-heads", "[[0]]"], "[[layer, head], ...]"),
        (["--part", "all", "--alignment-heads", "[[9, 0]]"], "(9, 0)"),
        (["--part", "all"], "give them as alignment_heads"),
    ],
)
def test_what_is_impossible_is_one_line_before_anything_is_written(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_mlx(tmp_path / "mine", random_tensors(), heads=None)
    assert main(["coreml", "convert", str(directory), "--output", str(tmp_path / "models"), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "models").exists()


def test_the_command_writes_both_parts_with_heads_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_mlx(tmp_path / "small", random_tensors(SMALL), SMALL, heads=None)
    arguments = ["--part", "all", "--shapes", "fixed", "--alignment-heads", "[[0, 1], [0, 0]]"]
    assert main(["coreml", "convert", str(directory), "--output", str(tmp_path), *arguments]) == 0
    out, err = capsys.readouterr()
    names = ["ggml-small-encoder.mlpackage", STEP_NAME, PREFILL_NAME, AUDIO_NAME]
    assert [line for line in out.splitlines() if line.endswith(".mlpackage")] == [
        str(tmp_path / name) for name in names
    ]
    assert err.count("converted in") == 2
    assert "converting the program `prefill`" in err
    assert json.loads(describe(tmp_path / STEP_NAME).metadata["alignment_heads"]) == [[0, 1], [0, 0]]
    assert describe(tmp_path / names[0]).metadata["shapes"] == "fixed"


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("target", ["macOS15", "macOS13"])
def test_a_model_of_turbos_size_takes_little_memory(tmp_path: Path, target: str) -> None:
    random = np.random.default_rng(0)
    # All exponents below that of 2^-6, so that every number is finite.
    tensors = {
        name: (random.integers(0, 1 << 16, shape, np.uint16) & np.uint16(0xA7FF)).view(np.float16)
        for name, shape in expected_shapes(TURBO).items()
    }
    directory = write_mlx(tmp_path / "turbo", tensors, TURBO, heads=HEADS, file="weights.safetensors")
    # Not `ru_maxrss`, which a child on Linux inherits from the process that started it.
    code = (
        "import re, sys; from streaming.cli import main; status = main(sys.argv[1:]);"
        "print(status, re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    command = ["coreml", "convert", str(directory), "--part", "all", "--target", target, "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    status, peak_kib = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0
    assert peak_kib * 1024 < MOST_BYTES
