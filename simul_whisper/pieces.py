"""Long computations in pieces: each asks the model for one thing and is resumed with the answer.

Whoever runs them may do other work in between, answer those of several listeners together, and cut them short.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simul_whisper.decoders import Limits
from simul_whisper.mel import Mel

_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Encode:
    """Asks for the features of a window: float32 (n_frames, n_audio_state)."""

    mel: Mel


@dataclass(frozen=True, eq=False)
class Begin:
    """Asks for the state of an empty text over features, which were made for a decoder of these limits.

    The answer is None when the decoder has other limits by now.
    """

    features: NDArray[np.float32]
    limits: Limits


@dataclass(frozen=True)
class Selection:
    """Which beams of a text go on, in this order, and how many tokens of each."""

    beams: Sequence[int]
    length: int


@dataclass(frozen=True, eq=False)
class Read:
    """Asks for the `Step` after more tokens, (n_beams, n), of a text; logits for these positions among the n.

    state: the answer to a `Begin`. selection: what of the text goes on; None for all.
    """

    state: Any
    tokens: Sequence[Sequence[int]]
    logits_at: Sequence[int] = (-1,)
    selection: Selection | None = None


Ask = Encode | Begin | Read


@dataclass(frozen=True)
class Answer:
    """What was asked for, and the seconds that it took: of what was answered together, a share.

    is_cut_short: the computation is to end soon, with what it has found. All later answers say so too.
    """

    value: Any
    spent_s: float = 0.0
    is_cut_short: bool = False


Pieces = Generator[Ask, Answer, _Result]
"""Yields what it asks for, and is sent the answers."""


def finished(work: Pieces[_Result], answer: Callable[[Ask], Answer]) -> _Result:
    """Do all the work at once, each piece by `answer`, such as a model's, and return its result."""
    try:
        ask = next(work)
        while True:
            ask = work.send(answer(ask))
    except StopIteration as done:
        result: _Result = done.value
        return result
