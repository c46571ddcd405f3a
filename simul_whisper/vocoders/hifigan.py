"""The HiFi-GAN of a voice (arXiv 2010.05646): its layers and weights as they stand in a file, whatever runs them.

x = pre(features); of each stage: x = up(x), then the mean of its blocks of x; samples = tanh(post(x)). Before every
convolution but `pre` stands a leaky ReLU. It knows no file format and no backend.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Weight = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution that keeps the length: as many zeros before the signal as behind it.

    weight: float32 (n_out, n_in, kernel), of an odd kernel; bias: float32 (n_out,). slope: of the leaky ReLU before it,
    1 where there is none.
    """

    weight: Weight
    bias: Weight
    dilation: int = 1
    slope: float = 1.0

    @property
    def reach(self) -> int:
        """How many positions before and behind its own an output depends on."""
        return int(self.weight.shape[2] - 1) // 2 * self.dilation


@dataclass(frozen=True, eq=False)
class Upsampling:
    """A transposed convolution that makes the signal `stride` times as long.

    weight: float32 (n_in, n_out, kernel); kernel - stride is even, and half of it is cut off at each end. bias: float32
    (n_out,). slope: of the leaky ReLU before it.
    """

    weight: Weight
    bias: Weight
    stride: int
    slope: float

    @property
    def padding(self) -> int:
        """How much is cut off at each end."""
        return int(self.weight.shape[2] - self.stride) // 2


Unit = tuple[Convolution, ...]
"""Convolutions one after the other, whose result is added to what went in."""
Block = tuple[Unit, ...]


@dataclass(frozen=True, eq=False)
class StageOfVocoder:
    """blocks: all of them work on what `up` gives; the stage gives their mean."""

    up: Upsampling
    blocks: tuple[Block, ...]


@dataclass(frozen=True, eq=False)
class HifiGan:
    """All layers of a vocoder.

    pre: None in voices of several speakers, whose features already are what it would make of them. rate: samples per
    second.
    """

    pre: Convolution | None
    stages: tuple[StageOfVocoder, ...]
    post: Convolution
    rate: int

    @property
    def n_features(self) -> int:
        return int(self.pre.weight.shape[1] if self.pre else self.stages[0].up.weight.shape[0])

    @property
    def hop(self) -> int:
        """Samples that one frame of features becomes."""
        return math.prod(stage.up.stride for stage in self.stages)

    @property
    def reach_frames(self) -> int:
        """How many frames before and behind its own a sample depends on, at most."""
        reach = self.post.reach
        for stage in reversed(self.stages):
            reach += max(sum(each.reach for unit in block for each in unit) for block in stage.blocks)
            beyond = stage.up.weight.shape[2] - 1 - stage.up.padding
            reach = -(-(reach + beyond) // stage.up.stride)
        return reach + (self.pre.reach if self.pre else 0)

    def digest(self, number: Literal["float16", "float32"] = "float32") -> str:
        """Return the SHA-256 of all that decides what it computes, with weights rounded to these numbers."""
        digest = hashlib.sha256(f"hifigan {self.rate} {number}".encode())
        for layer in self.layers():
            step = layer.stride if isinstance(layer, Upsampling) else layer.dilation
            digest.update(f"{type(layer).__name__} {layer.weight.shape} {step} {layer.slope:.6g}".encode())
            for array in (layer.weight, layer.bias):
                digest.update(np.ascontiguousarray(array.astype(number)).tobytes())
        # Which convolutions make a unit, and which units a block.
        digest.update(str([[[len(unit) for unit in block] for block in each.blocks] for each in self.stages]).encode())
        return digest.hexdigest()

    def layers(self) -> Iterator[Convolution | Upsampling]:
        """Yield all layers in the order in which they run."""
        if self.pre:
            yield self.pre
        for stage in self.stages:
            yield stage.up
            for block in stage.blocks:
                for unit in block:
                    yield from unit
        yield self.post
