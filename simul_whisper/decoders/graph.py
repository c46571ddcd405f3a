"""Whisper's decoder as ONNX graphs: one projects the audio of a window, the other reads tokens.

Inputs and outputs are float32, with these names; n counts new tokens, length those read before:
features (n_frames, n_audio_state) -> audio_keys_0 (n_head, head_dim, n_frames), audio_values_0 (n_head, n_frames,
head_dim), and so on for each layer;
x (n_beams, n, n_text_state), embedded; mask (n, length + n), added to the scores; asked, int64 positions among the n;
text_keys_0, text_values_0 (n_beams, n_head, length, head_dim), ...; and the audio's -> logits (n_beams, n_asked,
n_vocab), attention (n_beams, n_alignment_heads, n, n_frames), and new_text_keys_0, ..., the new tokens' with the old.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from simul_whisper.weights.mapped import give_back
from simul_whisper.weights.model import Dims, Head, Weights

Array = NDArray[Any]

_BITS = {"int8": 8, "int4": 4}
# Bits -> how many numbers of a row share a scale.
_BLOCKS = {8: 64, 4: 32}
_ROWS_AT_ONCE = 1024
# What int8 reaches, and what zero is in uint8.
_MOST_INT8, _ZERO = 127, 128
# So that a row of zeros can be divided by.
_LEAST = float(np.finfo(np.float32).tiny) * _MOST_INT8
_EPSILON = 1e-5
_OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
_IR_VERSION = 10
# `accuracy_level`: what is multiplied with the weights is rounded in blocks too. Without that a step takes 20 times as
# long.
_INT8_PRODUCTS = 4


@dataclass(frozen=True)
class Graph:
    """model: a serialized ONNX model, whose matrices stand in `weights`, by name.

    outputs: in order. kept: names of inputs -> of the outputs that are those inputs the next time.
    """

    model: bytes
    weights: dict[str, Array]
    outputs: list[str]
    kept: dict[str, str] = field(default_factory=dict)


def audio_graph(weights: Weights, *, in_integers: bool = False) -> Graph:
    """Return the graph that makes the keys and values of cross-attention, in float32.

    in_integers: each frame and each output's weights are rounded to int8 for the product, as CTranslate2 does it, which
    takes a third of the time where the processor has instructions for such products.
    """
    dims, builder = weights.dims, _GraphBuilder(weights, "float32")
    by_head = builder.constant([-1, dims.n_text_head, dims.n_text_state // dims.n_text_head])
    rounded = builder.rounded_rows("features") if in_integers else None
    for n in range(dims.n_text_layer):
        for part, order in (("key", [1, 2, 0]), ("value", [1, 0, 2])):
            name = f"blocks.{n}.cross_attn.{part}"
            projected = builder.linear_of_rounded(rounded, name) if rounded else builder.linear("features", name)
            heads = builder.apply("Reshape", projected, by_head)
            builder.apply("Transpose", heads, perm=order, output=f"audio_{part}s_{n}")
    return builder.graph({"features": 2}, _audio_names(dims))


def text_graph(weights: Weights, quantization: str) -> Graph:
    """Return the graph that reads tokens. quantization: of its weights; int8, int4, float16 as float32, or float32."""
    dims, builder = weights.dims, _GraphBuilder(weights, quantization)
    x, rows = "x", dict[Head, str]()
    for n in range(dims.n_text_layer):
        x, attention = _block(builder, x, n)
        for head in weights.alignment_heads:
            if head[0] == n:
                rows[head] = builder.apply("Gather", attention, builder.constant([head[1]]), axis=1)
    builder.apply("Concat", *(rows[head] for head in weights.alignment_heads), axis=1, output="attention")
    asked = builder.norm(builder.apply("Gather", x, "asked", axis=1), "ln")
    builder.apply("Identity", builder.product(asked, builder.embedding()), output="logits")
    kept = {name: f"new_{name}" for name in _text_names(dims)}
    inputs = {"x": 3, "mask": 2, "asked": 1} | dict.fromkeys(kept, 4) | dict.fromkeys(_audio_names(dims), 3)
    return builder.graph(inputs, ["logits", "attention", *kept.values()], kept)


def _audio_names(dims: Dims) -> list[str]:
    return [f"audio_{part}_{n}" for n in range(dims.n_text_layer) for part in ("keys", "values")]


def _text_names(dims: Dims) -> list[str]:
    return [f"text_{part}_{n}" for n in range(dims.n_text_layer) for part in ("keys", "values")]


def _block(builder: "_GraphBuilder", x: str, n: int) -> tuple[str, str]:
    """Layer number n. Returns its output, shaped like x, and its cross-attention, (n_beams, n_head, n, n_frames)."""
    block = f"blocks.{n}"
    queries, keys, values = builder.queries_keys_values(builder.norm(x, f"{block}.attn_ln"), f"{block}.attn")
    keys = builder.apply("Concat", f"text_keys_{n}", keys, axis=2, output=f"new_text_keys_{n}")
    values = builder.apply("Concat", f"text_values_{n}", values, axis=2, output=f"new_text_values_{n}")
    scores = builder.apply("MatMul", queries, builder.apply("Transpose", keys, perm=[0, 1, 3, 2]))
    mixed, _ = builder.mixed(builder.apply("Add", scores, "mask"), values)
    x = builder.apply("Add", x, builder.linear(mixed, f"{block}.attn.out"))
    queries = builder.queries(builder.norm(x, f"{block}.cross_attn_ln"), f"{block}.cross_attn")
    mixed, attention = builder.mixed(builder.apply("MatMul", queries, f"audio_keys_{n}"), f"audio_values_{n}")
    x = builder.apply("Add", x, builder.linear(mixed, f"{block}.cross_attn.out"))
    hidden = builder.apply("Gelu", builder.linear(builder.norm(x, f"{block}.mlp_ln"), f"{block}.mlp1"))
    return builder.apply("Add", x, builder.linear(hidden, f"{block}.mlp2")), attention


class _GraphBuilder:
    """Builds a graph node by node. A value is a name: that of an operator's output."""

    def __init__(self, weights: Weights, quantization: str) -> None:
        self._tensors, self._bits = weights.tensors, _BITS.get(quantization)
        self._stored = np.float16 if quantization == "float16" else np.float32
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._matrices: dict[str, Array] = {}
        n_head, head_dim = weights.dims.n_text_head, weights.dims.n_text_state // weights.dims.n_text_head
        self._scale = np.float32(head_dim**-0.5)
        self._by_head, self._joined = self.constant([0, 0, n_head, head_dim]), self.constant([0, 0, n_head * head_dim])

    # Values

    def tensor(self, name: str) -> Array:
        """Return a tensor of the decoder, float32."""
        stored = self._tensors[f"decoder.{name}"]
        numbers = stored.astype(self._stored).astype(np.float32)
        give_back(stored)
        return numbers

    def embedding(self) -> Array:
        """Return the largest matrix, in the numbers of the file where `product` takes it in parts."""
        name = "token_embedding.weight"
        return self._tensors[f"decoder.{name}"] if self._bits else self.tensor(name)

    def constant(self, values: Array | Sequence[int]) -> str:
        """values: int64 as a list, else an array; a matrix is left to those who run the graph."""
        array, name = np.asarray(values), f"constant_{len(self._constants)}"
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.ndim == 1:
            self._constants.append(helper.make_tensor(name, kind, array.shape, array))
            return name
        outside = onnx.TensorProto(name=name, data_type=kind, dims=array.shape, data_location=onnx.TensorProto.EXTERNAL)
        outside.external_data.add(key="location", value="memory")
        self._constants.append(outside)
        self._matrices[name] = array
        return name

    def apply(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = output or f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    # Parts of the network

    def norm(self, x: str, name: str) -> str:
        parameters = (self.constant(self.tensor(f"{name}.{part}")) for part in ("weight", "bias"))
        return self.apply("LayerNormalization", x, *parameters, epsilon=_EPSILON)

    def linear(self, x: str, name: str) -> str:
        return self._biased(self.product(x, self.tensor(f"{name}.weight")), name)

    def rounded_rows(self, x: str) -> tuple[str, str]:
        """Round each row of (n, n_in) to int8, for as many products as there are.

        Returns uint8 (n, n_in), to be read as `_ZERO` less, and float32 (n, 1), by which each row has to be multiplied.
        """
        most = self.apply("ReduceMax", self.apply("Abs", x), self.constant([-1]))
        scales = self.apply("Div", self.apply("Max", most, self._number(_LEAST)), self._number(_MOST_INT8))
        levels = self.apply("Round", self.apply("Div", x, scales))
        return self.apply("Cast", self.apply("Add", levels, self._number(_ZERO)), to=onnx.TensorProto.UINT8), scales

    def linear_of_rounded(self, rounded: tuple[str, str], name: str) -> str:
        """rounded: as of `rounded_rows`. Returns float32 (n, n_out)."""
        rows, scales = rounded
        matrix = self.tensor(f"{name}.weight")
        most = np.maximum(np.abs(matrix).max(axis=1), np.float32(_LEAST)) / np.float32(_MOST_INT8)
        levels = np.round(matrix / most[:, None]).astype(np.int8)
        zero = self.constant(np.array([_ZERO], np.uint8))
        product = self.apply("MatMulInteger", rows, self.constant(np.ascontiguousarray(levels.T)), zero)
        by_row = self.apply("Mul", self.apply("Cast", product, to=onnx.TensorProto.FLOAT), scales)
        return self._biased(self.apply("Mul", by_row, self.constant(most)), name)

    def _number(self, value: float) -> str:
        return self.constant(np.array([value], np.float32))

    def _biased(self, product: str, name: str) -> str:
        bias = f"{name}.bias"
        return self._plus(product, self.tensor(bias)) if f"decoder.{bias}" in self._tensors else product

    def product(self, x: str, matrix: Array) -> str:
        """matrix: float32 (n_out, n_in), or float16 where it is rounded to bits."""
        if not self._bits:
            return self.apply("MatMul", x, self.constant(np.ascontiguousarray(matrix.T)))
        n_out, n_in = matrix.shape
        # Some rows after the other: what rounding needs on the way is several times a large matrix.
        parts = [_rounded(matrix[n : n + _ROWS_AT_ONCE], self._bits) for n in range(0, n_out, _ROWS_AT_ONCE)]
        give_back(matrix)
        rounded, scales = (np.concatenate(part) for part in zip(*parts, strict=True))
        sizes = {
            "N": n_out,
            "K": n_in,
            "bits": self._bits,
            "block_size": _BLOCKS[self._bits],
            "accuracy_level": _INT8_PRODUCTS,
        }
        stored = self.constant(rounded), self.constant(scales)
        return self.apply("MatMulNBits", x, *stored, domain="com.microsoft", **sizes)

    def queries(self, x: str, name: str) -> str:
        """Returns (n_beams, n_head, n, head_dim), scaled."""
        return self._heads(self._plus(self.product(x, self._query(name, "weight")), self._query(name, "bias")))

    def queries_keys_values(self, x: str, name: str) -> list[str]:
        """From one product; each (n_beams, n_head, n, head_dim)."""
        weights = [self._query(name, "weight"), self.tensor(f"{name}.key.weight"), self.tensor(f"{name}.value.weight")]
        biases = [self._query(name, "bias"), np.zeros(len(weights[1]), np.float32), self.tensor(f"{name}.value.bias")]
        together = self._plus(self.product(x, np.concatenate(weights)), np.concatenate(biases))
        parts = [f"{together}_{n}" for n in range(3)]
        self._nodes.append(helper.make_node("Split", [together], parts, axis=-1, num_outputs=3))
        return [self._heads(part) for part in parts]

    def mixed(self, scores: str, values: str) -> tuple[str, str]:
        """scores: (n_beams, n_head, n, n_keys). Returns (n_beams, n, n_state), and the weights of the values."""
        weights = self.apply("Softmax", scores, axis=-1)
        by_head = self.apply("Transpose", self.apply("MatMul", weights, values), perm=[0, 2, 1, 3])
        return self.apply("Reshape", by_head, self._joined), weights

    def _query(self, name: str, part: str) -> Array:
        scaled: Array = self.tensor(f"{name}.query.{part}") * self._scale
        return scaled

    def _heads(self, x: str) -> str:
        return self.apply("Transpose", self.apply("Reshape", x, self._by_head), perm=[0, 2, 1, 3])

    def _plus(self, x: str, bias: Array) -> str:
        return self.apply("Add", x, self.constant(bias))

    def graph(self, inputs: dict[str, int], outputs: list[str], kept: dict[str, str] | None = None) -> Graph:
        """inputs: name -> number of dimensions."""
        taken = [_described(name, [None] * n) for name, n in inputs.items()]
        given = [_described(name, None) for name in outputs]
        built = helper.make_graph(self._nodes, "decoder", taken, given, self._constants)
        model = helper.make_model(built, opset_imports=_OPSETS, ir_version=_IR_VERSION)
        return Graph(model.SerializeToString(), self._matrices, outputs, kept or {})


def _described(name: str, shape: list[None] | None) -> onnx.ValueInfoProto:
    kind = onnx.TensorProto.INT64 if name == "asked" else onnx.TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


def _rounded(matrix: Array, bits: int) -> tuple[Array, Array]:
    """Round blocks of a row, each with a scale of its own, as `MatMulNBits` takes them.

    matrix: float16 or float32 (n_out, n_in). Returns uint8 (n_out, n_blocks, bytes) and float32 (n_out, n_blocks).
    """
    n_out, n_in = matrix.shape
    padded = np.pad(matrix.astype(np.float32), [(0, 0), (0, -n_in % _BLOCKS[bits])])
    blocks = padded.reshape(n_out, -1, _BLOCKS[bits])
    top = 2 ** (bits - 1) - 1
    scales = np.maximum(np.abs(blocks).max(axis=-1), np.finfo(np.float32).tiny) / top
    levels = (np.round(blocks / scales[..., None]) + (top + 1)).astype(np.uint8)
    stored = levels if bits == _BITS["int8"] else levels[..., 0::2] | levels[..., 1::2] << 4
    return stored, scales
