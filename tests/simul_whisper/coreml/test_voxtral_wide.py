"""A Voxtral's encoder and projector in the true widths: memory, size, and how near the package is on real speech."""

import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

from simul_whisper.coreml.contents import NumberType
from simul_whisper.coreml.description import describe
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.conversion import convert_voxtral
from simul_whisper.voxtral.dims import encoder_shapes, projector_shapes
from simul_whisper.voxtral.verify import verify_voxtral
from tests.conftest import Recording
from tests.simul_whisper.voxtral.wide import write_wide

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

_MOST_BYTES = 6e9
# A child begins with its parent's peak in `ru_maxrss`; VmHWM is of the program itself.
_CONVERT = """
import sys
from streaming.cli import main
assert main(["coreml", "convert", sys.argv[1], "--output", sys.argv[2]]) == 0
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(peak)
"""


def assert_right(directory: Path, package: Path, speech: Recording) -> None:
    """Compare the package with the weights: how large it is, and what it makes of speech."""
    weights = open_voxtral(directory.name, directory)
    shapes = encoder_shapes(weights.dims) | projector_shapes(weights.dims)
    # The checkpoints hold the encoder's positions too; ours compute them.
    n_values = sum(map(math.prod, shapes.values())) + weights.dims.n_audio_ctx * weights.dims.n_audio_state
    assert describe(package).size_bytes <= 1.02 * 2 * n_values
    assert describe(package).outputs[0].shapes == ((1, 375, 3072),)
    found = verify_voxtral(package, weights, speech.samples)
    assert found.number_type is NumberType.FLOAT16
    assert found.measured[0].parity.psnr_db >= 60


def test_two_layers(tmp_path: Path, captions: Recording) -> None:
    directory = write_wide(tmp_path / "wide", n_layers=2)
    package = convert_voxtral(open_voxtral("wide", directory), tmp_path).path
    assert_right(directory, package, captions)


@pytest.mark.long
def test_all_layers_are_converted_in_little_memory(tmp_path: Path, captions: Recording) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a program's own peak")
    directory = write_wide(tmp_path / "wide", n_layers=32)
    command = [sys.executable, "-c", _CONVERT, str(directory), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    package, peak_kib = done.stdout.split()
    assert 1024 * int(peak_kib) < _MOST_BYTES
    assert_right(directory, Path(package), captions)
