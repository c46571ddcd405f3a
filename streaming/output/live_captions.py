"""From a device to captions: moves audio into a handle and its events out, until it is told to stop.

One thread does this and never waits for inference; the device's own thread and the inference thread stand behind
`Capture` and `SessionHandle`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from simul_whisper import SAMPLE_RATE
from streaming.audio.capture import CaptureEvent, samples_and_notices
from streaming.events import Event, Failed
from streaming.output.aloud import Aloud
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import Format
from streaming.output.terminal import Captions
from streaming.sessions.event_log import EventFilter
from streaming.sessions.pool import SessionHandle

_TURN_S = 0.1


class Record:
    """Keeps events in a file. A full disk is told once, and what it did not take is tried again with each event."""

    def __init__(self, file: DurableText, written: Format) -> None:
        self._file, self._format = file, written
        self.is_broken = False

    def feed(self, event: Event, emitted_s: float | None = None) -> str | None:
        """Write what `event` says; return what there is to say about the file, mostly nothing."""
        was_broken = self.is_broken
        try:
            self._file.write(self._format.feed(event, emitted_s))
            self._file.flush(self._format.tail)
        except OutputError as error:
            self.is_broken = True
            return None if was_broken else f"{error}; the captions go on here"
        self.is_broken = False
        return f"{self._file.path}: written again, nothing is missing" if was_broken else None


class Source(Protocol):
    """A device, or a recording that is heard as if it were spoken."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        ...

    def read(self, timeout_s: float) -> list[CaptureEvent]:
        """Return what is new; wait at most so long for something."""
        ...

    def end(self) -> list[CaptureEvent]:
        """Close it, and return what is left."""
        ...


def listen(
    source: Source,
    handle: SessionHandle,
    captions: Captions,
    is_stopped: Callable[[], bool],
    records: Sequence[Record] = (),
    aloud: Aloud | None = None,
) -> bool:
    """Show, and keep, what is heard until `is_stopped`, and then the rest; return whether the session ended well.

    aloud: where sound is heard. What it has not said yet is waited for, unless `is_stopped`.
    """
    turn, cursor = _Turn(handle, captions, records, aloud), handle.log.cursor(EventFilter(speech=aloud is not None))
    while not is_stopped() and not source.is_over and not handle.log.is_over:
        turn.take(source.read(_TURN_S))
        turn.tell(cursor.read())
    turn.take(source.end())
    turn.say(aloud.hear_end() if aloud else ())
    if aloud and is_stopped():
        aloud.hush()
    handle.end()
    while not cursor.is_done or (aloud and not aloud.is_heard):
        if aloud and is_stopped():
            aloud.hush()
        if cursor.is_done:
            time.sleep(_TURN_S)
        turn.tell(cursor.read(_TURN_S))
    return not isinstance(handle.log.last, Failed)


class _Turn:
    def __init__(
        self, handle: SessionHandle, captions: Captions, records: Sequence[Record], aloud: Aloud | None
    ) -> None:
        self._handle, self._captions, self._records, self._aloud = handle, captions, records, aloud
        self._n_samples = 0

    def take(self, events: Iterable[CaptureEvent]) -> None:
        samples, notices = samples_and_notices(events)
        if self._aloud:
            samples, passed = self._aloud.hear(samples)
            notices += passed
        if len(samples):
            self._handle.submit(samples, drop_oldest=True)
            self._n_samples += len(samples)
            self._captions.hear(samples)
        self.say(notices)

    def say(self, notices: Iterable[str]) -> None:
        for notice in notices:
            self._captions.say(notice)

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._captions.show(event)
            for record in self._records:
                notice = record.feed(event, self._n_samples / SAMPLE_RATE)
                if notice:
                    self._captions.say(notice)
            self.say(self._aloud.feed(event) if self._aloud else ())
        self.say(self._aloud.look() if self._aloud else ())
