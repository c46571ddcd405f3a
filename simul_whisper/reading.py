"""A window as the decoder reads it: its projected features, and the prompt and the text behind it, step by step."""

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AttendedFrames
from simul_whisper.decoders import TextDecoder, limits_of
from simul_whisper.encoders import Features


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

    features: float32 (n_frames, n_audio_state), of which the first `content_frames` are audio. limits: of the decoder
    that reads it, which another one may follow in the next window.
    """

    def __init__(self, decoder: TextDecoder, features: Features, content_frames: int) -> None:
        self.features, self.content_frames, self.limits = features, content_frames, limits_of(decoder)
        self._decoder = decoder
        # At once: by the next piece of work the decoder may be one that takes other windows.
        self._state, self._is_fresh = decoder.begin(features), True

    def begin(self) -> Any:
        """Return the decoder's state of an empty text; those begun before may not be used any more."""
        if not self._is_fresh:
            self._decoder.select(self._state, [0], 0)
        self._is_fresh = False
        return self._state


class Reading:
    """The decoder over one window: the logits of the next token of each beam, and the frame it is read from.

    A step takes as long as its weights take to come from memory, so a guessed text is read in one step with the prompt,
    and as long as it comes true, no further step is needed (speculative decoding, arXiv 2211.17192).
    """

    def __init__(self, decoder: TextDecoder, window: EncodedWindow, prompt: Prompt) -> None:
        self._decoder, self._state = decoder, window.begin()
        self._attended = AttendedFrames(window.content_frames)
        self._length, self._n_beams = 0, 1
        self.start_logits = self._read(prompt.tokens, prompt.guess, prompt.sot_index)
        self._n_prompt, self._attended_prompt = self._length, copy(self._attended)

    def _read(self, tokens: Sequence[int], guess: Sequence[int], asked: int = 0) -> NDArray[np.float32]:
        """Read tokens, and behind them what may follow, with one beam; return the logits after number `asked`."""
        n = len(tokens)
        step = self._decoder.step(self._state, [[*tokens, *guess]], logits_at=(asked, *range(n - 1, n + len(guess))))
        self._ahead = deque(
            (token, step.logits[:, 2 + i], step.attention[:, :, n + i : n + i + 1]) for i, token in enumerate(guess)
        )
        self._length += n
        self.logits = step.logits[:, 1]
        self.frames = self._attended.feed(step.attention[:, :, :n])
        asked_logits: NDArray[np.float32] = step.logits[0, 0]
        return asked_logits

    def go_back(self, tokens: Sequence[int]) -> None:
        """Read, in one beam, these tokens after the prompt."""
        self._decoder.select(self._state, [0], self._n_prompt)
        self._length, self._n_beams, self._attended = self._n_prompt, 1, copy(self._attended_prompt)
        self._read(tokens, ())

    def go_on(self, tokens: list[int], parents: list[int]) -> bool:
        """Read one more token in each beam, which continues that parent; False when it had been guessed."""
        is_guessed = bool(self._ahead) and tokens == [self._ahead[0][0]]
        if is_guessed:
            _, self.logits, attention = self._ahead.popleft()
        else:
            if self._ahead or parents != list(range(self._n_beams)):
                self._decoder.select(self._state, parents, self._length)
                self._attended.select(parents)
                self._ahead.clear()
                self._n_beams = len(parents)
            step = self._decoder.step(self._state, [[token] for token in tokens])
            self.logits, attention = step.logits[:, -1], step.attention
        self._length += 1
        self.frames = self._attended.feed(attention)
        return not is_guessed
