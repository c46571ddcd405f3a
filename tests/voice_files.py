"""Small voices of random weights in the form of Piper's: a front that looks up features, and a HiFi-GAN."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

N_SYMBOLS = 16


@dataclass(frozen=True)
class Sizes:
    """Of a voice. units: of each block, how many convolutions each unit has, and their dilations."""

    n_features: int = 6
    width: int = 16
    strides: tuple[int, ...] = (4, 2)
    kernels: tuple[int, ...] = (8, 4)
    blocks: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...] = ((3, ((1,), (2,))), (5, ((2,), (6,))))
    has_speakers: bool = False
    rate: int = 16_000


@dataclass
class _Builder:
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def apply(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def weight(self, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(values, f"weight_{len(self.weights)}"))
        return f"weight_{len(self.weights) - 1}"

    def some(self, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return self.weight(self.random.normal(0, scale, shape).astype(np.float32))

    def conv(self, x: str, n_out: int, n_in: int, kernel: int, dilation: int = 1) -> str:
        pads = [(kernel - 1) // 2 * dilation] * 2
        weights = self.some(n_out, n_in, kernel), self.some(n_out)
        return self.apply("Conv", x, *weights, pads=pads, dilations=[dilation], kernel_shape=[kernel])

    def block(self, x: str, width: int, kernel: int, units: tuple[tuple[int, ...], ...]) -> str:
        for dilations in units:
            y = x
            for dilation in dilations:
                y = self.conv(self.apply("LeakyRelu", y, alpha=0.1), width, width, kernel, dilation)
            x = self.apply("Add", y, x)
        return x


def voice_model(sizes: Sizes = Sizes()) -> onnx.ModelProto:
    """Return a voice: `input` int64 (1, n), and `sid` where it has speakers -> `output` float32 (1, 1, 1, n * hop)."""
    b, width = _Builder(), sizes.width
    embedded = b.apply("Gather", b.some(N_SYMBOLS, sizes.n_features), "input", axis=0)
    x = b.conv(b.apply("Tanh", b.apply("Transpose", embedded, perm=[0, 2, 1])), width, sizes.n_features, 7)
    inputs = [helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"])]
    if sizes.has_speakers:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        speaker = b.apply("Unsqueeze", b.apply("Gather", b.some(3, 4), "sid"), b.weight(np.array([2])))
        x = b.apply("Add", x, b.conv(speaker, width, 4, 1))
    for stride, kernel in zip(sizes.strides, sizes.kernels, strict=True):
        x, width = b.apply("LeakyRelu", x, alpha=0.1), width // 2
        weights = b.some(2 * width, width, kernel), b.some(width)
        x = b.apply("ConvTranspose", x, *weights, pads=[(kernel - stride) // 2] * 2, strides=[stride])
        blocks = [b.block(x, width, kernel, units) for kernel, units in sizes.blocks]
        total = blocks[0]
        for each in blocks[1:]:
            total = b.apply("Add", total, each)
        n_blocks = b.apply("Constant", value=numpy_helper.from_array(np.array(float(len(blocks)), np.float32)))
        x = b.apply("Div", total, n_blocks)
    x = b.apply("Tanh", b.apply("Conv", b.apply("LeakyRelu", x), b.some(1, width, 7), pads=[3, 3]))
    b.apply("Unsqueeze", x, b.weight(np.array([1])), output="output")
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])
    graph = helper.make_graph(b.nodes, "voice", inputs, [output], b.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def save_voice(path: Path, model: onnx.ModelProto | bytes, rate: object = 16_000) -> Path:
    """Write a voice and its settings."""
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    path.with_name(path.name + ".json").write_text(json.dumps({"audio": {"sample_rate": rate}}), "utf-8")
    return path
