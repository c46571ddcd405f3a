"""Text decoders: tokens in, logits and attention out. One file per backend; `choice` picks one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simul_whisper.encoders import Features


@dataclass(frozen=True)
class Step:
    """What the decoder says after reading tokens.

    logits: float32 (n_beams, n_asked, n_vocab), for the positions asked for.
    attention: float32 (n_beams, n_alignment_heads, n, n_frames), softmaxed; the row of a position tells where the
    decoder looked to predict the token *after* it.
    """

    logits: NDArray[np.float32]
    attention: NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """In what a decoder is less than Whisper's.

    n_positions: how many tokens it reads at most; None for as many as the model. whole_windows: it reads features of
    30 s and no fewer. is_aligned: its attention tells where it reads; otherwise there are no rows of it.
    """

    n_positions: int | None = None
    whole_windows: bool = False
    is_aligned: bool = True


class TextDecoder(Protocol):
    """A decoder over one window; its state belongs to the caller. One that has `limits` is `Limited`."""

    def begin(self, features: Features) -> Any:
        """Return the state of an empty text over this window."""
        ...

    def step(self, state: Any, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        """Append tokens, (n_beams, n), to the text; logits for these positions among the n."""
        ...

    def select(self, state: Any, beams: Sequence[int], length: int | None = None) -> None:
        """Continue with these beams in this order, with only the first `length` tokens of each."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A decoder that cannot do all that others can."""

    @property
    def limits(self) -> Limits: ...


@runtime_checkable
class BatchingDecoder(Protocol):
    """A decoder that reads texts of several windows in less time than one after the other."""

    @property
    def most_together(self) -> int:
        """How many, at present; 1 where that does not pay."""
        ...

    def step_together(
        self,
        states: Sequence[Any],
        tokens: Sequence[Sequence[Sequence[int]]],
        logits_at: Sequence[Sequence[int]],
    ) -> list[Step] | None:
        """As `step`, for each; None when these cannot be read together. What raises, or is None, has read nothing."""
        ...


def limits_of(decoder: TextDecoder) -> Limits:
    """Return what the decoder says of its limits at present; one that says nothing has none."""
    return decoder.limits if isinstance(decoder, Limited) else Limits()


def parted(logits: NDArray[np.float32], shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """logits: float32 (n, n_vocab), of several texts. Return those of each, (n_beams, n_asked, n_vocab)."""
    ends = np.cumsum([n_beams * n_asked for n_beams, n_asked in shapes])
    return [rows.reshape(*shape, -1) for rows, shape in zip(np.split(logits, ends[:-1]), shapes, strict=True)]


__all__ = ["BatchingDecoder", "Limited", "Limits", "Step", "TextDecoder", "limits_of", "parted"]
