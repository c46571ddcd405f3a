"""The ONNX file of a Piper voice, cut in two in memory: the front, from text to features, and its vocoder."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper

from simul_whisper.errors import UnsupportedSampleRateError, VocoderNotLoadedError
from simul_whisper.foreign_files import one_line, read_bytes, read_json, shown
from simul_whisper.vocoders.graph import Found, Graph, find_hifigan, names_in
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.vocoders.wire import BYTES, VARINT, Field, Piece, fields, message, varint

FEATURES, SAMPLES = "features", "samples"
LEAST_RATE, MOST_RATE = 8_000, 48_000
"""Samples per second that a voice may have."""
# The largest Piper voices take 115 MB.
_MOST_BYTES = 512 << 20
# All but the weights: 0.6 MB in the voices that there are. A message in memory may take a hundred times its bytes.
_MOST_STRUCTURE_BYTES = 2 << 20
# Voices have 3,000 nodes, of 16,000 fields.
_MOST_PARTS, _MOST_FIELDS_OF_NODES = 1 << 15, 1 << 17
# Fields of ModelProto, GraphProto and TensorProto.
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 2, 5, 11, 12, 15
_DIMS, _TYPE, _TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14
_FLOAT = 1


@dataclass(frozen=True)
class SplitVoice:
    """A voice in two parts.

    front: an ONNX model with the inputs of the file, whose only output is `features`, float32 (1, n_features,
    n_frames). vocoder: what makes sound of them. reference: the vocoder as it stands in the file, an ONNX model from
    `features` to `samples`, float32 (1, 1, n_frames * hop).
    """

    front: bytes
    vocoder: HifiGan
    reference: bytes


def split_voice(path: Path) -> SplitVoice:
    """Read a voice, an .onnx file with its .onnx.json beside it.

    Raises VocoderNotLoadedError for what is no voice with a HiFi-GAN, UnsupportedSampleRateError.
    """
    rate = _rate(Path(f"{path}.json"))
    try:
        return _split(read_bytes(path, _MOST_BYTES), rate)
    except OSError as error:
        raise VocoderNotLoadedError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, DecodeError) as error:
        raise VocoderNotLoadedError(
            f"{path}: not a Piper voice with a HiFi-GAN: got {one_line(error)}; give the .onnx file of a Piper voice"
        ) from error


def _rate(path: Path) -> int:
    """Return the samples per second that a voice's settings say."""
    try:
        said = read_json(path)
    except OSError as error:
        raise VocoderNotLoadedError(
            f"{path}: cannot be read: {error.strerror}; a Piper voice has its settings there"
        ) from error
    except ValueError as error:
        raise VocoderNotLoadedError(f"{path}: not the settings of a Piper voice: {one_line(error)}") from error
    audio = said.get("audio") if isinstance(said, dict) else None
    rate = audio.get("sample_rate") if isinstance(audio, dict) else None
    if type(rate) is not int or not LEAST_RATE <= rate <= MOST_RATE:
        raise UnsupportedSampleRateError(
            f"{path}: got audio.sample_rate = {shown(rate)}, expected {LEAST_RATE} to {MOST_RATE} Hz"
        )
    return rate


def _split(data: bytes, rate: int) -> SplitVoice:
    file = _VoiceFile(data)
    found = find_hifigan(Graph(file.nodes, file.weights), rate)
    return SplitVoice(file.front(found), found.vocoder, file.reference(found))


