"""Stand-ins for the model, shipped with the seams they fill: a scripted decoder, and the genuine tokenizers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from simul_whisper.answering import answer
from simul_whisper.decoders import Step, TextDecoder
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.mel import Mel
from simul_whisper.pieces import Answer, Ask
from simul_whisper.weights import model_directory
from simul_whisper.whisper_tokenizer import WhisperTokenizer

N_VOCAB = {"tiny.en": 51864, "base": 51865}
# What every token that the script does not name gets: impossible next to any that it does.
UNLIKELY = -100.0
# Of multilingual models.
EOT, SOT = 50257, 50258

Prediction = tuple[Mapping[int, float], int]
"""The log-probabilities of the next tokens, and the frame that attention looks at to predict them."""

AN_END: Prediction = ({EOT: 0.0}, 250)

Script = Callable[[Sequence[int]], Prediction]
"""Text so far, prompt included -> what comes next."""


@cache
def tokenizer_of(name: str) -> WhisperTokenizer:
    return WhisperTokenizer(model_directory(name) / "tokenizer.json", N_VOCAB[name])


@dataclass
class FakeState:
    """The text of every beam."""

    beams: list[list[int]] = field(default_factory=list)
    n_frames: int = 0


class FakeDecoder:
    """A `TextDecoder` that says what a script tells it to, with one alignment head that looks at one frame."""

    def __init__(self, n_vocab: int, script: Script) -> None:
        self._n_vocab, self._script = n_vocab, script
        self.n_steps = 0

    def begin(self, features: NDArray[np.float32]) -> FakeState:
        return FakeState(n_frames=len(features))

    def step(self, state: FakeState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        self.n_steps += 1
        state.beams = state.beams or [[] for _ in tokens]
        assert len(tokens) == len(state.beams)
        logits, attention = [], []
        for beam, new in zip(state.beams, tokens, strict=True):
            predicted = []
            for token in new:
                beam.append(token)
                predicted.append(self._script(beam))
            logits.append([self._logits(predicted[position][0]) for position in logits_at])
            start = len(beam) - len(new)
            rows = [self._looking_at(frame, start + n, state.n_frames) for n, (_, frame) in enumerate(predicted)]
            attention.append([rows])
        return Step(np.array(logits, np.float32), np.array(attention, np.float32))

    def select(self, state: FakeState, beams: Sequence[int], length: int | None = None) -> None:
        state.beams = [state.beams[beam][:length] for beam in beams]

    def _logits(self, next_tokens: Mapping[int, float]) -> NDArray[np.float32]:
        logits = np.full(self._n_vocab, UNLIKELY, np.float32)
        logits[list(next_tokens)] = list(next_tokens.values())
        return logits

    @staticmethod
    def _looking_at(frame: int, position: int, n_frames: int) -> NDArray[np.float32]:
        """A smooth peak, wider than the median filter, on a ground that is not the same in all rows."""
        row = np.exp(-np.square((np.arange(n_frames) - frame) / 6.0)) + 0.05 * (position % 2)
        return np.asarray(row, np.float32)


class DeafEncoder:
    """An `AudioEncoder` where nothing is to be encoded."""

    description = "deaf"

    def encode(self, mel: Mel) -> Features:
        raise AssertionError(f"got {mel.n_frames} frames to encode")


def answering(decoder: TextDecoder, encoder: AudioEncoder | None = None) -> Callable[[Ask], Answer]:
    """What does the pieces of work of a decoder."""
    return partial(answer, encoder or DeafEncoder(), decoder)


def scripted(
    lines: Mapping[tuple[int, ...], Prediction], prompt: Sequence[int], at_sot: Prediction = ({}, 0)
) -> Script:
    """Return the script that continues `prompt` by the lines, keyed by the text after it, and ends any other text.

    at_sot: what is predicted after the last start of transcript but for the prompt's end; otherwise nothing is.
    """
    n_prompt = len(prompt)

    def predict(text: Sequence[int]) -> Prediction:
        assert list(prompt[: len(text)]) == list(text[:n_prompt])
        if len(text) >= n_prompt:
            return lines.get(tuple(text[n_prompt:]), AN_END)
        return at_sot if text[-1] == SOT else ({}, 0)

    return predict
