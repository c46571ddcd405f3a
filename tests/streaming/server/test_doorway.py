"""Who is let in, who has to go, and what is counted as one caller."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.server.doorway import Caller, Doorway, network_of
from streaming.server.limits import Limits

LIMITS = Limits(max_connections=4, max_waiting=8, connections_per_address=3, connections_per_minute=5)


class Callers:
    """Those that came, by the order in which they did, and those that were closed for others."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now_s = 0.0
        self.doorway = Doorway(limits, lambda: self.now_s)
        self.gone: list[int] = []
        self.all: list[Caller] = []

    def come(self, address: str) -> Caller:
        n = len(self.all)
        self.all.append(self.doorway.enter(address, lambda: self.gone.append(n)))
        return self.all[-1]


def test_whoever_has_waited_longest_goes_for_the_next_of_the_same_address() -> None:
    callers = Callers()
    for _ in range(3):
        callers.come("192.0.2.1")
    callers.all[0].is_here()
    callers.come("192.0.2.1")
    callers.come("192.0.2.2")
    assert (callers.gone, callers.doorway.n_waiting) == ([1], 4)


def test_a_crowd_makes_room_and_not_the_one_who_came_alone() -> None:
    callers = Callers()
    callers.come("192.0.2.9")
    for n in range(20):
        callers.come(f"192.0.2.{n % 3}")
    assert 0 not in callers.gone
    assert callers.doorway.n_waiting == 8


def test_a_place_is_kept_whoever_comes_and_there_are_only_so_many() -> None:
    callers = Callers()
    assert [callers.come("192.0.2.1").take_place() for _ in range(4)] == [True, True, True, False]
    assert [callers.come("192.0.2.2").take_place() for _ in range(2)] == [True, False]
    for _ in range(20):
        callers.come("192.0.2.1")
    assert not {0, 1, 2} & set(callers.gone)
    callers.all[0].free_place()
    assert callers.come("192.0.2.3").take_place()


def test_who_asks_for_something_short_is_not_counted_and_who_says_nothing_is() -> None:
    callers = Callers()
    for _ in range(20):
        callers.come("192.0.2.1").forgive()
    assert [callers.come("192.0.2.1").is_over_rate for _ in range(6)] == [False] * 5 + [True]
    callers.now_s = 12.0
    assert not callers.come("192.0.2.1").is_over_rate


def test_a_request_before_a_session_does_not_make_that_free() -> None:
    callers, wants = Callers(), list[bool]()
    for _ in range(7):
        caller = callers.come("192.0.2.1")
        caller.forgive()
        caller.charge()
        caller.charge()
        wants.append(caller.is_over_rate)
    assert wants == [False] * 5 + [True] * 2


def test_who_reads_an_answer_goes_last() -> None:
    callers = Callers()
    for is_answered in (True, False, True):
        callers.come("192.0.2.1").is_answered = is_answered
    for _ in range(2):
        callers.come("192.0.2.1").is_answered = True
    assert callers.gone == [1, 0]


def test_who_comes_through_a_proxy_is_counted_where_it_comes_from() -> None:
    callers = Callers()
    for n in range(20):
        caller = callers.come("127.0.0.1")
        caller.comes_from(f"192.0.2.{n}")
        assert not caller.is_over_rate
        assert caller.take_place() is (n < 4)
    caller = callers.come("127.0.0.1")
    for _ in range(7):
        caller = callers.come("127.0.0.1")
        caller.comes_from("192.0.2.7")
    assert caller.is_over_rate


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_network_of_ipv6_counts_as_one(address: str, network: str) -> None:
    assert network_of(address) == network


STEPS = st.lists(st.tuples(st.sampled_from(["come", "seat", "here", "free", "leave", "move"]), st.integers(0, 30)))


@given(STEPS)
def test_counts_stay_within_the_limits_and_end_at_nothing(steps: list[tuple[str, int]]) -> None:
    callers = Callers(replace(LIMITS, connections_per_minute=1000))
    for step, n in steps:
        if step == "come" or not callers.all:
            callers.come(f"192.0.2.{n % 5}")
            continue
        caller = callers.all[n % len(callers.all)]
        steps_of: dict[str, Callable[[], object]] = {
            "seat": caller.take_place,
            "here": caller.is_here,
            "free": caller.free_place,
            "leave": caller.leave,
            "move": partial(caller.comes_from, f"192.0.2.{n % 5}"),
        }
        steps_of[step]()
        assert callers.doorway.n_waiting <= LIMITS.max_waiting
    assert len(callers.gone) == len(set(callers.gone))
    for caller in callers.all:
        caller.leave()
    assert callers.doorway.n_waiting == 0
