"""A voice's vocoder as a program: what it is made of, and what is on record as kept off the Neural Engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools", exc_type=ImportError)
pytest.importorskip("onnxruntime", exc_type=ImportError)

from simul_whisper import ConfigError, VocoderNotLoadedError
from simul_whisper.coreml.contents import NumberType, contents
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.spec import read_program
from simul_whisper.coreml.vocoder_package import check, convert_vocoder
from simul_whisper.coreml.vocoder_program import program_frames
from simul_whisper.vocoders.voice_file import split_voice
from tests.simul_whisper.coreml.voices import FRAMES, SIZES, converted, small_voice
from tests.voice_files import Sizes


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice")
    return converted(small_voice(folder)[0], folder / "models")


def test_a_package_says_what_it_takes_and_what_it_was_made_from(package: Path, tmp_path: Path) -> None:
    path, voice = small_voice(tmp_path)
    found = describe(package)
    assert package.name == "ggml-small-vocoder.mlpackage"
    assert [(each.name, each.shapes) for each in found.inputs] == [
        ("features", ((1, SIZES.n_features, 1, FRAMES),)),
        ("inside", ((1, 1, 1, FRAMES),)),
    ]
    assert [(each.name, each.shapes) for each in found.outputs] == [("samples", ((1, 1, 1, 256 * FRAMES),))]
    assert {"part": "vocoder", "model": "small", "sample_rate": "16000"}.items() <= found.metadata.items()
    assert found.metadata["vocoder_sha256"] == voice.vocoder.digest("float16")
    assert describe(converted(path, tmp_path, Conversion(precision="float32"))).metadata[
        "vocoder_sha256"
    ] == voice.vocoder.digest("float32")


def test_nothing_in_it_is_known_to_be_kept_off_the_neural_engine(package: Path) -> None:
    found = contents(package)
    assert found.number_type is NumberType.FLOAT16
    # Two stages of four dilated convolutions each, of which one has a dilation of 1.
    assert found.flags == ("memory copied between layouts, which may cost time: reshape (x12), transpose (x12)",)
    program = read_program(package)
    for operation in program.operations:
        padding = program.constants.get(operation.inputs.get("pad", ("",))[0], np.zeros(4))
        assert isinstance(padding, np.ndarray)
        for name in operation.inputs.get("x", ()):
            width = program.types[name].shape[-1]
            assert width is not None
            assert width + padding[2:].sum() <= 16384, operation


def test_a_program_takes_as_many_frames_as_rows_and_width_allow(tmp_path: Path) -> None:
    _, small = small_voice(tmp_path)
    assert program_frames(small.vocoder) == FRAMES
    # Of dilations 1 and 2 alone, which divide the stride, no multiple is needed; the padding leaves 63, not 64.
    plain = split_voice(small_voice(tmp_path, replace(SIZES, blocks=((3, ((1,), (2,))),)))[0])
    assert program_frames(plain.vocoder) == 63
    odd = split_voice(small_voice(tmp_path, replace(SIZES, blocks=((3, ((5,),)), (3, ((7,),)))))[0])
    with pytest.raises(ConfigError, match=r"does not fit the Neural Engine: .* use another vocoder_backend"):
        program_frames(replace(odd.vocoder, stages=odd.vocoder.stages * 2))
    assert program_frames(odd.vocoder) == 35


@pytest.mark.parametrize(
    "conversion",
    [Conversion(quantize="int8"), Conversion(shapes="fixed"), Conversion(target="macOS15", attention="fused")],
)
def test_what_does_not_concern_a_vocoder_is_refused(conversion: Conversion) -> None:
    with pytest.raises(ConfigError, match="do not concern a vocoder"):
        check(conversion)


def test_what_is_no_voice_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path, _ = small_voice(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(VocoderNotLoadedError, match="not a Piper voice"):
        convert_vocoder(path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_voice_without_a_first_convolution_is_converted_too(tmp_path: Path) -> None:
    path, voice = small_voice(tmp_path, Sizes(width=8, strides=(16, 16), kernels=(32, 32), has_speakers=True))
    assert voice.vocoder.pre is None
    assert describe(converted(path, tmp_path)).inputs[0].shapes == ((1, 8, 1, FRAMES),)
