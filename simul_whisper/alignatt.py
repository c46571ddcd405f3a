"""The AlignAtt policy: attention -> attended frame -> may this token be emitted?

Papi et al., arXiv 2305.11408; for Whisper: Simul-Whisper, arXiv 2406.10052. Arithmetic only: it knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter


class StopReason(Enum):
    """Why a decoding pass ended."""

    EDGE = "edge"
    END_OF_TEXT = "end_of_text"
    REWIND = "rewind"
    LOOP = "loop"
    NO_SPEECH = "no_speech"
    LENGTH = "length"
    CUT_SHORT = "cut_short"
    WAITING = "waiting"


_MEDIAN_WIDTH = 7
# With one or two rows every z-score is 0 or +-1, whatever the audio.
_MIN_ROWS_FOR_SCORES = 3


class AttendedFrames:
    """Running statistics of the alignment heads' attention, and the frame that the newest rows look at.

    Each head's row is compared with that head's own mean and deviation over the tokens so far, because attention sinks
    win the plain arg-max on silence. Kept by Welford's method in float32: same frames as recomputing the history.
    """

    def __init__(self, content_frames: int) -> None:
        self._content_frames = content_frames
        self._n_rows = 0
        self._mean: NDArray[np.float32]
        self._squares: NDArray[np.float32]

    def feed(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Take attention of n new tokens, float32 (n_beams, n_heads, n, n_frames).

        Returns the frame that the last one looks at, (n_beams,); 0 where there are no heads to tell.
        """
        if not rows.shape[1]:
            return np.zeros(len(rows), np.int64)
        n = rows.shape[2]
        mean = rows.mean(axis=2)
        squares = np.square(rows - mean[:, :, None]).sum(axis=2)
        if self._n_rows:
            total = self._n_rows + n
            delta = mean - self._mean
            squares = self._squares + squares + np.square(delta) * (self._n_rows * n / total)
            mean = self._mean + delta * (n / total)
        self._n_rows, self._mean, self._squares = self._n_rows + n, mean, squares
        return self._frames(rows[:, :, -1])

    def _frames(self, row: NDArray[np.float32]) -> NDArray[np.int64]:
        scores = row
        if self._n_rows >= _MIN_ROWS_FOR_SCORES:
            deviation = np.sqrt(self._squares / self._n_rows)
            scores = np.divide(row - self._mean, deviation, out=np.zeros_like(row), where=deviation > 0)
        smooth = median_filter(scores, size=(1, 1, _MEDIAN_WIDTH), mode="mirror")
        frames: NDArray[np.int64] = smooth.mean(axis=1)[:, : self._content_frames].argmax(axis=1)
        return frames

    def select(self, beams: Sequence[int]) -> None:
        """Continue with the statistics of these beams, in this order."""
        if not self._n_rows:
            return
        self._mean, self._squares = self._mean[list(beams)], self._squares[list(beams)]


@dataclass(frozen=True)
class AlignedToken:
    """A token, the frame of the window it was read from, and its log-probability.

    word_ended: how likely it was, before this token was chosen, that the word before it is over. is_of_term: it was
    chosen for the sake of a term that the listener expects.
    """

    token: int
    frame: int
    logprob: float
    word_ended: float = 1.0
    is_of_term: bool = False


# Attention wanders by as much while the decoder goes forward.
WANDERING_FRAMES = 25


@dataclass(frozen=True)
class AlignAttPolicy:
    """When to stop. All lengths in frames; `last_frame` is where the newest committed token was read.

    Text is translated by the same policy, with the words of a sentence for frames.
    At the end of the stream (`final`) the edge does not hold tokens back.
    """

    content_frames: int
    frame_threshold: int
    rewind_threshold: int
    last_frame: int
    final: bool

    def stop(self, tokens: Sequence[AlignedToken], frame: int) -> StopReason | None:
        """Why the token read from `frame`, after `tokens`, must not be emitted; None when it may."""
        # One token may be misread from far ahead; two may not.
        last_frame = min([self.last_frame, *(token.frame for token in tokens)][-2:])
        has_read_all = self.content_frames - last_frame <= WANDERING_FRAMES
        if self.final and has_read_all and last_frame - frame > 2 * WANDERING_FRAMES:
            # The decoder begins to say it all again.
            return StopReason.REWIND
        if last_frame - frame > self.rewind_threshold:
            return StopReason.REWIND
        if not self.final and self.content_frames - frame <= self.frame_threshold:
            return StopReason.EDGE
        return None
