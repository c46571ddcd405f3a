"""What waits for inference: taken in order, given up when asked, and every sample accounted for."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE
from streaming.sessions.inbox import AudioInbox
from tests.sounds import silence

CAPACITY = 1_000
ACTS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 1_500)),
    st.tuples(st.just("pull"), st.integers(1, 700)),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.just("flush"), st.just(0)),
)


@given(acts=st.lists(ACTS, max_size=40), drop_oldest=st.booleans())
def test_every_sample_is_taken_lost_or_given_up_once(acts: list[tuple[str, int]], drop_oldest: bool) -> None:
    inbox, clock, n_submitted = AudioInbox(CAPACITY, lambda: 0.0), 0, 0
    for act, n in [*acts, ("pull", 10 * CAPACITY)]:
        if act == "submit":
            samples = np.arange(n_submitted, n_submitted + n, dtype=np.float32) / 1e6
            n_submitted += inbox.submit(samples, drop_oldest=drop_oldest)
        elif act == "clear":
            inbox.clear()
        elif act == "flush":
            inbox.flush()
        else:
            clock = _pulled(inbox, n, clock)
    while (now := _pulled(inbox, 10 * CAPACITY, clock)) != clock:
        clock = now
    assert clock == n_submitted
    assert inbox.waiting_samples == 0


def _pulled(inbox: AudioInbox, most: int, clock: int) -> int:
    """Pull, and return where the stream's clock stands then: samples say their own position."""
    pulled = inbox.pull(most)
    if pulled is None:
        return clock
    clock += (pulled.n_cleared or 0) + pulled.n_lost
    expected = np.arange(clock, clock + len(pulled.samples), dtype=np.float32) / 1e6
    assert np.array_equal(pulled.samples, expected)
    return clock + len(pulled.samples)


def test_a_clear_comes_before_what_is_submitted_after_it() -> None:
    inbox = AudioInbox(CAPACITY, lambda: 0.0)
    ones: Any = np.ones(300, np.float32)
    inbox.submit(ones, drop_oldest=False)
    inbox.clear()
    assert inbox.wants_clear
    inbox.submit(0.5 * ones, drop_oldest=False)
    pulled = inbox.pull(CAPACITY)
    assert pulled is not None
    assert (pulled.n_cleared, pulled.n_lost, len(pulled.samples)) == (300, 0, 300)
    assert set(pulled.samples) == {0.5}
    assert not inbox.wants_clear


def test_what_is_heard_again_had_come_as_it_was_spoken() -> None:
    again, upload = (AudioInbox(8 * SAMPLE_RATE, lambda: 100.0) for _ in range(2))
    again.begin_anew(8.0)
    for inbox in (again, upload):
        for _ in range(2):
            inbox.submit(silence(4), drop_oldest=False)
    assert (again.is_again, again.is_backlog) == (True, False)
    assert (upload.is_again, upload.is_backlog) == (False, True)
    assert [again.arrived_at(second * SAMPLE_RATE) for second in (4, 8)] == [96.0, 100.0]
    assert [upload.arrived_at(second * SAMPLE_RATE) for second in (4, 8)] == [100.0, 100.0]
