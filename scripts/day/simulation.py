"""One day, in steps of two seconds: sessions come, speak and end; replicas decode, refuse, fail, start and stop."""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scripts.day.parameters import MOST_AT_ONCE_S, NOTE_S, Day, Numbers, note
from streaming.sessions.admission import Admission

HOUR_S = 3_600
# Of the peak, hour by hour: offices, schools and parliaments.
_CURVE = (2, 1, 1, 1, 2, 4, 10, 30, 60, 90, 100, 95, 60, 65, 90, 100, 95, 70, 40, 35, 30, 20, 10, 5)
# Delays of words that nothing else delays, and which share of them comes sooner: measured with one listener.
_DELAYS_S, _SHARES = (0.3, 1.1, 1.9, 2.6), (0.0, 0.5, 0.95, 1.0)
_IN_TIME_S, _WORDS_PER_S = 2.5, 2.5
_STEP_S, _SCALE_S, _MINUTE_S = 2.0, 16.0, 60.0
# Who is refused comes back when told, or a little later, and gives up after this.
_PATIENCE_S, _SPREAD, _USUAL_WAIT_S = 300.0, 0.25, 10.0
# Talks are as long as a lognormal distribution has it, of this deviation.
_TALK_DEVIATION = 0.8
# Of a replica's time, catching up after a failure has what listeners leave, and this at least.
_LEAST_FOR_BACKLOG = 0.2
# More replicas when so many seconds wait for each, or few places are left; fewer after some minutes in which fewer do.
_WAITING_S, _FEW_PLACES, _QUIET_LOOKS, _QUIET_SHARE = 2.0, 0.1, 20, 0.7


@dataclass
class Replica:
    """ready_s: when it can take sessions; fails_s: when it dies."""

    admission: Admission
    ready_s: float
    fails_s: float
    n_open: int = 0
    is_draining: bool = False


@dataclass
class Outcome:
    """What came of a day. worst: the share of late words of the worst minute; longest_s: that speech waited."""

    n_came: int = 0
    n_served: int = 0
    n_refused: int = 0
    n_waited: int = 0
    n_failures: int = 0
    words: float = 0.0
    late: float = 0.0
    worst: float = 0.0
    longest_s: float = 0.0
    replica_s: float = 0.0
    most_replicas: int = 0


class Sessions:
    """All that are open, in columns: where they are, who speaks and until when, who is catching up."""

    def __init__(self, most: int) -> None:
        self.replica = np.full(most, -1)
        self.turns_s = np.zeros(most)
        self.is_speaking, self.is_behind = np.zeros(most, bool), np.zeros(most, bool)
        self._free = list(range(most))
        self._ends: list[tuple[float, int]] = []

    def open(self, replica: int, ends_s: float) -> None:
        at = self._free.pop()
        self.replica[at], self.turns_s[at] = replica, 0.0
        self.is_speaking[at] = self.is_behind[at] = False
        heapq.heappush(self._ends, (ends_s, at))

    def end(self, now_s: float) -> list[int]:
        """Return where sessions have ended."""
        left = list[int]()
        while self._ends and self._ends[0][0] <= now_s:
            _, at = heapq.heappop(self._ends)
            left.append(int(self.replica[at]))
            self.replica[at], self.is_speaking[at] = -1, False
            self._free.append(at)
        return left

    def take_turns(self, now_s: float, chance: np.random.Generator, day: Day) -> None:
        """Who speaks falls silent, and the other way round."""
        turning = np.flatnonzero((self.replica >= 0) & (self.turns_s <= now_s))
        is_speaking = ~self.is_speaking[turning]
        lasts_s = chance.exponential(np.where(is_speaking, day.speech_s, day.silence_s))
        self.is_speaking[turning], self.turns_s[turning] = is_speaking, now_s + lasts_s

    def n_speakers(self, n_replicas: int) -> Numbers:
        """Return how many speak, at each replica."""
        speakers: Numbers = np.bincount(self.replica[self.is_speaking], minlength=n_replicas)
        return speakers


