"""A worker over a model that never mishears, its clock turned by hand, and what its listeners do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simul_whisper import Model
from simul_whisper.audio import Samples
from streaming.events import Ended, Event, Recognised
from streaming.sessions.event_log import Cursor
from streaming.sessions.pool import SessionHandle
from streaming.sessions.worker import Worker
from streaming.settings import WorkerConfig
from tests.streaming.serving import CONFIG, PATIENCE_S
from tests.tones import random_words, speech_of, tone_model

MODEL = tone_model()
SPEECH = speech_of(random_words(20, 1))


class HandClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def made(model: Model = MODEL, clock: HandClock | None = None, *, admit: bool = False, **options: Any) -> Worker:
    """A worker that measures nothing before it begins, unless told otherwise."""
    options["admit"] = admit
    return Worker(lambda: model, CONFIG, WorkerConfig(**options), clock or HandClock())


def collected(handle: SessionHandle, cursor: Cursor | None = None) -> list[Event]:
    """All events up to the last."""
    events, cursor = list[Event](), cursor or handle.log.cursor()
    while not cursor.is_done:
        new = cursor.read(PATIENCE_S)
        assert new, "nothing came"
        events += new
    cursor.close()
    return events


def ended(events: list[Event]) -> list[Event]:
    """What a session tells, and that it is over."""
    last = events[-1]
    assert isinstance(last, Recognised)
    return [*events, Ended(last.audio_s)]


def said(handle: SessionHandle, samples: Samples = SPEECH.samples) -> SessionHandle:
    assert handle.submit(samples) == len(samples)
    handle.end()
    return handle
