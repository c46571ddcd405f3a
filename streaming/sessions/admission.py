"""How many listeners a pool bears, from what they cost it, and when to come back for whoever finds no place. Pure.

A thread has one second of computation a second. What a second of speech costs is measured at start and then of the
sessions themselves, in passes alone: drafts are read in time that nobody else wants. Who is silent costs next to
nothing, but may begin to speak: so there is room for more speakers than there are on average, as of coins that are
tossed, and a quiet house is never taken for quieter than `_LEAST_SPOKEN`. Whatever that says, nobody is let in while
audio waits too long, and after that has happened less of the time is promised for a while.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

# So much of the thread's time is promised at most and at least; the rest is for what comes in bursts, and for drafts.
USABLE, _LEAST_USABLE = 0.85, 0.4
# By how much less is promised after audio has waited too long, and within how many seconds that is forgotten.
_CUT, _FORGOTTEN_S = 0.9, 600.0
# What is measured fades within so many seconds of each listener's audio; the first estimate counts as so many.
_MEMORY_S, _TRUST_S = 120.0, 20.0
# At first everybody is taken to speak all the time; of a quiet house, somebody speaks so much of it at least.
_LEAST_SPOKEN = 0.3
# Room for so many standard deviations of the number of those who speak.
_DEVIATIONS = 1.0
# Nobody is let in from when so many passes are late until so few are, of those of some seconds.
_LATE_FROM, _LATE_UNTIL, _LATE_SPAN_S, _LATE_PRIOR = 0.05, 0.01, 15.0, 5.0
# A session lasts ten minutes, as long as fewer than a few have ended; so much of their time is remembered.
_USUAL_STAY_S, _FEW, _STAYS_MEMORY_S = 600.0, 2.0, 6 * 3600.0
# So many end in each second of a session at least, as where none has for hours.
_FEWEST_ENDS = 1e-6
LEAST_WAIT_S, MOST_WAIT_S = 5.0, 240.0


class Why(Enum):
    """Why somebody is not let in: as many are there as may be, as can be borne, or those who are there wait already."""

    LIMIT = "limit"
    LOAD = "load"
    LATE = "late"


@dataclass(frozen=True)
class Full:
    """There is no place. retry_after_s: when there probably is one for whoever was told this."""

    why: Why
    retry_after_s: float


class Ratio:
    """How much of one thing there is for each of another, of which the older counts less: y per x, over so many x."""

    def __init__(self, value: float, weight: float) -> None:
        self._x, self._y = weight, value * weight

    def add(self, x: float, y: float, span: float) -> None:
        """Note more of both; what was noted before fades by as much of x as has come."""
        kept = math.exp(-x / span)
        self._x, self._y = kept * self._x + x, kept * self._y + y

    @property
    def value(self) -> float:
        return self._y / self._x


class Lateness:
    """Whether audio waits too long, with a delay before that is taken to be over."""

    def __init__(self, now_s: float) -> None:
        self._at_s, self._n_late, self._n = now_s, 0.0, 0.0
        self._is_late = False

    def add(self, now_s: float, *, is_late: bool) -> bool:
        """Note a pass; return whether lateness begins with it."""
        was_late = self.is_late(now_s)
        self._n, self._n_late = self._n + 1, self._n_late + is_late
        return self.is_late(now_s) and not was_late

    def is_late(self, now_s: float) -> bool:
        kept = math.exp(-max(0.0, now_s - self._at_s) / _LATE_SPAN_S)
        self._at_s, self._n, self._n_late = now_s, kept * self._n, kept * self._n_late
        share = self._n_late / (self._n + _LATE_PRIOR)
        self._is_late = share > (_LATE_UNTIL if self._is_late else _LATE_FROM)
        return self._is_late


class Stays:
    """How long sessions last, and who was told to come back."""

    def __init__(self, now_s: float) -> None:
        # Ends for each second of a session.
        self._ends = Ratio(1 / _USUAL_STAY_S, _FEW * _USUAL_STAY_S)
        self._at_s, self._n_open = now_s, 0
        self._promised_s: deque[float] = deque()

    def note(self, now_s: float, n_open: int, n_ended: int = 0) -> None:
        """So many are open from now on, and so many have ended."""
        spent_s = self._n_open * max(0.0, now_s - self._at_s)
        self._ends.add(spent_s, n_ended, _STAYS_MEMORY_S)
        self._at_s, self._n_open = now_s, n_open

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds a place is free for one more, after all who were told to come back."""
        while self._promised_s and self._promised_s[0] <= now_s:
            self._promised_s.popleft()
        between_s = 1 / (max(1, self._n_open) * max(self._ends.value, _FEWEST_ENDS))
        return min(MOST_WAIT_S, max(LEAST_WAIT_S, (len(self._promised_s) + 1) * between_s))

    def promise(self, now_s: float) -> float:
        """Return that, and remember that somebody was told."""
        wait_s = self.wait_s(now_s)
        # Some do not wait, and are told again and again; after one stay of everybody there are places in any case.
        if len(self._promised_s) < self._n_open:
            self._promised_s.append(now_s + wait_s)
        return wait_s