class Simulation:
    """One day. admits: whether replicas refuse; scales: whether others are started and stopped."""

    def __init__(self, day: Day, *, admits: bool, scales: bool) -> None:
        self.day, self._admits, self._scales = day, admits, scales
        self.outcome, self.replicas = Outcome(), dict[int, Replica]()
        # Who comes is the same however the service is run.
        self._arrivals, self._chance = np.random.default_rng([day.seed, 0]), np.random.default_rng([day.seed, 1])
        self._now_s = 0.0
        self._sessions, self._coming = Sessions(6 * day.streams + 200), list[tuple[float, float, float]]()
        # By the number of each replica that there ever was: how long speech waits there, and what is to be caught up.
        self._wait_s, self._backlog_s = np.zeros(0), np.zeros(0)
        self._n_quiet_looks = self._n_just_refused = 0
        self._minute = [0.0, 0.0]
        for _ in range(max(1, day.enough // 4) if scales else day.replicas or day.enough):
            self._start(0.0)

    def run(self) -> Outcome:
        for step in range(round(self.day.hours * HOUR_S / _STEP_S)):
            self._now_s = step * _STEP_S
            self._fail()
            self._end()
            self._arrive()
            self._speak()
            if self._now_s % NOTE_S == 0 and self._admits:
                self._learn()
            if self._now_s % _SCALE_S == 0 and self._scales:
                self._scale()
            if self._now_s % _MINUTE_S == 0:
                self._close_minute()
            self.outcome.replica_s += _STEP_S * len(self.replicas)
            self.outcome.most_replicas = max(self.outcome.most_replicas, len(self.replicas))
        return self.outcome

    # Sessions

    def _arrive(self) -> None:
        hour = self._now_s / HOUR_S
        at = int(hour) % 24
        share = _CURVE[at] + (hour % 1) * (_CURVE[(at + 1) % 24] - _CURVE[at])
        mean = math.log(self.day.talk_s) - _TALK_DEVIATION**2 / 2
        for _ in range(self._arrivals.poisson(_STEP_S * self.day.streams / self.day.talk_s * share / 100)):
            self.outcome.n_came += 1
            self._ask(self._now_s, self._arrivals.lognormal(mean, _TALK_DEVIATION), has_waited=False)
        while self._coming and self._coming[0][0] <= self._now_s:
            _, first_s, talk_s = heapq.heappop(self._coming)
            self._ask(first_s, talk_s, has_waited=True)

    def _ask(self, first_s: float, talk_s: float, *, has_waited: bool) -> None:
        """Somebody wants a session, since `first_s`."""
        number = self._place()
        wait_s = _USUAL_WAIT_S if number is None else self._refused_for(self.replicas[number])
        if number is None or wait_s is not None:
            self._n_just_refused += 1
            self._come_back(first_s, talk_s, wait_s or _USUAL_WAIT_S, has_waited=has_waited)
            return
        self.outcome.n_served += 1
        self.replicas[number].n_open += 1
        self._sessions.open(number, self._now_s + talk_s)

    def _come_back(self, first_s: float, talk_s: float, wait_s: float, *, has_waited: bool) -> None:
        at_s = self._now_s + wait_s * self._chance.uniform(1, 1 + _SPREAD)
        self.outcome.n_waited += not has_waited
        if at_s - first_s > _PATIENCE_S:
            self.outcome.n_refused += 1
        else:
            heapq.heappush(self._coming, (at_s, first_s, talk_s))

    def _place(self) -> int | None:
        """Return the replica with the most places, or with the fewest sessions where nobody counts places."""
        ready = self._ready()
        if not ready:
            return None
        return max(ready, key=lambda each: (self._n_places(ready[each]), -ready[each].n_open))

    def _n_places(self, replica: Replica) -> int:
        n = replica.n_open
        return (replica.admission.n_places(self._now_s, n, n) or 0) if self._admits else 0

    def _refused_for(self, replica: Replica) -> float | None:
        full = replica.admission.full(self._now_s, replica.n_open, replica.n_open) if self._admits else None
        return full.retry_after_s if full else None

    def _end(self) -> None:
        for number in self._sessions.end(self._now_s):
            replica = self.replicas[number]
            replica.n_open -= 1
            replica.admission.note_sessions(self._now_s, replica.n_open, replica.n_open, 1)

    # What is said, and when it is read

    def _speak(self) -> None:
        """A step of everybody's speech comes, and is decoded as far as there is time."""
        self._sessions.take_turns(self._now_s, self._chance, self.day)
        n_speakers = self._sessions.n_speakers(len(self._wait_s))
        used = n_speakers * self.day.alone(n_speakers) * self.day.together(self._wait_s)
        self._read(n_speakers)
        self._wait_s = np.maximum(0.0, self._wait_s + _STEP_S * (used - 1))
        self._catch_up(_STEP_S * np.maximum(_LEAST_FOR_BACKLOG, 1 - used))

    def _read(self, n_speakers: Numbers) -> None:
        """Count words, and those that come late."""
        late = 1 - np.interp(_IN_TIME_S - self._wait_s, _DELAYS_S, _SHARES)
        n_late = float(n_speakers @ late)
        if self._backlog_s.any():
            is_behind = self._sessions.is_behind & self._sessions.is_speaking
            n_late += float((1 - late[self._sessions.replica[is_behind]]).sum())
        self._minute[0] += _STEP_S * _WORDS_PER_S * float(n_speakers.sum())
        self._minute[1] += _STEP_S * _WORDS_PER_S * n_late
        self.outcome.longest_s = max(self.outcome.longest_s, float(self._wait_s.max()))

    def _catch_up(self, free_s: Numbers) -> None:
        was_behind = self._backlog_s > 0
        if was_behind.any():
            self._backlog_s = np.maximum(0.0, self._backlog_s - free_s)
            sessions = self._sessions
            sessions.is_behind &= ~(was_behind & (self._backlog_s == 0))[sessions.replica]

    def _close_minute(self) -> None:
        words, late = self._minute
        self.outcome.words, self.outcome.late = self.outcome.words + words, self.outcome.late + late
        if words:
            self.outcome.worst = max(self.outcome.worst, late / words)
        self._minute = [0.0, 0.0]

    def _learn(self) -> None:
        n_speakers = self._sessions.n_speakers(len(self._wait_s))
        for number, replica in self.replicas.items():
            wait_s = float(self._wait_s[number])
            note(replica.admission, self.day, self._now_s, replica.n_open, int(n_speakers[number]), wait_s)

    # Replicas

    def _ready(self) -> Mapping[int, Replica]:
        """Return those that take new sessions."""
        takes = [(at, each) for at, each in self.replicas.items() if not each.is_draining]
        return {at: each for at, each in takes if each.ready_s <= self._now_s}

    def _start(self, after_s: float) -> None:
        day, ready_s = self.day, self._now_s + after_s
        lasts_s = self._chance.exponential(day.fails_h * HOUR_S) if day.fails_h else math.inf
        self.replicas[len(self._wait_s)] = Replica(Admission(day.cost, ready_s), ready_s, ready_s + lasts_s)
        self._wait_s, self._backlog_s = np.append(self._wait_s, 0.0), np.append(self._backlog_s, 0.0)

    def _fail(self) -> None:
        """Those that are dead leave their sessions to the others, and another one is started for each."""
        for number in [each for each, replica in self.replicas.items() if replica.fails_s <= self._now_s]:
            del self.replicas[number]
            self._wait_s[number] = self._backlog_s[number] = 0.0
            self.outcome.n_failures += 1
            self._start(self.day.start_s)
            for session in np.flatnonzero(self._sessions.replica == number):
                self._move(int(session))

    def _move(self, session: int) -> None:
        """What had not been told is heard again elsewhere; nobody who was let in is refused."""
        day, ready = self.day, self._ready() or self.replicas
        number = min(ready, key=lambda each: (ready[each].n_open, each))
        self._sessions.replica[session], self._sessions.is_behind[session] = number, True
        ready[number].n_open += 1
        again_s = (day.replay_s + day.found_s) * (1 - day.silence)
        if not self._backlog_s[number]:
            self._backlog_s[number] = day.found_s + max(0.0, ready[number].ready_s - self._now_s)
        self._backlog_s[number] += again_s * day.cost * float(day.together(np.array(MOST_AT_ONCE_S)))

    def _scale(self) -> None:
        """Start some when audio waits or places are few; let one end when fewer would do."""
        ready, n_refused, self._n_just_refused = self._ready(), self._n_just_refused, 0
        waiting_s = float(self._sessions.n_speakers(len(self._wait_s)) @ self._wait_s)
        n_places = sum(self._n_places(each) for each in ready.values())
        is_few = self._admits and n_places < _FEW_PLACES * len(ready) * self.day.borne
        if not ready or waiting_s > _WAITING_S * len(ready) or n_refused or is_few:
            self._n_quiet_looks = 0
            n_starting = sum(each.ready_s > self._now_s for each in self.replicas.values())
            for _ in range(max(1, len(ready) // 8) - n_starting):
                self._start(self.day.start_s)
        elif sum(each.n_open for each in ready.values()) < _QUIET_SHARE * (len(ready) - 1) * self.day.borne:
            self._n_quiet_looks += 1
            if self._n_quiet_looks >= _QUIET_LOOKS:
                self._n_quiet_looks = 0
                min(ready.values(), key=lambda each: each.n_open).is_draining = True
        for number in [each for each, one in self.replicas.items() if one.is_draining and not one.n_open]:
            del self.replicas[number]
