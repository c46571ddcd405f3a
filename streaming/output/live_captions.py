"""From a device to captions: moves audio into a handle and its events out, until it is told to stop.

One thread does this and never waits for inference; the device's own thread and the inference thread stand behind
`Capture` and `SessionHandle`.
"""

from collections.abc import Callable, Iterable, Sequence

from simul_whisper import SAMPLE_RATE
from streaming.audio.capture import Capture, CaptureEvent, samples_and_notices
from streaming.events import Event, Failed
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import Format
from streaming.output.terminal import Captions
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


def listen(
    capture: Capture,
    handle: SessionHandle,
    captions: Captions,
    is_stopped: Callable[[], bool],
    records: Sequence[Record] = (),
) -> bool:
    """Show, and keep, what is heard until `is_stopped`, and then the rest; return whether the session ended well."""
    turn, cursor = _Turn(handle, captions, records), handle.log.cursor()
    while not is_stopped() and not handle.log.is_over:
        turn.take(capture.read(_TURN_S))
        turn.tell(cursor.read())
    turn.take(capture.end())
    handle.end()
    while not cursor.is_done:
        turn.tell(cursor.read(_TURN_S))
    return not isinstance(handle.log.last, Failed)


class _Turn:
    def __init__(self, handle: SessionHandle, captions: Captions, records: Sequence[Record]) -> None:
        self._handle, self._captions, self._records = handle, captions, records
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
            for record in self._records:
                notice = record.feed(event, self._n_samples / SAMPLE_RATE)
                if notice:
                    self._captions.say(notice)