class _VoiceFile:
    """An ONNX model in memory. Its weights are looked at where they lie. Raises ValueError for anything else."""

    def __init__(self, data: bytes) -> None:
        self._data, self._view = data, memoryview(data)
        self._model = self._some(0, len(data))
        graphs = [each for each in self._model if each.number == _GRAPH and each.kind == BYTES]
        if len(graphs) != 1:
            raise ValueError("no ONNX graph")
        self._graph = self._some(graphs[0].start, graphs[0].end)
        if self._all(_SPARSE):
            raise ValueError("sparse weights")
        stored = (_Stored(data, each) for each in self._all(_INITIALIZER))
        self._stored = {each.name: each for each in stored}
        n_structure = graphs[0].end - graphs[0].start - sum(each.n_bytes for each in self._stored.values())
        if n_structure > _MOST_STRUCTURE_BYTES:
            raise ValueError(f"a graph of {n_structure} bytes without its weights")
        n_fields = sum(1 for each in self._all(_NODE) for _ in fields(data, each.start, each.end))
        if n_fields > _MOST_FIELDS_OF_NODES:
            raise ValueError(f"nodes of {n_fields} fields")
        self.nodes = tuple(onnx.NodeProto.FromString(bytes(self._bytes(each))) for each in self._all(_NODE))
        self.weights: Mapping[str, NDArray[np.float32]] = _Weights(self._stored)
        _check_nothing_outside(self.nodes)

    def front(self, found: Found) -> bytes:
        """Return the model without the vocoder and what comes after it."""
        gone, kept, used = {*_outputs(self.nodes, found.nodes, found.features)}, list[Piece](), set[str]()
        for node, each in zip(self.nodes, self._all(_NODE), strict=True):
            names = set(names_in(node))
            if names & gone:
                gone |= set(node.output)
            else:
                kept += message(_NODE, self._bytes(each))
                used |= names
        kept += message(_NODE, helper.make_node("Identity", [found.features], [FEATURES]).SerializeToString())
        for each in self._all(_INPUT):
            kept += message(_INPUT, self._bytes(each))
        kept += message(_OUTPUT, _tensor_info(FEATURES, 1, found.vocoder.n_features))
        return self._model_of("front", kept, used)

    def reference(self, found: Found) -> bytes:
        """Return the model of the vocoder's own nodes."""
        first = helper.make_node("Identity", [FEATURES], [found.features])
        last = helper.make_node("Identity", [found.samples], [SAMPLES])
        nodes = [first, *(self.nodes[n] for n in sorted(found.nodes)), last]
        kept = list[Piece]()
        for node in nodes:
            kept += message(_NODE, node.SerializeToString())
        kept += message(_INPUT, _tensor_info(FEATURES, 1, found.vocoder.n_features))
        kept += message(_OUTPUT, _tensor_info(SAMPLES, 1, 1))
        return self._model_of("vocoder", kept, {name for node in nodes for name in node.input})

    def _model_of(self, name: str, graph: list[Piece], used: set[str]) -> bytes:
        """Return a model of these parts of a graph, with the weights that are used."""
        graph = graph + message(_NAME, name.encode())
        for each in self._stored.values():
            if each.name in used:
                graph += message(_INITIALIZER, self._bytes(each.field))
        said = [self._view[each.first : each.end] for each in self._model if each.number in (_IR_VERSION, _OPSETS)]
        return b"".join([*said, *message(_GRAPH, *graph)])

    def _all(self, number: int) -> list[Field]:
        return [each for each in self._graph if each.number == number and each.kind == BYTES]

    def _bytes(self, found: Field) -> memoryview:
        return self._view[found.start : found.end]

    def _some(self, start: int, end: int) -> list[Field]:
        found = list[Field]()
        for each in fields(self._data, start, end):
            found.append(each)
            if len(found) > _MOST_PARTS:
                raise ValueError(f"more than {_MOST_PARTS} parts")
        return found


class _Stored:
    """An initializer as it lies in the file."""

    def __init__(self, data: bytes, field: Field) -> None:
        self.field, self.name, self.n_bytes = field, "", 0
        self._data, self._dims, self._type = data, list[int](), 0
        self._raw: Field | None = None
        for n, each in enumerate(fields(data, field.start, field.end)):
            is_outside = each.number == _EXTERNAL or (each.number == _LOCATION and each.value)
            if is_outside or n > 64:
                raise ValueError("weights outside the file, or in a form that Piper voices do not have")
            if each.number == _DIMS:
                self._dims += [each.value] if each.kind == VARINT else list(_packed(data, each))
            elif each.number == _TYPE:
                self._type = each.value
            elif each.number == _TENSOR_NAME:
                self.name = data[each.start : each.end].decode()
            elif each.number == _RAW:
                self._raw, self.n_bytes = each, each.end - each.start

    def array(self) -> NDArray[np.float32]:
        """Return a copy. Raises ValueError unless it is of float32."""
        # Lengths of hostile files may be any: as Python's numbers they cannot overflow.
        n_bytes = 4 * int(np.prod([1, *self._dims], dtype=object))
        if self._type != _FLOAT or self._raw is None or self.n_bytes != n_bytes:
            raise ValueError(f"weights {one_line(self.name)} that are not of float32")
        found = np.frombuffer(self._data, "<f4", n_bytes // 4, self._raw.start)
        return found.reshape(self._dims).astype(np.float32)


class _Weights(Mapping[str, NDArray[np.float32]]):
    """Initializers by name, copied when they are asked for."""

    def __init__(self, stored: Mapping[str, _Stored]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._stored[name].array()

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _outputs(nodes: Collection[onnx.NodeProto], of: Collection[int], features: str) -> Iterator[str]:
    """Yield what the vocoder's nodes give that read its features."""
    for n, node in enumerate(nodes):
        if n in of and features in node.input:
            yield from node.output


def _check_nothing_outside(nodes: Collection[onnx.NodeProto]) -> None:
    """Raise ValueError where a constant lies in another file, which a runtime would open."""
    for attribute in (each for node in nodes for each in node.attribute):
        inner = [attribute.g, *attribute.graphs]
        tensors = [attribute.t, *attribute.tensors, *(tensor for graph in inner for tensor in graph.initializer)]
        is_sparse = attribute.HasField("sparse_tensor") or attribute.sparse_tensors
        if is_sparse or any(each.external_data or each.data_location for each in tensors):
            raise ValueError("a constant outside the file, or in a form that Piper voices do not have")
        for graph in inner:
            if graph.sparse_initializer:
                raise ValueError("sparse weights")
            _check_nothing_outside(graph.node)


def _packed(data: bytes, field: Field) -> Iterator[int]:
    """Yield the few numbers of a packed field."""
    if field.end - field.start > 64:
        raise ValueError("a tensor of too many dimensions")
    at = field.start
    while at < field.end:
        value, at = varint(data, at, field.end)
        yield value


def _tensor_info(name: str, *shape: int) -> bytes:
    info: bytes = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (*shape, "n")).SerializeToString()
    return info
