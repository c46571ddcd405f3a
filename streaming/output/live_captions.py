"""From a device to captions: moves audio into a handle and its events out, until it is told to stop.

One thread does this and never waits for inference; the device's own thread and the inference thread stand behind
`Capture` and `SessionHandle`.
"""

from collections.abc import Callable, Iterable

from simul_whisper import SAMPLE_RATE
from streaming.audio.capture import Capture, CaptureEvent, samples_and_notices
from streaming.events import Event
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import EventSink, Sink
from streaming.output.terminal import Captions
from streaming.sessions.handle import SessionHandle

_TURN_S = 0.1


class Record:
    """Keeps events in a file. A full disk is told once, and what it did not take is tried again with each event."""

    def __init__(self, file: DurableText, sink: Sink, language: str | None = None) -> None:
        self._file, self._events = file, EventSink(sink, language)
        self.is_broken = False

    def feed(self, event: Event, emitted_s: float | None = None) -> str | None:
        """Write what `event` says; return what there is to say about the file, mostly nothing."""
        was_broken = self.is_broken
        try:
            self._events.feed(event, emitted_s)
            self._file.flush()
        except OutputError as error:
            self.is_broken = True
            return None if was_broken else f"{error}; the captions go on here"
        self.is_broken = False
        return f"{self._file.path}: written again, nothing is missing" if was_broken else None


def listen(
    capture: Capture,
    handle: SessionHandle,
    captions: Captions,
    is_stopped: Callable[[], bool],
    record: Record | None = None,
) -> bool:
    """Show, and keep, what is heard until `is_stopped`, and then the rest; return whether the session ended well."""
    turn = _Turn(handle, captions, record)
    while not is_stopped() and not handle.is_over:
        turn.take(capture.read(_TURN_S))
        turn.tell(handle.events())
    turn.take(capture.end())
    handle.end()
    is_over = False
    while not is_over:
        # Asked before the events are, so that the last ones are told.
        is_over = handle.is_over
        turn.tell(handle.events(_TURN_S))
    return not handle.has_failed


class _Turn:
    def __init__(self, handle: SessionHandle, captions: Captions, record: Record | None) -> None:
        self._handle, self._captions, self._record = handle, captions, record
        self._n_samples = 0

    def take(self, events: Iterable[CaptureEvent]) -> None:
        samples, notices = samples_and_notices(events)
        if len(samples):
            self._handle.submit(samples, drop_oldest=True)
            self._n_samples += len(samples)
            self._captions.hear(samples)
        for notice in notices:
            self._captions.say(notice)

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._captions.show(event)
            notice = self._record.feed(event, self._n_samples / SAMPLE_RATE) if self._record else None
            if notice:
                self._captions.say(notice)
