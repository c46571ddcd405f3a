"""The ONNX graph of a voice, and the HiFi-GAN that is found in it by how its nodes hang together, not by their names.

What is read may come from strangers: all is bounded, and what does not fit is a ValueError.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.vocoders.hifigan import Block, Convolution, HifiGan, StageOfVocoder, Unit, Upsampling

# The largest Piper voices have 14 million weights, 4 stages of 3 blocks, of 3 units, of 2 convolutions.
_MOST_PARTS, _MOST_PARAMETERS = 8, 1 << 26
_MOST_CHANNELS, _MOST_KERNEL, _MOST_DILATION, _MOST_STRIDE, _MOST_HOP = 4096, 64, 64, 64, 4096


@dataclass(frozen=True)
class Graph:
    """nodes: onnx.NodeProto, in the order in which they run. weights: returns an initializer in float32, by name."""

    nodes: tuple[Any, ...]
    weights: Mapping[str, NDArray[np.float32]]


@dataclass
class Found:
    """The vocoder in a graph. nodes: indices of those that belong to it. features, samples: its input and output."""

    vocoder: HifiGan
    nodes: Collection[int]
    features: str
    samples: str


def find_hifigan(graph: Graph, rate: int) -> Found:
    """Return the vocoder of a voice. Raises ValueError when there is none, or another kind of vocoder."""
    finder = _Finder(graph)
    ends = [n for n, node in enumerate(graph.nodes) if node.op_type == "Tanh" and finder.is_of_convolution(node)]
    for n in ends[: -_MOST_PARTS - 1 : -1]:
        try:
            return finder.found(n, rate)
        except _NotTheEndError:
            continue
    raise ValueError("no tanh of a convolution to one channel, which is where a HiFi-GAN ends")


class _NotTheEndError(Exception):
    """What was taken for the end of the vocoder is in the middle of something else."""


@dataclass
class _Finder:
    """Walks a graph from its end to its beginning. A node is its index."""

    graph: Graph
    _producers: dict[str, int] = field(default_factory=dict)
    _used: set[int] = field(default_factory=set)
    _n_parameters: int = 0

    def __post_init__(self) -> None:
        for n, node in enumerate(self.graph.nodes):
            self._producers |= dict.fromkeys(node.output, n)

    def found(self, last: int, rate: int) -> Found:
        self._used = {last}
        post, name = self._convolution(self.graph.nodes[last].input[0])
        if post.weight.shape[0] != 1:
            raise _NotTheEndError
        stages = list[StageOfVocoder]()
        while (inner := self._blocks_of_mean(name)) is not None:
            stage, name = self._stage(inner)
            stages.insert(0, stage)
            _require(len(stages) <= _MOST_PARTS, f"more than {_MOST_PARTS} stages")
        _require(bool(stages), "no blocks before its last convolution")
        pre: Convolution | None = None
        if self.producer(name, "Conv") is not None:
            pre, name = self._convolution(name)
        vocoder = HifiGan(pre, tuple(stages), post, rate)
        _check(vocoder)
        return Found(vocoder, frozenset(self._used), name, self.graph.nodes[last].output[0])

    def is_of_convolution(self, node: Any) -> bool:
        return len(node.input) == 1 and self.producer(node.input[0], "Conv") is not None

    # Parts, from the back

    def _stage(self, blocks: list[str]) -> tuple[StageOfVocoder, str]:
        """Return the stage with blocks of these names, and what goes into it."""
        found, inputs = list[Block](), set[str]()
        for name in blocks:
            block, given = self._block(name)
            found.append(block)
            inputs.add(given)
        _require(len(inputs) == 1, "the blocks of a stage do not begin with the same")
        up, given = self._upsampling(inputs.pop())
        return StageOfVocoder(up, tuple(found)), given

    def _blocks_of_mean(self, name: str) -> list[str] | None:
        """Return the names of the blocks whose mean this is; None where it is no mean."""
        n = self.producer(name, "Div", "Mul")
        if n is None:
            return None
        node = self.graph.nodes[n]
        constant = self._constant(node.input[1])
        names = [node.input[0]]
        for _ in range(_MOST_PARTS):
            names = [each for name in names for each in self._summands(name)]
        share = 1 / len(names) if node.op_type == "Mul" else len(names)
        is_mean = constant.size == 1 and abs(float(constant.reshape(-1)[0]) - share) < 1e-6 * share
        _require(len(names) <= _MOST_PARTS and is_mean, "a stage does not end in the mean of its blocks")
        self._used.add(n)
        return names

    def _summands(self, name: str) -> list[str]:
        """Return what was added up, one level of it; what a unit adds to is no sum of blocks."""
        n = self.producer(name, "Add")
        if n is None or any(self.producer(each, "Conv") is not None for each in self.graph.nodes[n].input):
            return [name]
        self._used.add(n)
        return list(self.graph.nodes[n].input)

    def _block(self, name: str) -> tuple[Block, str]:
        units = list[Unit]()
        while (n := self.producer(name, "Add")) is not None:
            left, right = self.graph.nodes[n].input
            result, name = (left, right) if self.producer(left, "Conv") is not None else (right, left)
            units.insert(0, self._unit(result, name))
            self._used.add(n)
            _require(len(units) <= _MOST_PARTS, f"a block of more than {_MOST_PARTS} units")
        _require(bool(units), "a block that adds nothing to what goes into it")
        return tuple(units), name

    def _unit(self, result: str, given: str) -> Unit:
        convolutions = list[Convolution]()
        while result != given:
            convolution, result = self._convolution(result)
            convolutions.insert(0, convolution)
            _require(len(convolutions) <= _MOST_PARTS, "a unit that does not add to what goes into it")
        return tuple(convolutions)

    def _convolution(self, name: str) -> tuple[Convolution, str]:
        n = self.producer(name, "Conv")
        if n is None:
            raise ValueError("something else where a convolution is expected")
        node, weight = self.graph.nodes[n], self.weight(n)
        kernel, said = weight.shape[2], _attributes(node)
        dilation = _first(said.get("dilations", [1]))
        _require(kernel % 2 == 1 and 1 <= dilation <= _MOST_DILATION, f"a kernel of {kernel}, dilated by {dilation}")
        padding = (kernel - 1) // 2 * dilation
        expected = {"pads": [padding, padding], "strides": [1], "group": 1, "kernel_shape": [kernel]}
        _check_attributes(said, expected | {"dilations": [dilation]})
        self._used.add(n)
        slope, given = self._slope(node.input[0])
        return Convolution(weight, self._bias(node, weight.shape[0]), dilation, slope), given

    def _upsampling(self, name: str) -> tuple[Upsampling, str]:
        n = self.producer(name, "ConvTranspose")
        if n is None:
            raise ValueError("a stage that does not begin with a transposed convolution")
        node, weight = self.graph.nodes[n], self.weight(n)
        kernel, said = weight.shape[2], _attributes(node)
        stride = _first(said.get("strides", [1]))
        is_known = 1 <= stride <= min(kernel, _MOST_STRIDE) and (kernel - stride) % 2 == 0
        _require(is_known, f"a transposed kernel of {kernel} by {stride}")
        padding = (kernel - stride) // 2
        expected = {"pads": [padding, padding], "strides": [stride], "group": 1, "kernel_shape": [kernel]}
        _check_attributes(said, expected | {"dilations": [1], "output_padding": [0]})
        self._used.add(n)
        slope, given = self._slope(node.input[0])
        return Upsampling(weight, self._bias(node, weight.shape[1]), stride, slope), given

    def _slope(self, name: str) -> tuple[float, str]:
        """Return the slope of the leaky ReLU that a value comes from, and what goes into that."""
        n = self.producer(name, "LeakyRelu")
        if n is None:
            return 1.0, name
        self._used.add(n)
        slope = _attributes(self.graph.nodes[n]).get("alpha", 0.01)
        _require(isinstance(slope, float) and 0 <= slope <= 1, f"a leaky ReLU of slope {str(slope)[:40]}")
        return slope, self.graph.nodes[n].input[0]

    # Nodes and constants

    def producer(self, name: str, *operators: str) -> int | None:
        """Return the node that a value comes from, if it is one of these."""
        n = self._producers.get(name)
        return n if n is not None and self.graph.nodes[n].op_type in operators and self.graph.nodes[n].input else None

    def weight(self, n: int) -> NDArray[np.float32]:
        """Return the weight of a convolution, float32 of three dimensions."""
        node = self.graph.nodes[n]
        weight = self._constant(node.input[1]) if len(node.input) > 1 else np.zeros(0, np.float32)
        is_known = weight.ndim == 3 and 0 < weight.shape[2] <= _MOST_KERNEL
        _require(is_known and 0 < min(weight.shape) <= max(weight.shape) <= _MOST_CHANNELS, f"weights {weight.shape}")
        # One that is stored once may be named often.
        self._n_parameters += weight.size
        _require(self._n_parameters <= _MOST_PARAMETERS, f"more than {_MOST_PARAMETERS} weights")
        _require(bool(np.isfinite(weight).all()), "weights that are no numbers")
        return weight

    def _bias(self, node: Any, n_out: int) -> NDArray[np.float32]:
        bias = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(n_out, np.float32)
        _require(bias.shape == (n_out,) and bool(np.isfinite(bias).all()), f"a bias {bias.shape} for {n_out} channels")
        return bias

    def _constant(self, name: str) -> NDArray[np.float32]:
        """Return an initializer, or what a node says: exporters keep equal tensors once and refer to them."""
        for _ in range(_MOST_PARTS):
            if name in self.graph.weights:
                return self.graph.weights[name]
            n = self._producers.get(name)
            node = self.graph.nodes[n] if n is not None else None
            if node is None or node.op_type not in ("Identity", "Constant"):
                break
            self._used.add(self._producers[name])
            if node.op_type == "Constant":
                return _said_constant(node)
            name = node.input[0] if node.input else ""
        raise ValueError("a weight that is computed, not stored")


def _said_constant(node: Any) -> NDArray[np.float32]:
    tensor = next((each.t for each in node.attribute if each.name == "value"), None)
    if tensor is None or tensor.data_type != 1 or len(tensor.raw_data) != 4 * np.prod(tensor.dims, dtype=object):
        raise ValueError("a constant that is not of float32")
    return np.frombuffer(tensor.raw_data, "<f4").reshape(tuple(tensor.dims)).astype(np.float32)


def _attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node that are numbers, texts or lists of whole numbers."""
    kinds = {1: "f", 2: "i", 3: "s", 7: "ints"}
    said = {each.name: getattr(each, kinds[each.type]) for each in node.attribute if each.type in kinds}
    return {name: value if isinstance(value, int | float | bytes) else [*value] for name, value in said.items()}


