"""A small voice whose vocoder has pieces as short as a real one's, and its package."""

from pathlib import Path

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.vocoder_package import convert_vocoder
from simul_whisper.vocoders.voice_file import SplitVoice, split_voice
from tests.voice_files import Sizes, save_voice, voice_model

SIZES = Sizes(width=8, strides=(16, 16), kernels=(32, 32))
FRAMES = 63
"""What its program takes: fewer than 64 frames of 256 samples, a multiple of 3 for its dilation of 6."""


def small_voice(folder: Path, sizes: Sizes = SIZES) -> tuple[Path, SplitVoice]:
    path = save_voice(folder / "small.onnx", voice_model(sizes), sizes.rate)
    return path, split_voice(path)


def converted(voice: Path, folder: Path, conversion: Conversion = Conversion()) -> Path:  # noqa: B008
    return convert_vocoder(voice, folder, conversion).path
