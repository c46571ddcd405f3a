"""What a day of a service is made of: measured figures, what they cost among many, and what a replica makes of them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import option
from streaming.sessions.admission import Admission

Numbers = NDArray[Any]

# Audio that waits longer is decoded with what follows it, at once, up to so much.
LATE_S, MOST_AT_ONCE_S = 1.0, 6.0
# So often a replica's admission learns what was done.
NOTE_S = 6.0


@dataclass(frozen=True)
class Day:
    """Each a field, a default and a flag."""

    streams: int = option(100, "sessions open at the busiest hour, if all were let in")
    cost: float = option(0.13, "seconds of computation for a second of speech of one stream, alone on a replica")
    passes: float = option(0.8, "the share of that which is the same however much is decoded at once")
    gain: tuple[tuple[float, float], ...] = option(
        ((1.0, 1.0),), "what a stream costs among so many, of what it costs alone, such as 1=1,8=0.8"
    )
    silence: float = option(0.3, "the share of a session in which nobody speaks")
    speech_s: float = option(30.0, "seconds that somebody speaks at a time, on average")
    talk_s: float = option(1_800.0, "seconds that a session lasts, on average")
    fails_h: float = option(24.0, "hours between two failures of a replica; 0: none")
    start_s: float = option(45.0, "seconds until a new replica is ready")
    found_s: float = option(2.0, "seconds until a dead replica is missed")
    replay_s: float = option(30.0, "seconds of audio that a session hears again after that")
    replicas: int = option(0, "replicas at the beginning; 0: as the rows of the table say")
    hours: float = option(24.0, "how long the day is")
    seed: int = option(0, "random seed")

    def alone(self, n_speakers: Numbers) -> Numbers:
        """Return the cost of a stream among so many that speak."""
        numbers, gains = zip(*self.gain, strict=True)
        costs: np.ndarray = self.cost * np.interp(n_speakers, numbers, gains)
        return costs

    def together(self, wait_s: Numbers) -> Numbers:
        """Return what is left of the cost where so much more is decoded at once: fewer passes."""
        extra_s = np.where(wait_s > LATE_S, np.minimum(wait_s, MOST_AT_ONCE_S), 0.0)
        left: np.ndarray = self.passes / (1 + extra_s) + 1 - self.passes
        return left

    @property
    def silence_s(self) -> float:
        """How long somebody is silent at a time."""
        return max(1e-3, self.speech_s * self.silence / (1 - self.silence))

    @cached_property
    def enough(self) -> int:
        """The replicas that bear the busiest hour."""
        return math.ceil(self.streams / self.borne)

    @cached_property
    def borne(self) -> int:
        """The streams that a replica bears, as Admission reckons once it has learned how they are."""
        return learned(self).capacity(0.0) or 1


def learned(day: Day) -> Admission:
    """Return what a replica knows after a long time of such sessions."""
    n, admission = 1, Admission(day.cost, 0.0)
    for _ in range(200):
        note(admission, day, 0.0, n, n * (1 - day.silence), 0.0)
        n = admission.capacity(0.0) or 1
    return admission


def note(admission: Admission, day: Day, now_s: float, n_open: int, n_speakers: float, wait_s: float) -> None:
    """Tell it what a replica has done in the last seconds."""
    if not n_open:
        return
    speech_s = n_speakers * NOTE_S
    spent_s = speech_s * float(day.alone(np.array(n_speakers)))
    admission.note_sessions(now_s, n_open, n_open)
    admission.took(n_open * NOTE_S, 0.0)
    if speech_s:
        admission.decoded(now_s, speech_s, spent_s, is_late=wait_s > LATE_S)
