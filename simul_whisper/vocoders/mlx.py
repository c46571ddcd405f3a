"""The vocoder in MLX: runs everywhere, fast on Apple GPUs.

On the CPU, MLX's own convolutions are slow as soon as they are dilated or transposed: there each one is a product of
matrices, which BLAS does many times as fast.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.parameters import MLX_CACHE_BYTES, resolved_device
from simul_whisper.vocoders import VocoderFeatures
from simul_whisper.vocoders.hifigan import Convolution, HifiGan, Upsampling
from simul_whisper.vocoders.pieces import checked, in_pieces

Number = Literal["auto", "float32", "float16"]
# What is gathered for one product then stays in the processor's cache: four times as fast for the longest signals.
_POSITIONS_AT_ONCE = 1024


class MlxVocoder:
    """A voice's vocoder. number: of its arithmetic; auto is float16 on a GPU, float32 on the CPU."""

    def __init__(self, vocoder: HifiGan, device: str = "auto", number: Number = "auto") -> None:
        device = resolved_device(device)
        if number == "auto":
            number = "float16" if device == "gpu" else "float32"
        mx.set_cache_limit(MLX_CACHE_BYTES)
        self._vocoder, self._mx_device = vocoder, mx.Device(mx.gpu if device == "gpu" else mx.cpu)
        self._dtype = mx.float16 if number == "float16" else mx.float32
        self._operators: _Operators = _Convolutions() if device == "gpu" else _Products()
        with mx.stream(self._mx_device):
            self._loaded = {id(layer): self._operators.loaded(layer, self._dtype) for layer in vocoder.layers()}
            mx.eval([[each.weight, each.bias] for each in self._loaded.values()])
        self.rate, self.description = vocoder.rate, f"mlx ({number}, {device})"

    def decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        return in_pieces(self._decode, checked(features, self._vocoder), self._vocoder)

    def _decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        vocoder, operators = self._vocoder, self._operators
        with mx.stream(self._mx_device):
            x = operators.signal(mx.array(features).astype(self._dtype))
            if vocoder.pre:
                x = self._convolution(x, vocoder.pre)
            for stage in vocoder.stages:
                x = operators.upsampling(_leaky(x, stage.up.slope), stage.up, self._loaded[id(stage.up)])
                x = sum((self._block(x, block) for block in stage.blocks[1:]), self._block(x, stage.blocks[0]))
                x = x * (1 / len(stage.blocks))
            samples = mx.tanh(self._convolution(x, vocoder.post).reshape(-1).astype(mx.float32))
            mx.eval(samples)
        return np.array(samples)

    def _block(self, x: mx.array, block: tuple[tuple[Convolution, ...], ...]) -> mx.array:
        for unit in block:
            y = x
            for convolution in unit:
                y = self._convolution(y, convolution)
            x = x + y
        return x

    def _convolution(self, x: mx.array, layer: Convolution) -> mx.array:
        return self._operators.convolution(_leaky(x, layer.slope), layer, self._loaded[id(layer)])


def _leaky(x: mx.array, slope: float) -> mx.array:
    return x if slope == 1 else mx.maximum(x, slope * x)


@dataclass(frozen=True)
class _Loaded:
    """The weights of a layer, in the shapes that the operators take."""

    weight: mx.array
    bias: mx.array


class _Operators(Protocol):
    """Convolutions over signals of a shape of their own."""

    def signal(self, features: mx.array) -> mx.array:
        """features: (n_frames, n_features)."""
        ...

    def loaded(self, layer: Convolution | Upsampling, dtype: mx.Dtype) -> _Loaded: ...

    def convolution(self, x: mx.array, layer: Convolution, loaded: _Loaded) -> mx.array: ...

    def upsampling(self, x: mx.array, layer: Upsampling, loaded: _Loaded) -> mx.array: ...


