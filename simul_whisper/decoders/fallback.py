"""The decoder in use, and what takes its place: Core ML once it is ready, another decoder when Core ML fails."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.preparation import CoreMLUnavailableError, Kind
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.decoders import BatchingDecoder, Limits, Step, TextDecoder, limits_of
from simul_whisper.encoders import Features
from simul_whisper.errors import SimulWhisperError
from simul_whisper.fallback import ChangingPart
from simul_whisper.progress import Stage
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.weights.model import Dims, Head, Weights

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

# Zeros, random numbers and another text are at 0 dB or below; weights of four bits, in MLX, at 11 to 18, of eight above
# 33. A decoder whose matrices differ by 3 %, as after some more training, is at 24 to 28. Of tiny.en and base.
LEAST_DB, _LEAST_DB_OF_UNKNOWN_ORIGIN = 8.0, 30.0
_PROBE_TEXT = " One moment, please."
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Probe:
    """What a decoder is tried with: the features of a window, and a text."""

    features: Features
    tokens: Sequence[int]


@dataclass
class FallbackState:
    """A window and the text of each beam, from which any decoder can go on, and the state of the one that reads it.

    The text is as long as the caller has made it, which is what a decoder has room for.
    """

    features: Features
    beams: list[list[int]] = field(default_factory=list)
    decoder: TextDecoder | None = None
    inner: Any = None
    in_coreml: bool = False

    def append(self, tokens: Sequence[Sequence[int]]) -> None:
        """Note tokens that were read, (n_beams, n)."""
        texts = self.beams if any(self.beams) else [[] for _ in tokens]
        self.beams = [[*text, *new] for text, new in zip(texts, tokens, strict=True)]

    def answer(self, call: Callable[[TextDecoder, Any], _Result]) -> _Result:
        """Make a call of the decoder that reads this window."""
        assert self.decoder is not None
        return call(self.decoder, self.inner)


class FallbackDecoder(ChangingPart[TextDecoder, Step]):
    """A decoder like any other, that may change.

    Core ML takes over when a window begins: with this one or, if it has limits that the window was not made for, the
    next. When it fails, in whatever call, the decoder that takes its place reads the text again and answers that call.
    """

    name = "decoder"

    @property
    def limits(self) -> Limits:
        return limits_of(self.load())

    def begin(self, features: Features) -> FallbackState:
        ready, state = self.ready, FallbackState(features)
        if ready is not None and limits_of(ready) == Limits():
            self.take_over_if_ready()
        self._on(state, lambda _decoder, _inner: None)
        self.take_over_if_ready()
        return state

    def step(self, state: FallbackState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = self._on(state, lambda decoder, inner: decoder.step(inner, tokens, logits_at))
        state.append(tokens)
        return step

    @property
    def most_together(self) -> int:
        decoder = self.load()
        return decoder.most_together if isinstance(decoder, BatchingDecoder) else 1

    def step_together(
        self,
        states: Sequence[FallbackState],
        tokens: Sequence[Sequence[Sequence[int]]],
        logits_at: Sequence[Sequence[int]],
    ) -> list[Step] | None:
        """As `step`, for each; None unless one decoder that does that, and cannot fail as Core ML can, reads all."""
        decoder = self.load()
        if not isinstance(decoder, BatchingDecoder) or any(state.decoder is not decoder for state in states):
            return None
        steps = decoder.step_together([state.inner for state in states], tokens, logits_at)
        if steps is not None:
            for state, new in zip(states, tokens, strict=True):
                state.append(new)
        return steps

    def select(self, state: FallbackState, beams: Sequence[int], length: int | None = None) -> None:
        self._on(state, lambda decoder, inner: decoder.select(inner, beams, length))
        texts = state.beams if any(state.beams) else [[] for _ in beams]
        state.beams = [texts[beam][:length] for beam in beams]

    def _on(self, state: FallbackState, call: Callable[[TextDecoder, Any], _Result]) -> _Result:
        """Make a call of the decoder of a window; when that is Core ML and fails, of the one that takes its place."""
        try:
            has_failed = state.in_coreml and state.decoder is not self.load()
            if state.decoder is None or has_failed:
                self._read(state)
            return state.answer(call)
        except SimulWhisperError as error:
            if not state.in_coreml:
                raise
            self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)))
        self._read(state)
        return state.answer(call)

    def _read(self, state: FallbackState) -> None:
        """Read a window, and its text so far, with the decoder in use."""
        state.decoder, state.in_coreml = self.load(), self.is_coreml
        state.inner = state.decoder.begin(state.features)
        if any(state.beams):
            state.decoder.step(state.inner, state.beams)


def probe_text(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that a Core ML decoder is tried with."""
    return [*tokenizer.sot_sequence("en", "transcribe"), *tokenizer.encode(_PROBE_TEXT)]


def first_answer(decoder: TextDecoder, probe: Probe) -> Step:
    """Return what a decoder says to a text that it reads all but the last token of at once, and then that."""
    *start, last = probe.tokens
    state = decoder.begin(probe.features)
    steps = [decoder.step(state, [start], range(len(start))), decoder.step(state, [[last]])]
    logits = np.concatenate([step.logits for step in steps], axis=1)
    return Step(logits, np.concatenate([step.attention for step in steps], axis=2))


def coreml_decoder(
    weights: Callable[[], Weights],
    dims: Dims,
    heads: tuple[Head, ...],
    compute_units: str,
    probe: Callable[[], Probe],
) -> Kind[TextDecoder, Step]:
    """Return how the decoder of a model with these weights, dimensions and alignment heads runs in Core ML.

    probe: returns what it is tried with.
    """
    from simul_whisper.coreml.decoder_package import decoder_digest
    from simul_whisper.decoders.packages import decoder_packages, open_decoder

    def packages(found: "Description") -> "tuple[Description, ...]":
        return decoder_packages(found, dims, heads)

    def opened(runtime: CoreMLRuntime, model: Path, found: "Description") -> TextDecoder:
        return open_decoder(runtime, model, found, dims, heads, compute_units)

    def digest(precision: Precision) -> str:
        return decoder_digest(weights(), precision)

    def trial() -> Callable[[TextDecoder], Step]:
        return partial(first_answer, probe=probe())

    least_db, least_unknown_db = LEAST_DB, _LEAST_DB_OF_UNKNOWN_ORIGIN
    return Kind("decoder", packages, opened, digest, trial, agreement_db, least_db, least_unknown_db)


def agreement_db(answer: Step, reference: Step) -> float:
    """Return how well two first answers agree, in logits and in attention, whichever is worse.

    It is the energy of the reference over that of the error, in decibels: attention is nearly zero in most places, so
    that its peak says little. One row of attention for all heads, as WhisperKit's, is compared with their mean.
    """
    attention = reference.attention
    if answer.attention.shape[1] == 1:
        attention = attention.mean(axis=1, keepdims=True)
    return min(_likeness_db(answer.logits, reference.logits), _likeness_db(answer.attention, attention))


def _likeness_db(array: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    error = np.square(np.subtract(array, reference, dtype=np.float64)).sum()
    if not error:
        return math.inf
    return 10 * math.log10(np.square(reference, dtype=np.float64).sum() / error) if math.isfinite(error) else -math.inf
