"""What a day of a service is made of: measured figures, what they cost among many, and what a replica makes of them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.sessions.admission import Admission

Numbers = NDArray[Any]

# Audio that waits longer is decoded with what follows it, at once, up to so much.
LATE_S, MOST_AT_ONCE_S = 1.0, 6.0
# So often a replica's admission learns what was done.
NOTE_S = 6.0


@dataclass(frozen=True)
class Day:
    """cost: seconds of computation for a second of speech of one stream, alone on a replica. passes: the share of that
    which is the same however much is decoded at once. gain: what a stream costs among so many, of what it costs alone.

    silence: the share of a session in which nobody speaks, by stretches: `speech_s` long are those in which somebody
    does. talk_s: how long sessions are. streams: open at the busiest hour, if all were let in. fails_h: hours between
    two failures of a replica; 0: none. start_s: until a new one is ready; found_s: until a dead one is missed.
    """

    streams: int = 100
    cost: float = 0.05
    passes: float = 0.8
    gain: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    silence: float = 0.3
    speech_s: float = 30.0
    talk_s: float = 1_800.0
    fails_h: float = 24.0
    start_s: float = 45.0
    found_s: float = 2.0
    replay_s: float = 30.0
    replicas: int = 0
    hours: float = 24.0
    seed: int = 0

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
