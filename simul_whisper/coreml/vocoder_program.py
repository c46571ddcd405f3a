"""A voice's vocoder, a HiFi-GAN, as a Core ML program, written with coremltools' MIL builder from the weights.

One length is enough: what is shorter is filled up, and what is longer comes in pieces (`vocoders/coreml.py`). The
Neural Engine refuses tensors more than 16384 wide (FluidInference/mobius pull 61), so the program takes as many frames
as become fewer samples than that. Every layer of a HiFi-GAN takes what lies beyond its input for zeros; so whatever a
convolution reads is multiplied by `inside`, and frames that were only filled up change nothing.

A dilated kernel that spans more than 13 is refused there too (hollance/neural-engine issue 2, for pooling), and these
span up to 73. Every d-th position is a row of its own instead, which an undilated kernel passes over: the same numbers.
None of this was measured on a device.
"""

import math
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.interface import FEATURES, INSIDE, SAMPLES
from simul_whisper.coreml.layers import converted
from simul_whisper.errors import ConfigError
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.vocoders.hifigan import Block, Convolution, HifiGan, Upsampling

_WIDEST = 16384


def program_frames(vocoder: HifiGan) -> int:
    """Return how many frames a program takes. Raises ConfigError for a vocoder of which no piece is small enough."""
    # Rows of every d-th position must be equally long, after every stage.
    multiple, length = 1, 1
    for stage in vocoder.stages:
        length *= stage.up.stride
        for dilation in {each.dilation for block in stage.blocks for unit in block for each in unit}:
            multiple = math.lcm(multiple, dilation // math.gcd(dilation, length))
    widest_reach = max(layer.reach for layer in vocoder.layers() if isinstance(layer, Convolution))
    n_frames = (_WIDEST // vocoder.hop - -(-2 * widest_reach // vocoder.hop)) // multiple * multiple
    # Of a piece in the middle, all that its surroundings reach is of no use.
    if n_frames <= 2 * vocoder.reach_frames:
        raise ConfigError(
            f"this vocoder does not fit the Neural Engine: {n_frames} frames do, expected more than "
            f"{2 * vocoder.reach_frames}; use another vocoder_backend"
        )
    return n_frames


def build(vocoder: HifiGan, conversion: Conversion, progress: ProgressHandler = silent) -> Any:
    """Return a coremltools MLModel of the vocoder, which nothing has loaded or compiled.

    `interface` says what it takes and gives. Raises ConfigError as `program_frames` does.
    """
    program = _Network(vocoder, conversion, progress).program(program_frames(vocoder))
    progress(Progress(Stage.CONVERTING, "the vocoder"))
    return converted(program, conversion, progress, outputs=[ct.TensorType(name=SAMPLES, dtype=np.float32)])


class _Network:
    """Writes the vocoder, op by op. Variables are MIL's, of shape (1, channels, 1, length) unless said otherwise."""

    def __init__(self, vocoder: HifiGan, conversion: Conversion, progress: ProgressHandler) -> None:
        self._vocoder, self._conversion, self._progress = vocoder, conversion, progress
        self._dtype = np.dtype(conversion.precision)
        self._inside: Any = None

    def program(self, n_frames: int) -> Any:
        """Return the MIL program."""
        specs = [
            mb.TensorSpec((1, n_channels, 1, n_frames), dtype=types.fp32)
            for n_channels in (self._vocoder.n_features, 1)
        ]
        target = ct.target[self._conversion.target]

        # The arguments' names become those of the program's inputs.
        @mb.program(input_specs=specs, opset_version=target)  # type: ignore[untyped-decorator]
        def vocoder(features: Any, inside: Any) -> Any:
            return self._samples(self._narrow(features), self._narrow(inside))

        assert [*vocoder.functions["main"].inputs] == [FEATURES, INSIDE]
        return vocoder

    def _narrow(self, x: Any) -> Any:
        return mb.cast(x=x, dtype="fp16") if self._conversion.precision == "float16" else x

    def _samples(self, features: Any, inside: Any) -> Any:
        """features: (1, n_features, 1, n_frames); inside: (1, 1, 1, n_frames). Returns (1, 1, 1, n_samples)."""
        self._inside, stages = inside, self._vocoder.stages
        x = self._convolution(features, self._vocoder.pre) if self._vocoder.pre else features
        for n, stage in enumerate(stages):
            self._progress(Progress(Stage.CONVERTING, "the stages", n, len(stages)))
            x = self._upsampling(x, stage.up)
            self._inside = mb.upsample_nearest_neighbor(x=self._inside, scale_factor_width=stage.up.stride)
            total, *others = [self._block(x, block) for block in stage.blocks]
            for each in others:
                total = mb.add(x=total, y=each)
            x = mb.mul(x=total, y=self._dtype.type(1 / len(stage.blocks)))
        self._progress(Progress(Stage.CONVERTING, "the stages", len(stages), len(stages)))
        x = self._convolution(x, self._vocoder.post)
        if self._conversion.precision == "float16":
            return mb.cast(x=mb.tanh(x=x), dtype="fp32", name=SAMPLES)
        return mb.tanh(x=x, name=SAMPLES)

    def _block(self, x: Any, block: Block) -> Any:
        for unit in block:
            y = x
            for layer in unit:
                y = self._convolution(y, layer)
            x = mb.add(x=x, y=y)
        return x

    def _read(self, x: Any, slope: float) -> Any:
        """Return what a convolution reads of x: through its leaky ReLU, and nothing where there is no signal."""
        if slope != 1:
            x = mb.leaky_relu(x=x, alpha=self._dtype.type(slope))
        return mb.mul(x=x, y=self._inside)

    def _convolution(self, x: Any, layer: Convolution) -> Any:
        weight, bias = self._constants(layer)
        length, d, padding = x.shape[3], layer.dilation, layer.reach // layer.dilation
        x = self._read(x, layer.slope)
        if d > 1:
            # (1, channels, d, length / d)
            x = mb.transpose(x=mb.reshape(x=x, shape=[1, -1, length // d, d]), perm=[0, 1, 3, 2])
        x = mb.conv(x=x, weight=weight, bias=bias, pad_type="custom", pad=[0, 0, padding, padding])
        if d > 1:
            x = mb.reshape(x=mb.transpose(x=x, perm=[0, 1, 3, 2]), shape=[1, -1, 1, length])
        return x

    def _upsampling(self, x: Any, layer: Upsampling) -> Any:
        weight, bias = self._constants(layer)
        return mb.conv_transpose(
            x=self._read(x, layer.slope),
            weight=weight,
            bias=bias,
            strides=[1, layer.stride],
            pad_type="custom",
            pad=[0, 0, layer.padding, layer.padding],
        )

    def _constants(self, layer: Convolution | Upsampling) -> tuple[Any, Any]:
        """Return weight, with a height of 1, and bias in the program's number type."""
        return layer.weight[:, :, None].astype(self._dtype), layer.bias.astype(self._dtype)
