"""A window as the decoder reads it: its projected features, and the prompt and the text behind it, step by step."""

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AttendedFrames
from simul_whisper.decoders import Limits, Step
from simul_whisper.encoders import Features
from simul_whisper.pieces import Begin, Pieces, Read, Selection


@dataclass(frozen=True)
class Prompt:
    """What precedes the new tokens. sot_index: where the transcript starts; has_text: it holds words of this window.

    guess: new tokens that are likely, because an earlier pass read them; they change what a pass costs and, but for
    rounding, not its result. has_spaces: whether the language parts words by them.
    """

    tokens: list[int]
    sot_index: int
    has_text: bool
    guess: tuple[int, ...] = ()
    has_spaces: bool = True


class EncodedWindow:
    """A window as decoders read it: what they project of its features is made once, for all that is read from it.

    state: the decoder's. features: float32 (n_frames, n_audio_state), of which the first `content_frames` are audio.
    limits: of the decoder that reads it, which another one may follow in the next window.
    """

    def __init__(self, state: Any, features: Features, content_frames: int, limits: Limits) -> None:
        self.state, self.features, self.content_frames, self.limits = state, features, content_frames, limits
        self._is_fresh = True

    def text(self, tokens: Sequence[int], logits_at: Sequence[int] = (-1,)) -> Read:
        """Return what asks for the beginning of a text; those begun before may not be read on."""
        selection = None if self._is_fresh else Selection([0], 0)
        self._is_fresh = False
        return Read(self.state, [tokens], logits_at, selection)


def begun(features: Features, content_frames: int, limits: Limits) -> Pieces[EncodedWindow | None]:
    """Begin to read a window that was made for a decoder of these limits; None when it has others by now."""
    state = (yield Begin(features, limits)).value
    return None if state is None else EncodedWindow(state, features, content_frames, limits)


class Reading:
    """The decoder over one window: the logits of the next token of each beam, and the frame it is read from.

    A step takes as long as its weights take to come from memory, so a guessed text is read in one step with the prompt,
    and as long as it comes true, no further step is needed (speculative decoding, arXiv 2211.17192).
    start_logits: those where the transcript starts. is_cut_short: the pass is to end with what was read.
    """

    start_logits: NDArray[np.float32]
    logits: NDArray[np.float32]
    frames: NDArray[np.int64]

    def __init__(self, window: EncodedWindow, prompt: Prompt) -> None:
        self._window, self._prompt = window, prompt
        self._attended = self._attended_prompt = AttendedFrames(window.content_frames)
        self._n_prompt, self._length, self._n_beams = len(prompt.tokens), 0, 1
        self._ahead = deque[tuple[int, NDArray[np.float32], NDArray[np.float32]]]()
        self.is_cut_short = False

    def begin(self) -> Pieces[None]:
        """Read the prompt, and behind it what may follow."""
        tokens, guess, n = self._prompt.tokens, self._prompt.guess, self._n_prompt
        asked = (self._prompt.sot_index, *range(n - 1, n + len(guess)))
        step = yield from self._step(self._window.text([*tokens, *guess], asked))
        self._ahead.extend(
            (token, step.logits[:, 2 + i], step.attention[:, :, n + i : n + i + 1]) for i, token in enumerate(guess)
        )
        self.start_logits, self.logits = step.logits[0, 0], step.logits[:, 1]
        self._note(step.attention[:, :, :n])
        self._attended_prompt = copy(self._attended)

    def go_back(self, tokens: Sequence[int]) -> Pieces[None]:
        """Read, in one beam, these tokens after the prompt."""
        self._length, self._n_beams, self._attended = self._n_prompt, 1, copy(self._attended_prompt)
        self._ahead.clear()
        step = yield from self._step(Read(self._window.state, [tokens], selection=Selection([0], self._n_prompt)))
        self.logits = step.logits[:, -1]
        self._note(step.attention)

    def go_on(self, tokens: list[int], parents: list[int]) -> Pieces[bool]:
        """Read one more token in each beam, which continues that parent; False when it had been guessed."""
        if self._ahead and tokens == [self._ahead[0][0]]:
            _, self.logits, attention = self._ahead.popleft()
            self._note(attention)
            return False
        selection = None
        if self._ahead or parents != list(range(self._n_beams)):
            selection, self._n_beams = Selection(parents, self._length), len(parents)
            self._attended.select(parents)
            self._ahead.clear()
        asked = Read(self._window.state, [[token] for token in tokens], selection=selection)
        step = yield from self._step(asked)
        self.logits = step.logits[:, -1]
        self._note(step.attention)
        return True

    def _step(self, asked: Read) -> Pieces[Step]:
        answer = yield asked
        self.is_cut_short = answer.is_cut_short
        step: Step = answer.value
        return step

    def _note(self, attention: NDArray[np.float32]) -> None:
        """Note where tokens were read that follow those before: float32 (n_beams, n_heads, n, n_frames)."""
        self._length += attention.shape[2]
        self.frames = self._attended.feed(attention)