def _first(said: Any) -> int:
    """Return the first of a list that should have one whole number, 0 when it has none."""
    return said[0] if isinstance(said, list) and said else 0


def _check_attributes(said: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ValueError where a node says something else."""
    missing = {"pads": [0, 0], "strides": [1], "dilations": [1], "group": 1, "output_padding": [0]}
    for name, value in {**expected, "auto_pad": b"NOTSET", "output_shape": None}.items():
        got = said.get(name, missing.get(name, value))
        _require(got == value, f"a convolution of {name} {str(got)[:40]}, expected {value}")


def _check(vocoder: HifiGan) -> None:
    """Raise ValueError unless each layer takes what the one before it gives."""
    width = vocoder.n_features
    if vocoder.pre:
        width = vocoder.pre.weight.shape[0]
    for stage in vocoder.stages:
        _require(stage.up.weight.shape[0] == width, "layers of different widths")
        width = stage.up.weight.shape[1]
        units = (each for block in stage.blocks for unit in block for each in unit)
        _require(all(each.weight.shape[:2] == (width, width) for each in units), "layers of different widths")
    _require(vocoder.post.weight.shape[1] == width and vocoder.hop <= _MOST_HOP, "layers of different widths")


def _require(is_true: bool, problem: str) -> None:
    if not is_true:
        raise ValueError(problem)


def names_in(node: Any) -> Iterator[str]:
    """Yield all names that a node reads, those in its inner graphs too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            for each in inner.node:
                yield from names_in(each)
            yield from (each.name for each in inner.output)
