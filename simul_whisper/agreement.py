"""LocalAgreement: what is committed of a model whose attention tells nothing is what two passes agree on.

Liu et al., arXiv 2005.11185; for Whisper: Macháček et al., arXiv 2307.14743. Where words stand in the audio is not
known either. A word was said after those that an earlier pass had read, and before the end of the audio in which it was
read first; between them, words are spread over what is loud.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AlignedToken
from simul_whisper.audio import SAMPLES_PER_FRAME, AudioChunk, Samples
from simul_whisper.committed_tokens import CommittedToken

_LOUD_PART = 0.1


def n_agreed(tokens: Sequence[int], before: Sequence[int]) -> int:
    """Return how many tokens two readings begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(tokens, before, strict=False)))


def placed(
    read: Sequence[AlignedToken],
    waiting: Sequence[CommittedToken],
    window: AudioChunk,
    decided_sample: int | None,
    content_frames: int,
) -> tuple[AlignedToken, ...]:
    """Return tokens with the frames of the window that they may have been read from.

    waiting: what the pass before read and did not commit, where it was placed then. decided_sample: where the last
    committed token was placed; None for none. content_frames: of the window, its last included.
    """
    n = n_agreed([each.token for each in read], [each.token for each in waiting])
    kept = [_frame(each.sample, window, content_frames) for each in waiting[:n]]
    begins = kept[-1] + 1 if kept else 0 if decided_sample is None else _frame(decided_sample, window, content_frames)
    loud = _loud_frames(window.samples, begins, content_frames)
    n_new = len(read) - n
    spread = [int(loud[(2 * i + 1) * len(loud) // (2 * n_new)]) for i in range(n_new)]
    return tuple(replace(token, frame=frame) for token, frame in zip(read, [*kept, *spread], strict=True))


def _frame(sample: int, window: AudioChunk, content_frames: int) -> int:
    return min(max(0, (sample - window.start_sample) // SAMPLES_PER_FRAME), content_frames - 1)


def _loud_frames(samples: Samples, begins: int, content_frames: int) -> NDArray[np.int64]:
    """Return the frames from `begins` on that are loud next to the loudest ones of the window; all, if none is."""
    begins = min(begins, content_frames - 1)
    padded = np.pad(samples, (0, max(0, content_frames * SAMPLES_PER_FRAME - len(samples))))
    levels = np.sqrt(np.square(padded[: content_frames * SAMPLES_PER_FRAME].reshape(content_frames, -1)).mean(axis=1))
    loud = np.flatnonzero(levels[begins:] > _LOUD_PART * np.quantile(levels, 0.95))
    return begins + (loud if len(loud) else np.arange(content_frames - begins))