class _Convolutions:
    """MLX's own, for GPUs. A signal is (1, n, n_channels)."""

    def signal(self, features: mx.array) -> mx.array:
        return features[None]

    def loaded(self, layer: Convolution | Upsampling, dtype: mx.Dtype) -> _Loaded:
        """weight: (n_out, kernel, n_in)."""
        order = (1, 2, 0) if isinstance(layer, Upsampling) else (0, 2, 1)
        return _Loaded(_array(layer.weight.transpose(order), dtype), _array(layer.bias, dtype))

    def convolution(self, x: mx.array, layer: Convolution, loaded: _Loaded) -> mx.array:
        return mx.conv1d(x, loaded.weight, padding=layer.reach, dilation=layer.dilation) + loaded.bias

    def upsampling(self, x: mx.array, layer: Upsampling, loaded: _Loaded) -> mx.array:
        return mx.conv_transpose1d(x, loaded.weight, stride=layer.stride, padding=layer.padding) + loaded.bias


class _Products:
    """Products of matrices, for CPUs. A signal is (n_channels, n)."""

    def signal(self, features: mx.array) -> mx.array:
        return features.T

    def loaded(self, layer: Convolution | Upsampling, dtype: mx.Dtype) -> _Loaded:
        """weight: (n_out, kernel * n_in); of an upsampling (n_out * stride, n_taps * n_in). bias: (n_out, 1)."""
        weight = layer.weight
        if isinstance(layer, Upsampling):
            n_in, n_out, kernel = weight.shape
            n_taps = -(-kernel // layer.stride)
            # An output reads of each `stride`-th tap, from the last: the sum then is a convolution for each phase.
            filled = np.pad(weight, ((0, 0), (0, 0), (0, n_taps * layer.stride - kernel)))
            by_phase = filled.reshape(n_in, n_out, n_taps, layer.stride)[:, :, ::-1]
            matrix = by_phase.transpose(1, 3, 2, 0).reshape(n_out * layer.stride, n_taps * n_in)
        else:
            matrix = weight.transpose(0, 2, 1).reshape(len(weight), -1)
        return _Loaded(_array(matrix, dtype), _array(layer.bias[:, None], dtype))

    def convolution(self, x: mx.array, layer: Convolution, loaded: _Loaded) -> mx.array:
        padded = mx.pad(x, [(0, 0), (layer.reach, layer.reach)])
        return _product(loaded.weight, padded, layer.dilation, x.shape[1]) + loaded.bias

    def upsampling(self, x: mx.array, layer: Upsampling, loaded: _Loaded) -> mx.array:
        n, n_beyond = x.shape[1], loaded.weight.shape[1] // len(x) - 1
        phases = _product(loaded.weight, mx.pad(x, [(0, 0), (n_beyond, n_beyond)]), 1, n + n_beyond)
        phases = phases.reshape(-1, layer.stride, n + n_beyond)
        whole = phases.swapaxes(1, 2).reshape(len(phases), -1)
        return whole[:, layer.padding : layer.padding + n * layer.stride] + loaded.bias


def _product(weight: mx.array, padded: mx.array, dilation: int, n: int) -> mx.array:
    """Return (n_out, n): the products of a weight, (n_out, n_taps * n_in), with what lies under it at each position.

    padded: (n_in, n_padded).
    """
    n_in, n_padded = padded.shape
    n_taps = weight.shape[1] // n_in
    padded = mx.contiguous(padded)
    parts = list[mx.array]()
    for start in range(0, n, _POSITIONS_AT_ONCE):
        length = min(_POSITIONS_AT_ONCE, n - start)
        under = mx.as_strided(padded, (n_taps, n_in, length), (dilation, n_padded, 1), start)
        parts.append(weight @ under.reshape(n_taps * n_in, length))
    return mx.concatenate(parts, axis=1)


def _array(values: NDArray[Any], dtype: mx.Dtype) -> mx.array:
    return mx.array(np.ascontiguousarray(values, np.float32)).astype(dtype)
