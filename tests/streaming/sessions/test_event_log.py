"""The log of a session: every cursor reads every event once and in order, and memory is bounded."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import Word
from streaming.events import (
    Draft,
    Ended,
    Event,
    Failed,
    Flushed,
    Reason,
    Recognised,
    SpeechSkipped,
    SpeechStarted,
    Spoken,
    Translation,
    Words,
)
from streaming.sessions.event_log import EventFilter, EventLog, LogGapError
from tests.streaming.told import draft

PATIENCE_S = 60.0


def numbered(n: int) -> list[Event]:
    return [SpeechStarted(float(i)) for i in range(n)]


def in_german(text: str) -> Translation:
    return Translation("de", (Word(text, 0.0, 1.0, 0.9, "de"),), 0.0, 1.0)


def spoken(n: int, n_bytes: int = 100, target: str = "de") -> Spoken:
    return Spoken(target, f"{n}", bytes(n_bytes), 16_000, float(n), n + 1.0)


def held_bytes(log: EventLog) -> int:
    return sum(len(each.event.pcm) for each in log._entries if isinstance(each.event, Spoken))


@given(data=st.data(), n=st.integers(1, 30), n_cursors=st.integers(1, 3))
def test_every_cursor_reads_everything_once_whenever_it_reads(data: Any, n: int, n_cursors: int) -> None:
    log, events = EventLog(), numbered(n)
    cursors = [log.cursor() for _ in range(n_cursors)]
    found: list[list[Event]] = [[] for _ in cursors]
    for event in events:
        log.append([event])
        for i in data.draw(st.lists(st.integers(0, n_cursors - 1), max_size=3)):
            found[i] += cursors[i].read()
    for i, cursor in enumerate(cursors):
        assert found[i] + cursor.read() == events
        assert cursor.read() == []


def test_positions_count_from_one() -> None:
    log = EventLog()
    log.append(numbered(3))
    assert [entry.position for entry in log.cursor().read_entries()] == [1, 2, 3]
    assert [entry.position for entry in log.cursor(after=2).read_entries()] == [3]
    assert log.n_appended == 3


def test_what_a_reader_does_not_want_it_does_not_get() -> None:
    log, wanted = EventLog(), EventFilter(drafts=False, targets=frozenset({"fr"}))
    log.append([draft(" a"), SpeechStarted(1.0), in_german(" b"), Translation("fr", (), 0.0, 1.0)])
    assert log.cursor(wanted).read() == [SpeechStarted(1.0), Translation("fr", (), 0.0, 1.0)]
    assert len(log.cursor().read()) == 4


def test_a_draft_that_nobody_has_read_is_replaced() -> None:
    log = EventLog()
    early = log.cursor()
    log.append([draft(" a")])
    assert early.read() == [draft(" a")]
    log.append([draft(" b"), draft(" c")])
    log.append([Words((), 1.0), draft(" d")])
    assert early.read() == [draft(" c"), Words((), 1.0), draft(" d")]
    late = log.cursor()
    log.append([draft(" e")])
    assert late.read()[-1] == draft(" e")


def test_what_all_have_read_is_forgotten_but_for_a_little_history() -> None:
    log = EventLog(history=2)
    one, other = log.cursor(), log.cursor(holds=True)
    log.append(numbered(5))
    one.read()
    other.read()
    other.go_to(0)
    assert len(other.read()) == 5
    other.release(3)
    with pytest.raises(LogGapError, match="events 3 to 3"):
        other.go_to(2)
    other.go_to(3)
    assert other.read() == numbered(5)[3:]
    other.close()
    with pytest.raises(LogGapError):
        log.cursor().read()
    assert log.cursor(after=3).read() == numbered(5)[3:]


def test_memory_is_bounded_and_only_the_slow_reader_pays() -> None:
    log = EventLog(capacity=10, history=5)
    slow, quick = log.cursor(), log.cursor()
    n_read = 0
    for event in numbered(100):
        log.append([event])
        n_read += len(quick.read())
    assert n_read == 100
    with pytest.raises(LogGapError, match="events 1 to 90 are forgotten"):
        slow.read()
    assert len(log.cursor(after=90).read()) == 10


HEARING = EventFilter(speech=True)


def test_only_those_who_ask_get_sound_and_of_their_targets_and_the_transcript() -> None:
    log, skipped = EventLog(), SpeechSkipped("fr", "two", 0.0, 1.0, "hoarse")
    log.append([spoken(1), skipped, spoken(3, target="")])
    assert log.cursor().read() == []
    assert log.cursor(HEARING).read() == [spoken(1), skipped, spoken(3, target="")]
    french = EventFilter(speech=True, targets=frozenset({"fr"}))
    assert log.cursor(french).read() == [skipped, spoken(3, target="")]


@given(
    sounds=st.lists(st.tuples(st.sampled_from(["", "de", "fr", "es", "it", "nl"]), st.integers(0, 700)), max_size=60),
    capacity=st.integers(1, 30),
    read_after=st.integers(0, 60),
)
def test_sound_that_nobody_reads_is_forgotten_and_its_place_says_so(
    sounds: list[tuple[str, int]], capacity: int, read_after: int
) -> None:
    """Also with a client that is away, whose cursor holds all."""
    log = EventLog(capacity, history=2, sound_bytes=500)
    holding, quick, found = log.cursor(HEARING, holds=True), log.cursor(HEARING), list[Event]()
    told = list[Event]()
    for n, (target, n_bytes) in enumerate(sounds):
        told += [spoken(n, n_bytes, target), SpeechStarted(float(n))]
        log.append(told[-2:])
        found += quick.read()
        kept = [each.event for each in log._entries]
        for each in {target for target, _ in sounds}:
            assert sum(len(e.pcm) for e in kept if isinstance(e, Spoken) and e.target == each) <= 500
        assert held_bytes(log) == log._n_bytes.total() <= 2_000
        if n == read_after:
            holding.release(log.n_appended)
    # What is too large for the log is forgotten at once; readers in time lose nothing else, and nobody an event.
    fits = [each for each in told if not isinstance(each, Spoken) or len(each.pcm) <= 500]
    assert [each for each in found if not isinstance(each, SpeechSkipped)] == fits
    assert len(found) == len(told)
    entries = list(log._entries)
    assert [entry.position for entry in entries] == [*range(log.n_appended - len(entries) + 1, log.n_appended + 1)]
    for entry in entries:
        original = told[entry.position - 1]
        if entry.event != original:
            assert isinstance(original, Spoken)
            why = "the sound was not read in time, and is forgotten"
            assert entry.event == SpeechSkipped(
                original.target, original.text, original.source_start_s, original.source_end_s, why
            )


def test_a_client_that_comes_back_gets_the_newest_sound_and_is_told_what_it_missed() -> None:
    log = EventLog(sound_bytes=300)
    cursor = log.cursor(HEARING, holds=True)
    log.append([*map(spoken, range(5))])
    first, second, *newest = cursor.read()
    assert [type(first), type(second)] == [SpeechSkipped, SpeechSkipped]
    assert newest == [spoken(2), spoken(3), spoken(4)]
    cursor.go_to(1)
    log.append([spoken(5)])
    assert [type(each) for each in cursor.read()] == [SpeechSkipped, SpeechSkipped, Spoken, Spoken, Spoken]


def test_the_end_waits_for_every_writer() -> None:
    log = EventLog()
    log.add_writer()
    log.add_writer()
    cursor = log.cursor()
    log.append([Recognised(2.5)])
    log.finish()
    log.append([in_german(" spät")])
    assert cursor.read() == [Recognised(2.5), in_german(" spät")]
    assert not log.is_over
    log.finish()
    assert (cursor.read(), log.is_over, cursor.is_done) == ([Ended(2.5)], True, True)


def test_a_session_may_end_for_a_reason() -> None:
    log, stopped = EventLog(), Failed(Reason.IDLE, "nothing came")
    log.add_writer()
    log.end_with(stopped)
    log.append([Recognised(1.0)])
    log.finish()
    assert log.cursor().read() == [Recognised(1.0), stopped]
    assert log.last == stopped


def test_after_a_failure_nothing_is_told() -> None:
    log, failed = EventLog(), Failed(Reason.ENGINE, "it broke")
    log.add_writer()
    log.append([failed, Flushed(1.0)])
    log.finish()
    assert log.cursor().read() == [failed]


def test_a_reader_is_woken_by_what_comes() -> None:
    log, found = EventLog(), list[Event]()
    cursor, is_reading = log.cursor(), threading.Event()

    def read() -> None:
        is_reading.set()
        found.extend(cursor.read(PATIENCE_S))

    reader = threading.Thread(target=read)
    reader.start()
    is_reading.wait(PATIENCE_S)
    log.append([Flushed(1.0)])
    reader.join(PATIENCE_S)
    assert found == [Flushed(1.0)]


def test_drafts_say_what_they_say() -> None:
    words = (Word(" a", 0.0, 1.0, 0.5), Word(" b", 1.0, 2.0, 0.5))
    assert Draft(words).text == " a b"
