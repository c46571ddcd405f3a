"""The reference runtime's operators against textbook loops, or against coremltools' own inference of constants."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper.coreml.operators import OPERATORS
from simul_whisper.coreml.rounding import round_to_float16

Array = NDArray[np.float32]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(operator: str, **operands: Any) -> Any:
    return OPERATORS[operator].run(**operands)


def conv_slow(
    x: Array, weight: Array, bias: Array, stride: int, pad: tuple[int, int], dilation: int, groups: int
) -> Array:
    """One number at a time. x: (n, c_in, length), weight: (c_out, c_in / groups, kernel)."""
    padded = np.pad(x, [(0, 0), (0, 0), pad])
    n_out, n_in, kernel = weight.shape
    length = (padded.shape[2] - (kernel - 1) * dilation - 1) // stride + 1
    y = np.zeros((len(x), n_out, length))
    for n, out, place in np.ndindex(*y.shape):
        first = out // (n_out // groups) * n_in
        for c, k in np.ndindex(n_in, kernel):
            y[n, out, place] += weight[out, c, k] * padded[n, first + c, place * stride + k * dilation]
        y[n, out, place] += bias[out]
    return y.astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation", "groups"),
    [(1, 1, (0, 0), 1, 1), (3, 1, (1, 1), 1, 1), (3, 2, (1, 1), 1, 1), (3, 2, (2, 0), 2, 1), (2, 3, (0, 1), 1, 2)],
)
def test_conv(kernel: int, stride: int, pad: tuple[int, int], dilation: int, groups: int) -> None:
    x, weight, bias = numbers(2, 4, 9), numbers(6, 4 // groups, kernel, seed=1), numbers(6, seed=2)
    found = run(
        "conv",
        x=x[:, :, None],
        weight=weight[:, :, None],
        bias=bias,
        strides=np.array([1, stride], np.int32),
        pad_type="custom",
        pad=np.array([0, 0, *pad], np.int32),
        dilations=np.array([1, dilation], np.int32),
        groups=groups,
    )
    expected = conv_slow(x, weight, bias, stride, pad, dilation, groups)
    np.testing.assert_allclose(found[:, :, 0], expected, atol=1e-5)


def conv_transpose_slow(
    x: Array, weight: Array, bias: Array, stride: int, pad: tuple[int, int], dilation: int, groups: int
) -> Array:
    """One number at a time. x: (n, c_in, length), weight: (c_in, c_out / groups, kernel)."""
    n_in, n_out, kernel = weight.shape
    length = (x.shape[2] - 1) * stride + (kernel - 1) * dilation + 1
    y = np.zeros((len(x), n_out * groups, length))
    for n, c, place in np.ndindex(*x.shape):
        first = c // (n_in // groups) * n_out
        for out, k in np.ndindex(n_out, kernel):
            y[n, first + out, place * stride + k * dilation] += x[n, c, place] * weight[c, out, k]
    return (y[:, :, pad[0] : length - pad[1]] + bias[:, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation", "groups"),
    [(1, 1, (0, 0), 1, 1), (4, 2, (1, 1), 1, 1), (16, 8, (4, 4), 1, 1), (3, 2, (2, 0), 2, 1), (2, 3, (0, 1), 1, 2)],
)
def test_conv_transpose(kernel: int, stride: int, pad: tuple[int, int], dilation: int, groups: int) -> None:
    x, weight, bias = numbers(2, 4, 9), numbers(4, 6 // groups, kernel, seed=1), numbers(6, seed=2)
    expected = conv_transpose_slow(x, weight, bias, stride, pad, dilation, groups)
    operands: dict[str, Any] = {
        "x": x[:, :, None],
        "weight": weight[:, :, None],
        "bias": bias,
        "strides": np.array([1, stride], np.int32),
        "pad_type": "custom",
        "pad": np.array([0, 0, *pad], np.int32),
        "dilations": np.array([1, dilation], np.int32),
        "groups": groups,
    }
    shape = np.array([2, 6, 1, expected.shape[2]], np.int32)
    np.testing.assert_allclose(run("conv_transpose", **operands, output_shape=shape)[:, :, 0], expected, atol=1e-5)
    with pytest.raises(ValueError, match="got output_shape"):
        run("conv_transpose", **operands, output_shape=shape + 1)
    with pytest.raises(ValueError, match="got pad_type 'same', expected valid or custom"):
        run("conv_transpose", **operands | {"pad_type": "same"})


def test_leaky_relu_and_whole_upsampling() -> None:
    x = np.array([[[-2.0, 0.0], [3.0, -0.5]]], np.float32)
    np.testing.assert_allclose(run("leaky_relu", x=x, alpha=0.1), [[[-0.2, 0.0], [3.0, -0.05]]], atol=1e-7)
    found = run("upsample_nearest_neighbor", x=x, scale_factor_height=1.0, scale_factor_width=3)
    np.testing.assert_array_equal(found, [[[-2, -2, -2, 0, 0, 0], [3, 3, 3, -0.5, -0.5, -0.5]]])
    with pytest.raises(ValueError, match=r"got the scale 1\.5"):
        run("upsample_nearest_neighbor", x=x, scale_factor_width=1.5)


def test_conv_of_the_same_length_pads_more_at_the_end_or_at_the_start() -> None:
    x, weight = numbers(1, 2, 7), numbers(3, 2, 2)
    for pad_type, pad in (("same", (0, 1)), ("same_lower", (1, 0))):
        expected = conv_slow(x, weight, np.zeros(3, np.float32), 1, pad, 1, 1)
        np.testing.assert_allclose(run("conv", x=x, weight=weight, pad_type=pad_type), expected, atol=1e-6)


@pytest.mark.parametrize("equation", ["nchw,nwhu->nchu", "bchq,bkhc->bkhq", "chw,whu->chu"])
def test_einsum(equation: str) -> None:
    names = equation.split("->")[0].split(",")
    sizes = dict(zip("nbchwukq", (1, 2, 3, 4, 5, 6, 7, 8), strict=True))
    values = [numbers(*(sizes[name] for name in part)) for part in names]
    np.testing.assert_allclose(run("einsum", values=values, equation=equation), np.einsum(equation, *values), atol=1e-5)


def test_matmul_and_linear() -> None:
    x, y = numbers(2, 3, 4), numbers(2, 3, 5)
    expected = np.einsum("bji,bjk->bik", x, y)
    np.testing.assert_allclose(run("matmul", x=x, y=y, transpose_x=True), expected, atol=1e-5)
    np.testing.assert_allclose(
        run("matmul", x=x, y=y.swapaxes(1, 2), transpose_x=True, transpose_y=True), expected, atol=1e-5
    )
    weight, bias = numbers(6, 4), numbers(6)
    np.testing.assert_allclose(
        run("linear", x=x, weight=weight, bias=bias), np.einsum("bjc,oc->bjo", x, weight) + bias, atol=1e-5
    )


def test_softmax_does_not_overflow() -> None:
    x = np.array([[1000.0, 1001.0], [-5.0, -5.0]], np.float32)
    expected = [[1 / (1 + math.e), math.e / (1 + math.e)], [0.5, 0.5]]
    np.testing.assert_allclose(run("softmax", x=x), expected, rtol=1e-6)
    np.testing.assert_allclose(run("softmax", x=x.T, axis=0), np.transpose(expected), rtol=1e-6)


def test_attention() -> None:
    query, key, value = numbers(1, 2, 3, 4), numbers(1, 2, 5, 4, seed=1), numbers(1, 2, 5, 6, seed=2)
    mask = numbers(3, 5) > 0
    mask[:, 0] = True
    found = run("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=mask)
    for head, row in np.ndindex(2, 3):
        scores = [math.exp(query[0, head, row] @ key[0, head, n] / 2) * mask[row, n] for n in range(5)]
        expected = sum(score * value[0, head, n] for n, score in enumerate(scores)) / sum(scores)
        np.testing.assert_allclose(found[0, head, row], expected, atol=1e-5)


def test_layer_norm_over_channels() -> None:
    x, gamma, beta = numbers(1, 8, 1, 3), numbers(8, seed=1), numbers(8, seed=2)
    found = run("layer_norm", x=x, axes=np.array([1]), gamma=gamma, beta=beta, epsilon=0.1)
    for place in range(3):
        column = x[0, :, 0, place]
        expected = (column - column.mean()) / math.sqrt(column.var() + 0.1) * gamma + beta
        np.testing.assert_allclose(found[0, :, 0, place], expected, atol=1e-5)


@pytest.mark.parametrize(("mode", "tolerance"), [("EXACT", 1e-6), ("TANH_APPROXIMATION", 1e-3)])
def test_gelu(mode: str, tolerance: float) -> None:
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = [n * 0.5 * (1 + math.erf(n / math.sqrt(2))) for n in x]
    np.testing.assert_allclose(run("gelu", x=x, mode=mode), expected, atol=tolerance)


def test_reductions() -> None:
    x = numbers(2, 3, 4)
    axes = np.array([0, -1], np.int32)
    np.testing.assert_allclose(
        run("reduce_mean", x=x, axes=axes, keep_dims=True)[0, :, 0], [x[:, n].mean() for n in range(3)], rtol=1e-5
    )
    assert run("reduce_sum", x=x, axes=axes).shape == (3,)
    assert run("reduce_max", x=x) == x.max()
    np.testing.assert_allclose(run("rsqrt", x=np.float32(4), epsilon=0.0), 0.5)


def test_movement() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert run("reshape", x=x, shape=np.array([0, -1])).shape == (2, 12)
    assert [part.shape[1] for part in run("split", x=x, split_sizes=np.array([2, 1]), axis=1)] == [2, 1]
    np.testing.assert_array_equal(run("concat", values=run("split", x=x, num_splits=3, axis=1), axis=1), x)
    np.testing.assert_array_equal(run("gather", x=x, indices=np.array([2, 0]), axis=2), x[:, :, [2, 0]])
    np.testing.assert_array_equal(run("slice_by_size", x=x, begin=[0, 1, 1], size=[1, -1, 2]), x[:1, 1:, 1:3])
    np.testing.assert_array_equal(run("shape", x=x), [2, 3, 4])
    assert run("squeeze", x=x[:1], axes=np.array([0])).shape == (3, 4)
    assert run("expand_dims", x=x, axes=np.array([0, 2])).shape == (1, 2, 1, 3, 4)


def test_slice_by_index() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    bounds: dict[str, Any] = {"x": x, "begin": [1, 0, -3], "end": [0, 2, 0], "end_mask": [False, False, True]}
    np.testing.assert_array_equal(run("slice_by_index", **bounds, squeeze_mask=[True, False, False]), x[1, :2, -3:])
    backwards = run("slice_by_index", x=x, begin=[0, 0, 3], end=[2, 3, 0], stride=[1, 2, -2])
    np.testing.assert_array_equal(backwards, x[:, ::2, 3:0:-2])


def test_slice_update() -> None:
    x, update = numbers(2, 3, 4), numbers(1, 2, 4, seed=1)
    begin, end = np.array([1, 1, 0]), np.array([2, 3, 0])
    expected = x.copy()
    expected[1:2, 1:3] = update
    bounds = {"begin": begin, "end": end, "end_mask": [False, False, True]}
    kept = x.copy()
    np.testing.assert_array_equal(run("slice_update", x=x, update=update, **bounds), expected)
    np.testing.assert_array_equal(x, kept)
    assert run("slice_update", x=x, update=update, **bounds, in_place=True) is x
    np.testing.assert_array_equal(x, expected)


def test_what_is_true_of_numbers() -> None:
    tokens = np.array([3, -1, 0], np.int32)
    is_own = run("greater_equal", x=tokens, y=0)
    np.testing.assert_array_equal(run("select", cond=is_own, a=tokens, b=tokens + 10), [3, 9, 0])
    np.testing.assert_array_equal(run("logical_not", x=run("less", x=tokens, y=0)), is_own)
    np.testing.assert_array_equal(run("logical_or", x=is_own, y=run("equal", x=tokens, y=-1)), [True] * 3)


def test_batch_norm() -> None:
    x, mean, variance, gamma, beta = numbers(1, 4, 1, 3), *(np.abs(numbers(4, seed=n)) for n in range(4))
    found = run("batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=0.1)
    for channel in range(4):
        expected = (x[0, channel] - mean[channel]) / math.sqrt(variance[channel] + 0.1) * gamma[channel] + beta[channel]
        np.testing.assert_allclose(found[0, channel], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("operator", "operands"),
    [
        ("gelu", {"x": np.ones(1), "mode": "other"}),
        ("einsum", {"values": [np.ones((1, 2)), np.ones((3, 1))], "equation": "ab,bc->ac"}),
        ("einsum", {"values": [np.ones(1), np.ones((3, 1))], "equation": "ab,bc->ac"}),
        ("einsum", {"values": [np.ones(1), np.ones(1)], "equation": "a" * 1_000_000 + ",b->c"}),
        ("slice_update", {"x": np.ones((2, 3)), "update": np.ones((1, 2)), "begin": [0, 0], "end": [1, 3]}),
        ("concat", {"values": [np.ones(1)], "axis": 0, "interleave": True}),
    ],
)
def test_what_is_not_known_is_refused(operator: str, operands: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        run(operator, **operands)


def test_affine_weights_do_not_wrap_around() -> None:
    data = np.array([[-128, 127], [0, 5]], np.int8)
    found = run(
        "constexpr_affine_dequantize", quantized_data=data, zero_point=np.array([100, 1], np.int8), scale=0.5, axis=0
    )
    np.testing.assert_array_equal(found, [[-114, 13.5], [-0.5, 2]])


def test_blockwise_weights() -> None:
    data, scale = np.arange(8, dtype=np.int8).reshape(2, 4), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    found = run("constexpr_blockwise_shift_scale", data=data, scale=scale, offset=np.ones((2, 2), np.int8))
    expected = [[scale[row, column // 2] * (data[row, column] - 1) for column in range(4)] for row in range(2)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("axis", "n_vector"), [(0, 1), (0, 2), (1, 3)])
def test_palettes_by_group_and_of_vectors(axis: int, n_vector: int) -> None:
    indices = np.random.default_rng(0).integers(0, 4, (4, 6), np.uint8)
    lut = numbers(2, 3, 4, n_vector)
    found = run("constexpr_lut_to_dense", indices=indices, lut=lut, vector_axis=axis)
    grown = [n * n_vector if place == axis else n for place, n in enumerate(indices.shape)]
    assert list(found.shape) == grown
    for row, column in itertools.product(range(4), range(6)):
        for n in range(n_vector):
            place = [row * n_vector + n, column] if axis == 0 else [row, column * n_vector + n]
            assert found[tuple(place)] == lut[row // 2, column // 2, indices[row, column], n]


@pytest.mark.parametrize("n_bits", [1, 2, 4, 6, 8])
def test_packed_palettes(n_bits: int) -> None:
    indices = np.random.default_rng(0).integers(0, 2**n_bits, 15)
    whole = sum(int(index) << (n_bits * place) for place, index in enumerate(indices))
    packed = np.frombuffer(whole.to_bytes(-(-15 * n_bits // 8), "little"), np.uint8)
    lut = numbers(2**n_bits)
    found = run("constexpr_lut_to_dense", indices=packed, lut=lut, shape=np.array([3, 5], np.uint32))
    np.testing.assert_array_equal(found, lut[indices].reshape(3, 5))


def test_rounding_is_that_of_float16() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = every[np.isfinite(every)]
    halfway = (finite[:-1] + finite[1:]) / 2
    beside = np.nextafter(halfway, np.float32(np.inf))
    for numbers_ in (every, halfway, beside, np.array([65519, 65520, 1e30], np.float32), numbers(40_000) * 1e-6):
        with np.errstate(over="ignore", invalid="ignore"):
            expected = numbers_.astype(np.float16).astype(np.float32)
        found = numbers_.astype(np.float32)
        with np.errstate(invalid="ignore"):
            round_to_float16(found)
        np.testing.assert_array_equal(found, expected)
