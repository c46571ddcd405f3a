"""The text decoder in ONNX Runtime: for CPUs where MLX is slow.

A step is as fast as its weights come from memory, so they are int8 where a processor multiplies that fast.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import OrtValue

from simul_whisper.decoders import Step
from simul_whisper.decoders.graph import Graph, audio_graph, text_graph
from simul_whisper.encoders import Features
from simul_whisper.machine import processor_words
from simul_whisper.onnx_session import open_session, session_options
from simul_whisper.weights.model import Weights

# Processors without any of these would unpack all weights for each step, which takes a hundred times as long.
_INT8_INSTRUCTIONS = {"avx2", "asimddp"}
# Without any of these, products of whole matrices in int8 overflow, or take as long as in float32.
_INT8_MATRIX_INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "asimddp"}


@dataclass
class OnnxState:
    """A window, by the names of `graph`: keys (n_head, head_dim, n_frames) and values (n_head, n_frames, head_dim) of
    the audio; and of the text, both (n_beams, n_head, length, head_dim)."""

    audio: dict[str, Any]
    text: dict[str, Any] = field(default_factory=dict)
    length: int = 0


class OnnxDecoder:
    """Whisper's decoder on the CPU. quantization: of its matrices, `auto` is int8, or float32 where that is faster."""

    def __init__(self, weights: Weights, quantization: str = "auto") -> None:
        quantization = _fastest() if quantization == "auto" else quantization
        self._embedding = weights.tensors["decoder.token_embedding.weight"]
        self._positions = weights.tensors["decoder.positional_embedding"].astype(np.float32)
        self._empty_shape = weights.dims.n_text_head, 0, weights.dims.n_text_state // weights.dims.n_text_head
        in_integers = quantization == "int8" and bool(processor_words() & _INT8_MATRIX_INSTRUCTIONS)
        self._audio = _Runner(audio_graph(weights, in_integers=in_integers))
        self._text = _Runner(text_graph(weights, quantization))
        self.description = f"onnx ({quantization}{' as float32' if quantization == 'float16' else ''}, cpu)"

    def begin(self, features: Features) -> OnnxState:
        return OnnxState(self._audio.run({"features": _value(features)}))

    def step(self, state: OnnxState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        ids = np.array([list(beam) for beam in tokens])
        n_beams, n = ids.shape
        start, end = state.length, state.length + n
        text = state.text or dict.fromkeys(self._text.kept, _value(np.empty((n_beams, *self._empty_shape), np.float32)))
        said = {
            "x": _value(self._embedding[ids].astype(np.float32) + self._positions[start:end]),
            "mask": _value(np.triu(np.full((n, end), -np.inf, np.float32), start + 1)),
            "asked": _value(np.array([position % n for position in logits_at], np.int64)),
        }
        found = self._text.run(said | text | state.audio)
        logits, attention = found.pop("logits").numpy(), found.pop("attention").numpy()
        state.text, state.length = {name: found[new] for name, new in self._text.kept.items()}, end
        return Step(logits, attention)

    def select(self, state: OnnxState, beams: Sequence[int], length: int | None = None) -> None:
        state.length = length = state.length if length is None else length
        wanted = list(beams)
        state.text = {name: _value(value.numpy()[wanted, :, :length]) for name, value in state.text.items()}


class _Runner:
    """A graph with its weights, ready to run. kept: inputs that are an earlier run's outputs -> names of those."""

    def __init__(self, graph: Graph) -> None:
        options = session_options()
        options.add_external_initializers(list(graph.weights), [_value(each) for each in graph.weights.values()])
        self._session = open_session(graph.model, options)
        self._outputs, self.kept = graph.outputs, graph.kept

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self._outputs, self._session.run_with_ort_values(self._outputs, inputs), strict=True))


def _fastest() -> str:
    return "int8" if sys.platform != "linux" or processor_words() & _INT8_INSTRUCTIONS else "float32"


def _value(array: NDArray[Any]) -> Any:
    return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
