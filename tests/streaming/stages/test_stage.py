"""Stages beside recognition: what they add comes in its own time, and the session waits for them."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from simul_whisper import Word
from streaming.events import Ended, Event, Failed, Reason, Recognised, SpeechEnded, Translation, Words
from streaming.sessions.event_log import EventLog
from streaming.stages.stage import run_stage
from tests.streaming.serving import OFF, PATIENCE_S, text_of
from tests.streaming.working import SPEECH, collected, made, running, said


@dataclass
class Backwards:
    """Translates every word into its letters backwards, but not before it may, and the last one only when flushed."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    held: list[Word] = field(default_factory=list)

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:
        self.held += [word for event in events if isinstance(event, Words) for word in event.words]
        return []

    def flush(self) -> Iterable[Event]:
        self.may_go_on.wait(PATIENCE_S)
        words = tuple(Word(" " + word.text.strip()[::-1], word.start_s, word.end_s, 1.0, "xx") for word in self.held)
        return [Translation("xx", words, words[0].start_s, words[-1].end_s)]


@dataclass
class Shouting:
    """Reads what another stage writes."""

    woken: threading.Event = field(default_factory=threading.Event)
    heard: list[str] = field(default_factory=list)

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:
        for event in events:
            if isinstance(event, Translation) and event.target == "xx":
                self.heard.append(event.text)
                word = Word(event.text.upper(), event.source_start_s, event.source_end_s, 1.0)
                yield Translation("loud", (word,), event.source_start_s, event.source_end_s)

    def flush(self) -> Iterable[Event]:
        return []


@dataclass
class Late:
    """Has something to say at the end, for which a session that has failed does not wait."""

    woken: threading.Event = field(default_factory=threading.Event)

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:  # noqa: ARG002
        return []

    def flush(self) -> Iterable[Event]:
        raise AssertionError("a session that has failed is not flushed")


@dataclass
class Broken:
    woken: threading.Event = field(default_factory=threading.Event)

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:
        for event in events:
            raise RuntimeError(f"no {type(event).__name__}")
        return []

    def flush(self) -> Iterable[Event]:
        return []


def test_a_late_event_comes_after_the_last_word_and_before_the_end() -> None:
    stage = Backwards()
    with running(made()) as worker:
        handle = worker.open(voice=OFF)
        run_stage(handle.log, stage)
        said(handle)
        cursor, events = handle.log.cursor(), list[Event]()
        while not any(isinstance(event, Recognised) for event in events):
            events += cursor.read(PATIENCE_S)
        assert text_of(events) == SPEECH.text
        assert not handle.log.is_over
        stage.may_go_on.set()
        late = collected(handle, cursor)
    translation, end = late
    assert isinstance(translation, Translation)
    assert translation.text == "".join(f" {word.strip()[::-1]}" for word in SPEECH.text.split())
    assert isinstance(end, Ended)


def test_one_stage_reads_another_to_its_last_event() -> None:
    first, second = Backwards(), Shouting()
    first.may_go_on.set()
    with running(made()) as worker:
        handle = worker.open(voice=OFF)
        threads = [run_stage(handle.log, stage) for stage in (first, second)]
        events = collected(said(handle))
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    translated = [event for event in events if isinstance(event, Translation)]
    assert [event.target for event in translated] == ["xx", "loud"]
    assert second.heard == [translated[0].text]
    assert isinstance(events[-1], Ended)


def test_a_stage_that_fails_ends_the_session_with_its_reason() -> None:
    log = EventLog()
    log.add_writer()
    thread = run_stage(log, Broken())
    log.append([SpeechEnded(1.0)])
    thread.join(PATIENCE_S)
    assert log.last == Failed(Reason.ENGINE, "Broken: no SpeechEnded")


def test_a_stage_ends_with_a_session_that_fails() -> None:
    log = EventLog()
    log.add_writer()
    thread, failed = run_stage(log, Late()), Failed(Reason.STOPPED, "the server was stopped")
    log.append([failed])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert (log.n_finished, log.cursor().read()) == (0, [failed])


def test_a_stage_may_be_added_later_and_is_given_what_follows() -> None:
    log = EventLog(history=2)
    log.add_writer()
    # What came before it is forgotten by then.
    log.append([Words((Word(f" {n}", n, n + 1, 1.0),), n + 1) for n in range(10)])
    stage, cursor = Backwards(), log.cursor(after=log.n_appended)
    stage.may_go_on.set()
    run_stage(log, stage)
    log.append([Words((Word(" late", 10, 11, 1.0),), 11), Recognised(11)])
    log.finish()
    events = list[Event]()
    while not cursor.is_done:
        events += cursor.read(PATIENCE_S)
    translation, end = events[-2:]
    assert isinstance(translation, Translation)
    assert (translation.text, end) == (" etal", Ended(11))
