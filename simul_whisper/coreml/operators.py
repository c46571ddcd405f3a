"""Core ML's operators in NumPy: one function each, with the parameters and defaults of the MIL operator of its name.

All get float32 where the program says float16, and what they compute is rounded by their caller. So sums inside one
operator are exact to float32, which is more than a device promises. Only what programs of Whisper and of voices use
is here, and states are read and written elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf as _erf

from simul_whisper.coreml.blob import unpacked
from simul_whisper.coreml.convolutions import conv, conv_transpose
from simul_whisper.coreml.einsum import einsum

Array = NDArray[Any]
Axes = Sequence[int]


@dataclass(frozen=True)
class Operator:
    """run: operands by keyword. arithmetic: it computes new numbers, in memory of their own, that are to be rounded."""

    run: Callable[..., Any]
    arithmetic: bool


def linear(x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    """x: (..., n_in), weight: (n_out, n_in)."""
    y: Array = x @ weight.T + bias
    return y


def matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    product: Array = (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)
    return product


def softmax(x: Array, axis: int = -1) -> Array:
    y: Array = x - x.max(axis=axis, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """query: (..., n, d), key: (..., m, d), value: (..., m, d_v). Returns (..., n, d_v)."""
    scores = matmul(query * np.float32(query.shape[-1] ** -0.5), key, transpose_y=True)
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == np.bool_ else scores + attn_mask
    mixed: Array = softmax(scores) @ value
    return mixed


def layer_norm(
    x: Array, axes: Axes, gamma: Array | float = 1.0, beta: Array | float = 0.0, epsilon: float = 1e-5
) -> Array:
    """gamma, beta: of the shape of the axes, which are made to fit."""
    axes = tuple(int(axis) % x.ndim for axis in axes)
    fitting = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    y: Array = x - x.mean(axis=axes, keepdims=True)
    variance = np.mean(np.square(y), axis=axes, keepdims=True)
    y /= np.sqrt(variance + np.float32(epsilon))
    for number, combine in ((gamma, np.multiply), (beta, np.add)):
        combine(y, np.reshape(number, fitting) if np.ndim(number) else number, out=y)
    return y


def gelu(x: Array, mode: str = "EXACT") -> Array:
    if mode == "EXACT":
        y = _erf(x * np.float32(math.sqrt(0.5)))
    elif mode == "TANH_APPROXIMATION":
        y = np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3))
    elif mode == "SIGMOID_APPROXIMATION":
        return x * sigmoid(np.float32(1.702) * x)
    else:
        raise ValueError(f"got gelu mode {mode!r}, expected EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION")
    y += 1
    y *= x
    y *= 0.5
    result: Array = y
    return result


def sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


def leaky_relu(x: Array, alpha: float = 0.01) -> Array:
    y: Array = np.maximum(x, 0) + np.float32(alpha) * np.minimum(x, 0)
    return y


def rsqrt(x: Array, epsilon: float = 1e-12) -> Array:
    y: Array = 1 / np.sqrt(x + np.float32(epsilon))
    return y


def batch_norm(
    x: Array, mean: Array, variance: Array, gamma: Array | float = 1.0, beta: Array | float = 0.0, epsilon: float = 1e-5
) -> Array:
    """x: (n, c, ...); all others one number for each of the channels."""

    def fitting(numbers: Array | float) -> Array:
        return np.reshape(numbers, (-1, *[1] * (x.ndim - 2)))

    y: Array = (x - fitting(mean)) / np.sqrt(fitting(variance) + np.float32(epsilon)) * fitting(gamma) + fitting(beta)
    return y


def _reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(x: Array, axes: Axes | None = None, keep_dims: bool = False) -> Array:
        return function(x, axis=None if axes is None else tuple(axes), keepdims=keep_dims)

    return reduce


def reshape(x: Array, shape: Axes) -> Array:
    """A zero keeps the size of that dimension, and -1 takes what is left."""
    return x.reshape([x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)])


def squeeze(x: Array, axes: Axes | None = None) -> Array:
    return np.squeeze(x, None if axes is None else tuple(axes))


def split(x: Array, num_splits: int | None = None, split_sizes: Axes | None = None, axis: int = 0) -> list[Array]:
    if split_sizes is None:
        assert num_splits is not None
        return np.split(x, num_splits, axis)
    return np.split(x, np.cumsum(split_sizes)[:-1], axis)


def concat(values: Sequence[Array], axis: int, interleave: bool = False) -> Array:
    if interleave:
        raise ValueError("got concat with interleave, expected one without")
    return np.concatenate([np.atleast_1d(value) for value in values], axis)


def slice_by_index(
    x: Array,
    begin: Axes,
    end: Axes,
    stride: Axes | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> Array:
    """A masked bound is the end of the array; a squeezed dimension is one element and goes."""
    return np.asarray(x[_index(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)])


def slice_update(
    x: Array,
    update: Array,
    begin: Axes,
    end: Axes,
    stride: Axes | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
    in_place: bool = False,
) -> Array:
    """Put `update` where `slice_by_index` would read. in_place: x itself is changed, and returned."""
    index = _index(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if x[index].shape != np.shape(update):
        raise ValueError(f"got an update of shape {np.shape(update)} for a slice of {x[index].shape}")
    y = x if in_place else x.copy()
    y[index] = update
    return y


def _index(
    x: Array,
    begin: Axes,
    end: Axes,
    stride: Axes | None,
    begin_mask: Sequence[bool] | None,
    end_mask: Sequence[bool] | None,
    squeeze_mask: Sequence[bool] | None,
) -> tuple[int | slice, ...]:
    index: list[int | slice] = []
    for axis in range(x.ndim):
        if squeeze_mask is not None and squeeze_mask[axis]:
            index.append(int(begin[axis]))
            continue
        start = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        stop = None if end_mask is not None and end_mask[axis] else int(end[axis])
        index.append(slice(start, stop, None if stride is None else int(stride[axis])))
    return tuple(index)


def slice_by_size(x: Array, begin: Axes, size: Axes) -> Array:
    """A size of -1 is all that is left."""
    bounds = zip(begin, size, x.shape, strict=True)
    return x[tuple(slice(int(start), n if count == -1 else int(start + count)) for start, count, n in bounds)]


def upsample_nearest_neighbor(x: Array, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Array:
    """Repeat the last two dimensions, whole times."""
    for axis, scale in ((-2, scale_factor_height), (-1, scale_factor_width)):
        if scale != int(scale):
            raise ValueError(f"got the scale {scale}, expected a whole number")
        x = np.repeat(x, int(scale), axis)
    return x


def gather(
    x: Array,
    indices: Array | int,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,  # noqa: ARG001
) -> Array:
    if batch_dims:
        raise ValueError(f"got gather with batch_dims {batch_dims}, expected 0")
    return np.asarray(np.take(x, indices, axis))


def constexpr_affine_dequantize(
    quantized_data: Array, zero_point: Array | int, scale: Array | float, axis: int
) -> Array:
    """quantized_data: (u)int8; zero_point, scale: one number, or one for each place along the axis."""
    fitting = [-1 if place == axis % quantized_data.ndim else 1 for place in range(quantized_data.ndim)]
    # Widened first: int8 minus int8 would wrap around.
    shifted = quantized_data.astype(np.float32) - np.reshape(np.asarray(zero_point, np.float32), fitting)
    return shifted * np.reshape(np.asarray(scale, np.float32), fitting)


def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale, offset: of data's rank; each number holds for a block of data."""
    values = data.astype(np.float32)
    if offset is not None:
        values -= _repeated(offset.astype(np.float32), data.shape)
    return values * _repeated(scale, data.shape)


