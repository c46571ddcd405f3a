"""A stage that translates, a session around it, and what is read from what they tell."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from simul_whisper import TranslationConfig, Translator
from streaming.events import Ended, Event, Recognised, Translation, TranslationSkipped, Words
from streaming.sessions.event_log import EventLog
from streaming.stages.stage import run_stage
from streaming.stages.translation import TranslationStage
from tests.streaming.serving import PATIENCE_S
from tests.translating import words_of

CONFIG = TranslationConfig(timeout=PATIENCE_S)
IMPATIENT = TranslationConfig(timeout=0.3, max_behind=5.0)


def spoken(text: str, start_s: float = 0.0, language: str | None = "en", utterance: int = 1) -> Words:
    words = words_of(text, start_s, language)
    return Words(tuple(words), words[-1].end_s, utterance)


def translated(events: Sequence[Event], target: str = "de") -> str:
    return "".join(each.text for each in events if isinstance(each, Translation) and each.target == target)


def skips(events: Sequence[Event]) -> list[TranslationSkipped]:
    return [each for each in events if isinstance(each, TranslationSkipped)]


def staged(
    translator: Translator, config: TranslationConfig = CONFIG, targets: Sequence[str] = ("de",), *, drafts: bool = True
) -> TranslationStage:
    return TranslationStage(translator, config, targets, drafts=drafts)


def heard(stage: TranslationStage, *events: Event) -> list[Event]:
    """What is told once the stage has nothing more to do."""
    stage.woken.clear()
    told = list(stage.feed(events))
    while stage._asked and not stage._asked.is_given_up:
        assert stage.woken.wait(PATIENCE_S)
        stage.woken.clear()
        told += stage.feed([])
    return told


@contextmanager
def session(stage: TranslationStage) -> Iterator[EventLog]:
    """A log that recognition and the stage write; it is not over before the stage is done."""
    log = EventLog()
    log.add_writer()
    thread = run_stage(log, stage)
    yield log
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def rest(log: EventLog) -> list[Event]:
    """Recognition is over: all events of the session."""
    log.append([Recognised(99.0)])
    log.finish()
    cursor, events = log.cursor(), list[Event]()
    while not cursor.is_done:
        new = cursor.read(PATIENCE_S)
        assert new, "the session does not end"
        events += new
    cursor.close()
    assert events[-1] == Ended(99.0)
    return events


def until(log: EventLog, kind: type[Event]) -> Event:
    """Wait until the log has such an event, and return it."""
    cursor = log.cursor()
    while True:
        new = cursor.read(PATIENCE_S)
        assert new, "it never came"
        found = [each for each in new if isinstance(each, kind)]
        if found:
            cursor.close()
            return found[-1]
