"""Core ML's convolutions in NumPy, each as a sum of products of matrices; see `operators`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Axes = Sequence[int]


def conv(
    x: Array,
    weight: Array,
    bias: Array | float = 0.0,
    strides: Axes | None = None,
    pad_type: str = "valid",
    pad: Axes = (),
    dilations: Axes | None = None,
    groups: int = 1,
) -> Array:
    """x: (n, c_in, *lengths), weight: (c_out, c_in / groups, *kernel). Returns (n, c_out, *new lengths)."""
    kernel = weight.shape[2:]
    strides, dilations = ([1] * len(kernel) if each is None else each for each in (strides, dilations))
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    margins = _margins(pad_type, pad, x.shape[2:], spans, strides)
    if any(margins):
        x = np.pad(x, [(0, 0), (0, 0), *zip(margins[::2], margins[1::2], strict=True)])
    lengths = [(n - span) // stride + 1 for n, span, stride in zip(x.shape[2:], spans, strides, strict=True)]
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    summed = [_convolved(each, weights, lengths, strides, dilations) for each, weights in parts]
    y = summed[0] if groups == 1 else np.concatenate(summed, axis=1)
    y += np.reshape(bias, (-1, *[1] * len(kernel)))
    return y


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | float = 0.0,
    strides: Axes | None = None,
    pad_type: str = "valid",
    pad: Axes = (),
    dilations: Axes | None = None,
    groups: int = 1,
    output_shape: Axes | None = None,
) -> Array:
    """x: (n, c_in, *lengths), weight: (c_in, c_out / groups, *kernel). Returns (n, c_out, *new lengths)."""
    if pad_type not in ("valid", "custom"):
        raise ValueError(f"got pad_type {pad_type!r}, expected valid or custom")
    kernel = weight.shape[2:]
    strides, dilations = ([1] * len(kernel) if each is None else each for each in (strides, dilations))
    steps = zip(x.shape[2:], kernel, strides, dilations, strict=True)
    lengths = [int((n - 1) * stride + (size - 1) * dilation + 1) for n, size, stride, dilation in steps]
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    whole = np.concatenate([_spread(each, weights, lengths, strides, dilations) for each, weights in parts], axis=1)
    margins = _margins(pad_type, pad, lengths, kernel, strides)
    ends = (n - after for n, after in zip(lengths, margins[1::2], strict=True))
    inner = tuple(slice(before, end) for before, end in zip(margins[::2], ends, strict=True))
    y: Array = np.add(whole[(slice(None), slice(None), *inner)], np.reshape(bias, (-1, *[1] * len(kernel))))
    if output_shape is not None and tuple(output_shape) != y.shape:
        raise ValueError(f"got output_shape {tuple(output_shape)}, expected {y.shape}")
    return y


def _margins(pad_type: str, pad: Axes, lengths: Axes, spans: Axes, strides: Axes) -> list[int]:
    """Return the padding before and after, for each dimension in turn."""
    if pad_type in ("valid", "custom"):
        return [int(n) for n in pad] if pad_type == "custom" else [0] * 2 * len(spans)
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"got pad_type {pad_type!r}, expected valid, custom, same or same_lower")
    margins = []
    for n, span, stride in zip(lengths, spans, strides, strict=True):
        missing = max(0, (-(-n // stride) - 1) * stride + span - n)
        less, more = missing // 2, missing - missing // 2
        margins += [less, more] if pad_type == "same" else [more, less]
    return margins


def _convolved(x: Array, weight: Array, lengths: Axes, strides: Axes, dilations: Axes) -> Array:
    """Sum, over the positions of the kernel, of a product of matrices."""
    n, c_out = len(x), len(weight)
    if weight[0, 0].size == 1 and all(stride == 1 for stride in strides):
        flat = x.reshape(n, x.shape[1], -1)
        return (weight.reshape(c_out, -1) @ flat).reshape(n, c_out, *lengths)
    total = np.zeros((n, c_out, math.prod(lengths)), x.dtype)
    for position in np.ndindex(*weight.shape[2:]):
        starts = [int(p * d) for p, d in zip(position, dilations, strict=True)]
        window = tuple(
            slice(first, first + (length - 1) * stride + 1, stride)
            for first, length, stride in zip(starts, lengths, strides, strict=True)
        )
        columns = x[(slice(None), slice(None), *window)].reshape(n, x.shape[1], -1)
        product = weight[(slice(None), slice(None), *position)] @ columns
        total = product if weight[0, 0].size == 1 else np.add(total, product, out=total)
    return total.reshape(n, c_out, *lengths)


def _spread(x: Array, weight: Array, lengths: Axes, strides: Axes, dilations: Axes) -> Array:
    """Add up, for each position of the kernel, a product of matrices where that position reaches."""
    n, c_out = len(x), weight.shape[1]
    y = np.zeros((n, c_out, *lengths), x.dtype)
    flat = x.reshape(n, x.shape[1], -1)
    for position in np.ndindex(*weight.shape[2:]):
        starts = [int(p * d) for p, d in zip(position, dilations, strict=True)]
        window = tuple(
            slice(first, first + (length - 1) * stride + 1, stride)
            for first, length, stride in zip(starts, x.shape[2:], strides, strict=True)
        )
        product = weight[(slice(None), slice(None), *position)].T @ flat
        y[(slice(None), slice(None), *window)] += product.reshape(n, c_out, *x.shape[2:])
    return y