class Admission:
    """speech_cost: seconds of computation that a second of speech takes, as first measured. Times are of any clock.

    None: nothing was measured, and there is no limit but the one that is set.
    """

    def __init__(self, speech_cost: float | None, now_s: float) -> None:
        self._is_measured = bool(speech_cost)
        self._per_speech = Ratio(speech_cost or 0.0, _TRUST_S)
        self._per_audio = Ratio(0.0, _TRUST_S)
        self._spoken = Ratio(1.0, _TRUST_S)
        self._usable, self._usable_at_s = USABLE, now_s
        self._lateness, self._stays = Lateness(now_s), Stays(now_s)
        self._n_listeners = 1

    # What is measured

    def took(self, audio_s: float, spent_s: float) -> None:
        """Audio of a listener has come, and it took so long to tell speech from silence in it."""
        span_s = _MEMORY_S * self._n_listeners
        self._per_audio.add(audio_s, spent_s, span_s)
        self._spoken.add(audio_s, 0.0, span_s)

    def decoded(self, now_s: float, speech_s: float, spent_s: float, *, is_late: bool, is_draft: bool = False) -> None:
        """Speech of a listener was decoded. is_late: it had waited, so that more of it was decoded in one go.

        That teaches nothing of what it costs where nobody waits.
        """
        span_s = _MEMORY_S * self._n_listeners
        self._spoken.add(0.0, speech_s, span_s)
        if not is_late:
            self._per_speech.add(speech_s, 0.0 if is_draft else spent_s, span_s)
        if not is_draft and self._lateness.add(now_s, is_late=is_late):
            self._usable, self._usable_at_s = max(_LEAST_USABLE, _CUT * self._usable_now(now_s)), now_s

    def note_sessions(self, now_s: float, n_open: int, n_listeners: int, n_ended: int = 0) -> None:
        """n_listeners: of those that are open, who hears in real time. n_ended: since this was called before."""
        self._n_listeners = max(1, n_listeners)
        self._stays.note(now_s, n_open, n_ended)

    # What follows from it

    @property
    def listener_cost(self) -> float:
        """Seconds of computation that a second of a listener takes, who is silent for a part of it."""
        return self._per_audio.value + self._spoken_share * self._per_speech.value

    def capacity(self, now_s: float) -> int | None:
        """Return how many listeners can be borne, one at least; None where nothing was measured."""
        if not self._is_measured:
            return None
        mean, share, usable = self.listener_cost, self._spoken_share, self._usable_now(now_s)
        deviation = _DEVIATIONS * math.sqrt(share * (1 - share)) * self._per_speech.value
        # n * mean + sqrt(n) * deviation = usable, but nobody speaks more than all of the time.
        root = (math.sqrt(deviation**2 + 4 * mean * usable) - deviation) / (2 * mean)
        n_speakers = usable / (self._per_audio.value + self._per_speech.value)
        return max(1, math.floor(max(root**2, n_speakers) + 1e-9))

    def n_places(self, now_s: float, n_open: int, n_listeners: int, most: int = 0) -> int | None:
        """Return how many more are let in; None: any number. most: how many may be open; 0: any number."""
        places = [most - n_open] if most else []
        capacity = self.capacity(now_s)
        if capacity is not None:
            places.append(0 if self._is_late(now_s, n_listeners) else capacity - n_listeners)
        return max(0, min(places)) if places else None

    def full(self, now_s: float, n_open: int, n_listeners: int, most: int = 0) -> Full | None:
        """Return why one more is not let in, if it is not."""
        capacity, why = self.capacity(now_s), None
        if most and n_open >= most:
            why = Why.LIMIT
        elif capacity is not None and n_listeners >= capacity:
            why = Why.LOAD
        elif self._is_late(now_s, n_listeners):
            why = Why.LATE
        return Full(why, self._stays.promise(now_s)) if why else None

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds there probably is a place for one who finds none."""
        return self._stays.wait_s(now_s)

    def _is_late(self, now_s: float, n_listeners: int) -> bool:
        """Return whether those who are there wait already."""
        return self._is_measured and n_listeners > 0 and self._lateness.is_late(now_s)

    @property
    def _spoken_share(self) -> float:
        return min(1.0, max(_LEAST_SPOKEN, self._spoken.value))

    def _usable_now(self, now_s: float) -> float:
        """Return how much of the time is promised: what was cut comes back by and by."""
        missing = (USABLE - self._usable) * math.exp(-max(0.0, now_s - self._usable_at_s) / _FORGOTTEN_S)
        return USABLE - missing
