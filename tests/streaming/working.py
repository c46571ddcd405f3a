"""A worker over a model that never mishears, its clock turned by hand, and what its listeners do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simul_whisper import Model
from simul_whisper.audio import Samples
from streaming.channel import Channel
from streaming.events import Ended, Event, Failed
from streaming.worker import Worker, WorkerConfig
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


def made(model: Model = MODEL, clock: HandClock | None = None, **options: Any) -> Worker:
    return Worker(lambda: model, CONFIG, WorkerConfig(**options), clock or HandClock())


def collected(channel: Channel) -> list[Event]:
    """All events up to the last."""
    events = list[Event]()
    while not events or not isinstance(events[-1], Ended | Failed):
        new = channel.events(PATIENCE_S)
        assert new, "nothing came"
        events += new
    return events


def said(channel: Channel, samples: Samples = SPEECH.samples) -> Channel:
    assert channel.submit(samples) == len(samples)
    channel.end()
    return channel
