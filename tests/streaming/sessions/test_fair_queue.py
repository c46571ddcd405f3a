"""Whose turn it is, in a simulation: sessions that ask for more or less computation, and what each of them gets."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sessions.fair_queue import FairQueue, Share, Standing

PIECE_S = 0.02


@dataclass(eq=False)
class Asking:
    """Asks for a pass of `pass_s` of computation every `every_s` seconds, or always (0); notes how long each took."""

    pass_s: float
    every_s: float = 0.0
    is_backlog: bool = False
    is_again: bool = False
    is_draft: bool = False
    share: Share = field(default_factory=Share)
    had_s: float = 0.0
    left_s: float = 0.0
    due_since: float = 0.0
    took_s: list[float] = field(default_factory=list)
    n_asked: int = 0

    @property
    def has_begun(self) -> bool:
        return 0 < self.left_s < self.pass_s

    def has_work(self, now: float) -> bool:
        if self.left_s <= 0 and now >= self.n_asked * self.every_s:
            self.left_s, self.n_asked = self.pass_s, self.n_asked + 1
            self.due_since = (self.n_asked - 1) * self.every_s if self.every_s else now
        return self.left_s > 0

    def work(self, now: float, piece_s: float) -> None:
        self.left_s, self.had_s = self.left_s - piece_s, self.had_s + piece_s
        if self.left_s <= 0:
            self.took_s.append(now + piece_s - self.due_since)


def take_turn(queue: FairQueue[Asking], sessions: Sequence[Asking], now: float) -> None:
    chosen = queue.next([each for each in sessions if each.has_work(now)])
    if chosen:
        chosen.work(now, PIECE_S)
        queue.charge(chosen, PIECE_S)


def simulated(sessions: Sequence[Asking], until_s: float = 60.0) -> Iterator[float]:
    """Let them take turns."""
    queue, now = FairQueue[Asking](), 0.0
    while now < until_s:
        take_turn(queue, sessions, now)
        now += PIECE_S
        yield now


def run(*sessions: Asking) -> None:
    for _ in simulated(list(sessions)):
        pass


def test_who_asks_for_little_waits_for_one_piece_of_the_others_at_most() -> None:
    listener = Asking(0.2, every_s=1.0)
    run(Asking(5.0), listener, Asking(3.0))
    assert len(listener.took_s) == 60
    assert max(listener.took_s[1:]) <= 0.2 + 2 * PIECE_S
    # The first time nobody knows that it asks for little.
    assert listener.took_s[0] <= 3 * 0.2 + 3 * PIECE_S


@given(st.lists(st.floats(0.02, 0.5), min_size=1, max_size=4))
def test_no_pass_waits_for_a_draft_longer_than_a_piece(passes_s: list[float]) -> None:
    drafts = [Asking(pass_s, is_draft=True) for pass_s in passes_s]
    listener = Asking(0.1, every_s=0.5)
    run(*drafts, listener)
    assert len(listener.took_s) == 120
    assert max(listener.took_s) <= 0.1 + 2 * PIECE_S


@given(st.lists(st.floats(0.02, 10.0), min_size=2, max_size=6))
def test_who_asks_for_all_gets_the_same_whatever_a_pass_costs(passes_s: list[float]) -> None:
    greedy = [Asking(pass_s) for pass_s in passes_s]
    for now in simulated(greedy, until_s=20.0):
        had_s = [each.had_s for each in greedy]
        assert max(had_s) - min(had_s) <= 3 * PIECE_S or len(greedy) > 3, now
    # Of more than three, some wait for a pass of another to end; over time it is the same.
    assert max(had_s) - min(had_s) <= max(passes_s) + 3 * PIECE_S


def test_a_backlog_is_served_last_but_is_not_starved() -> None:
    backlog = [Asking(0.5, is_backlog=True) for _ in range(4)]
    listener, greedy = Asking(0.2, every_s=1.0), Asking(4.0)
    run(*backlog, listener, greedy)
    assert max(listener.took_s[1:]) <= 0.2 + 2 * PIECE_S
    # Each weighs a quarter of the greedy one.
    of_greedy = [each.had_s / greedy.had_s for each in backlog]
    assert of_greedy == pytest.approx([0.25] * 4, abs=0.06)


def test_listeners_within_their_share_are_served_by_age() -> None:
    queue = FairQueue[Asking]()
    backlog, older, newer = (Asking(0.2, due_since=float(age), share=Share(0.0)) for age in range(3))
    backlog.is_backlog = True
    assert queue.next([newer, backlog, older]) is older
    assert queue.next([newer, backlog]) is newer


def test_who_was_alone_owes_nothing() -> None:
    alone, newcomer, queue = Asking(1.0), Asking(1.0), FairQueue[Asking]()
    for n in range(1000):
        take_turn(queue, [alone], n * PIECE_S)
    before_s = alone.had_s
    for n in range(1000, 1100):
        take_turn(queue, [alone, newcomer], n * PIECE_S)
    assert alone.had_s - before_s == pytest.approx(newcomer.had_s, abs=2 * PIECE_S)


def test_who_was_alone_for_long_is_within_its_share() -> None:
    listener = Asking(0.2, every_s=1.0)
    for _ in simulated([listener], until_s=20.0):
        pass
    assert listener.share.standing is Standing.WITHIN


def test_nobody_is_kept_who_has_nothing_to_do() -> None:
    queue, gone = FairQueue[Asking](), Asking(1.0)
    take_turn(queue, [gone], 0.0)
    assert queue.next([]) is None
    known = weakref.ref(gone)
    del gone
    assert known() is None


def test_one_that_was_lost_elsewhere_is_no_new_one() -> None:
    queue, listener, opened, moved = FairQueue[Asking](), Asking(1.0), Asking(1.0), Asking(1.0, is_again=True)
    for each in (listener, opened, moved):
        each.left_s = 1.0
    take_turn(queue, [listener], 0.0)
    opened.due_since, moved.due_since = 1.0, 2.0
    assert queue.next([opened, moved]) is moved


def test_opening_sessions_gets_nobody_ahead() -> None:
    """One listener, and somebody who opens a session after each pass."""
    queue, listener = FairQueue[Asking](), Asking(0.2, every_s=1.0)
    fresh = Asking(1.0)
    for n in range(3000):
        fresh = Asking(1.0) if fresh.took_s else fresh
        take_turn(queue, [listener, fresh], n * PIECE_S)
    assert max(listener.took_s[1:]) <= 0.2 + 2 * PIECE_S


def test_few_passes_are_under_way_at_once() -> None:
    greedy = [Asking(2.0) for _ in range(8)]
    n_begun = [sum(each.has_begun for each in greedy) for _ in simulated(greedy)]
    assert max(n_begun[len(n_begun) // 2 :]) <= 3
