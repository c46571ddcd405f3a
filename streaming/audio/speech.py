"""What a gate takes and gives back: which stretches of a stream are speech, and their audio.

It knows samples and their positions, and nothing of how speech is heard.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Onset:
    """Speech was first heard at `sample`; the audio that follows begins earlier, by the lead-in."""

    sample: int


@dataclass(frozen=True)
class Speech:
    """A contiguous piece of an utterance: float32 (n,), mono, 16 kHz, n > 0, from `start_sample` on."""

    samples: NDArray[np.float32]
    start_sample: int


@dataclass(frozen=True)
class Pause:
    """Inside an utterance, speech was last heard before `sample`; it may go on, and what was said so far has ended.

    The audio so far, with a little silence, came before. What follows comes when speech goes on.
    """

    sample: int


@dataclass(frozen=True)
class Offset:
    """Speech was last heard before `sample`; the utterance is over.

    Of the silence after it, what was told to be a pause already does not come again.
    """

    sample: int


GateEvent = Onset | Speech | Pause | Offset


class Gate(Protocol):
    """Audio in, utterances out: an Onset, pieces of Speech, Pauses between them, an Offset, and again."""

    def feed(self, samples: NDArray[np.float32]) -> list[GateEvent]:
        """Take float32 (n,) mono 16 kHz, any n."""

    def end(self) -> list[GateEvent]:
        """Nothing follows: give back what is held, and close an utterance that is open."""