def _repeated(blocks: Array, shape: Axes) -> Array:
    for axis, n in enumerate(shape):
        blocks = np.repeat(blocks, n // blocks.shape[axis], axis)
    return blocks


def constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: Axes | None = None, vector_axis: int | None = None
) -> Array:
    """Until iOS 17 indices are packed bytes of the given shape and lut is (n_palette,).

    From iOS 18 on, lut is (*groups, n_palette, n_vector): a table for each block of indices, which may give vectors
    that follow each other along vector_axis.
    """
    if shape is not None:
        n_bits = len(lut).bit_length() - 1
        return lut[unpacked(indices, n_bits, math.prod(int(n) for n in shape))].reshape(shape)
    tables = [np.arange(n) // (n // groups) for n, groups in zip(indices.shape, lut.shape, strict=False)]
    vectors = lut[(*np.ix_(*tables), indices)]
    if vectors.shape[-1] == 1:
        return np.asarray(vectors[..., 0])
    assert vector_axis is not None
    axis = vector_axis % indices.ndim
    grown = [n * vectors.shape[-1] if place == axis else n for place, n in enumerate(indices.shape)]
    return np.asarray(np.moveaxis(vectors, -1, axis + 1).reshape(grown))


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (conv, linear, matmul, einsum, softmax, layer_norm, gelu)},
    **{function.__name__: function for function in (conv_transpose, leaky_relu, batch_norm)},
    **{function.__name__: function for function in (sigmoid, rsqrt, scaled_dot_product_attention)},
    **{f.__name__: f for f in (constexpr_affine_dequantize, constexpr_blockwise_shift_scale)},
    # The caller rounds to the type of the result, which is the one that `dtype` names.
    "cast": lambda x, dtype: np.array(x),  # noqa: ARG005
    "constexpr_cast": lambda source_val, output_dtype: np.array(source_val),  # noqa: ARG005
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "floor_div": lambda x, y: x // y,
    "maximum": lambda x, y: np.maximum(x, y),
    "minimum": lambda x, y: np.minimum(x, y),
    "pow": lambda x, y: x**y,
    "sqrt": lambda x: np.sqrt(x),
    "square": lambda x: np.square(x),
    "exp": lambda x: np.exp(x),
    "erf": lambda x: _erf(x),
    "tanh": lambda x: np.tanh(x),
    "relu": lambda x: np.maximum(x, 0),
    "greater": lambda x, y: np.greater(x, y),
    "greater_equal": lambda x, y: np.greater_equal(x, y),
    "less": lambda x, y: np.less(x, y),
    "less_equal": lambda x, y: np.less_equal(x, y),
    "equal": lambda x, y: np.equal(x, y),
    "not_equal": lambda x, y: np.not_equal(x, y),
    "logical_and": lambda x, y: np.logical_and(x, y),
    "logical_or": lambda x, y: np.logical_or(x, y),
    "logical_not": lambda x: np.logical_not(x),
    "select": lambda cond, a, b: np.where(cond, a, b),
    "reduce_mean": _reduction(np.mean),
    "reduce_sum": _reduction(np.sum),
    "reduce_max": _reduction(np.max),
}
_MOVEMENT: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (reshape, squeeze, split, concat, slice_by_index, slice_by_size)},
    **{function.__name__: function for function in (gather, slice_update, constexpr_lut_to_dense)},
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
    "identity": lambda x: x,
    "transpose": lambda x, perm: np.transpose(x, perm),
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "stack": lambda values, axis: np.stack(values, axis),
    "shape": lambda x: np.array(x.shape, np.int32),
}
OPERATORS: Mapping[str, Operator] = {
    **{name: Operator(function, True) for name, function in _ARITHMETIC.items()},
    **{name: Operator(function, False) for name, function in _MOVEMENT.items()},
}
