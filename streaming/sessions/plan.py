"""What a session has still to do, in order: audio to decode, and events to tell between. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streaming.events import Event


@dataclass(frozen=True)
class Decode:
    """Audio of an utterance from `start_sample` on; the last one may be empty. is_glimpse: for a draft alone."""

    samples: NDArray[np.float32]
    start_sample: int
    utterance: int
    is_first: bool
    is_last: bool
    at_pause: bool = False
    is_glimpse: bool = False

    @property
    def end_sample(self) -> int:
        return self.start_sample + len(self.samples)


class GiveUp:
    """The utterance that was being decoded is given up; its last word, if committed, is told."""


Task = Decode | GiveUp | Event


def without_early_drafts(plan: Iterable[Task]) -> deque[Task]:
    """Return the plan without the drafts behind which more is due: it shows more, and decodes their audio too."""
    kept = deque[Task]()
    for task in plan:
        before = kept[-1] if kept else None
        if isinstance(task, Decode) and isinstance(before, Decode) and before.is_glimpse:
            kept.pop()
            samples = np.concatenate([before.samples, task.samples])
            task = replace(task, samples=samples, start_sample=before.start_sample, is_first=before.is_first)
        kept.append(task)
    return kept
