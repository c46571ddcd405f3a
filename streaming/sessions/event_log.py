"""All events of a session in order, written by its stages and read by any number of cursors. Any thread may use it.

Memory is bounded: of what all cursors have let go of, a little is kept for readers who come later, and beyond the
capacity the oldest is forgotten, read or not. Sound takes much room, so that of each target only the newest half minute
is kept, read or not: what is older says to its readers, in the place of the sound, that it came too late for them.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from simul_whisper import SimulWhisperError
from streaming.events import (
    Cleared,
    Draft,
    Ended,
    Event,
    Failed,
    Recognised,
    SpeechSkipped,
    Spoken,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.tracing import new_session

logger = logging.getLogger(__name__)

CAPACITY, HISTORY = 5_000, 200
# Half a minute of a voice at 24 kHz; of all targets together, so many times as much.
SOUND_BYTES, _MOST_TARGETS = 30 * 24_000 * 2, 4
_TOO_LATE = "the sound was not read in time, and is forgotten"


class LogGapError(SimulWhisperError):
    """Events that a reader has not read are forgotten: it was too slow."""


@dataclass(frozen=True)
class Entry:
    """An event and its position in the log; positions count from 1."""

    position: int
    event: Event


@dataclass(frozen=True)
class EventFilter:
    """What a reader wants to read. targets: languages of translations; None: all that there are. speech: sound, too."""

    drafts: bool = True
    targets: frozenset[str] | None = None
    speech: bool = False

    def wants(self, event: Event) -> bool:
        if isinstance(event, Draft | TranslationDraft) and not self.drafts:
            return False
        if isinstance(event, Spoken | SpeechSkipped):
            is_transcript = not event.target
            return self.speech and (self.targets is None or is_transcript or event.target in self.targets)
        if isinstance(event, Translation | TranslationDraft | TranslationSkipped):
            return self.targets is None or event.target in self.targets
        return True


ALL_EVENTS = EventFilter()


class EventLog:
    """Append-only. The session is over once each writer has finished, or one has failed.

    capacity: how many events are kept at most; history: how many of those that nobody needs. sound_bytes: how much
    sound of each target is kept at most.

    trace: what records and spans of the session belong to. n_words, heard_s: how many words were committed, and how
    much audio was heard for them; compute_s: seconds of computation in recognising it, where that is told.
    """

    def __init__(self, capacity: int = CAPACITY, history: int = HISTORY, sound_bytes: int = SOUND_BYTES) -> None:
        self._capacity, self._history, self._sound_bytes = capacity, history, sound_bytes
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        # The positions of sound, oldest first, and how much there is of each target.
        self._sounds: deque[int] = deque()
        self._n_bytes = Counter[str]()
        self._cursors: list[Cursor] = []
        self._wakers: list[Callable[[], None]] = []
        self._n_appended = self._n_writers = self._n_finished = 0
        # The position of the last `Cleared`.
        self._cleared_at = 0
        self._audio_s = 0.0
        self.trace = new_session()
        self.n_words, self.heard_s, self.compute_s = 0, 0.0, 0.0
        self._ending: Failed | None = None
        self._last: Ended | Failed | None = None

    # What stages do

    def add_writer(self) -> int:
        """Announce a stage that will write; it finishes after those announced before it, whose number is returned."""
        with self._changed:
            self._n_writers += 1
            return self._n_writers - 1

    def append(self, events: Iterable[Event], *, read_to: int | None = None) -> None:
        """Add events, of which a `Failed` is the last. A draft that nobody has read yet is replaced by the next one.

        read_to: how far the writer has read. Speech of what was cleared after that is not added.
        """
        with self._changed:
            is_cleared = read_to is not None and read_to < self._cleared_at
            for event in events:
                if not (is_cleared and isinstance(event, Spoken | SpeechSkipped)):
                    self._add(event)
            self._changed.notify_all()
        self._wake()

    def finish(self) -> None:
        """A writer has written its last event; after the last writer's comes the end."""
        with self._changed:
            self._n_finished += 1
            if self._n_finished == self._n_writers:
                self._add(self._ending or Ended(self._audio_s))
            self._changed.notify_all()
        self._wake()

    def end_with(self, failed: Failed) -> None:
        """Let the session, which has been told to end, end with this in place of `Ended`."""
        with self._changed:
            self._ending = failed

    # What readers do

    def cursor(self, wanted: EventFilter = ALL_EVENTS, *, after: int = 0, holds: bool = False) -> "Cursor":
        """Return a cursor that reads what follows the position `after`.

        holds: events that it has read are kept until it releases them, so that it can go back.
        """
        made = Cursor(self, wanted, after, holds=holds)
        with self._changed:
            self._cursors.append(made)
        return made

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, by whoever writes, after there is something new; it must neither block nor raise."""
        with self._changed:
            self._wakers.append(wake)

    def remove_waker(self, wake: Callable[[], None]) -> None:
        with self._changed:
            self._wakers = [each for each in self._wakers if each is not wake]

    @property
    def last(self) -> Ended | Failed | None:
        """The event that ended the session; None while it goes on."""
        return self._last

    @property
    def is_over(self) -> bool:
        return self._last is not None

    @property
    def n_appended(self) -> int:
        """The position of the newest event."""
        return self._n_appended

    @property
    def n_finished(self) -> int:
        """How many writers have finished."""
        return self._n_finished

    def _add(self, event: Event) -> None:
        if self._last:
            return
        if isinstance(event, Recognised):
            self._audio_s = self.heard_s = event.audio_s
        elif isinstance(event, Words):
            self.n_words += sum(word.is_spoken for word in event.words)
            self.heard_s = event.heard_s
        if isinstance(event, Draft) and self._has_unread_draft():
            self._entries[-1] = Entry(self._n_appended, event)
            return
        self._n_appended += 1
        self._entries.append(Entry(self._n_appended, event))
        if isinstance(event, Spoken) and event.pcm:
            self._sounds.append(self._n_appended)
            self._n_bytes[event.target] += len(event.pcm)
            self._forget_sound(event.target)
        elif isinstance(event, Cleared):
            self._cleared_at = self._n_appended
        elif isinstance(event, Ended | Failed):
            self._last = event
        self._forget()

    def _has_unread_draft(self) -> bool:
        is_draft = bool(self._entries) and isinstance(self._entries[-1].event, Draft)
        return is_draft and all(cursor._position < self._n_appended for cursor in self._cursors)

    def _forget(self) -> None:
        needed_after = min((cursor._released for cursor in self._cursors), default=0)
        while len(self._entries) > self._history:
            if self._entries[0].position > needed_after and len(self._entries) <= self._capacity:
                return
            forgotten = self._entries.popleft()
            if isinstance(forgotten.event, Spoken) and forgotten.event.pcm:
                self._sounds.popleft()
                self._n_bytes[forgotten.event.target] -= len(forgotten.event.pcm)

    def _forget_sound(self, target: str) -> None:
        """Forget the oldest sound: of this target while it has too much, and of any while all have."""
        while self._n_bytes[target] > self._sound_bytes:
            self._silence(next(each for each in self._sounds if self._spoken_at(each).target == target))
        while self._n_bytes.total() > self._sound_bytes * _MOST_TARGETS:
            self._silence(self._sounds[0])

    def _silence(self, position: int) -> None:
        """Put in place of sound that there was some."""
        spoken = self._spoken_at(position)
        skipped = SpeechSkipped(spoken.target, spoken.text, spoken.source_start_s, spoken.source_end_s, _TOO_LATE)
        self._entries[position - self._entries[0].position] = Entry(position, skipped)
        self._sounds.remove(position)
        self._n_bytes[spoken.target] -= len(spoken.pcm)

    def _spoken_at(self, position: int) -> Spoken:
        event = self._entries[position - self._entries[0].position].event
        assert isinstance(event, Spoken)
        return event

    def _after(self, position: int) -> list[Entry]:
        """Return the entries after a position. Raises LogGapError."""
        first = self._entries[0].position if self._entries else self._n_appended + 1
        if position + 1 < first:
            raise LogGapError(f"events {position + 1} to {first - 1} are forgotten: they were not read in time")
        return list(islice(self._entries, position + 1 - first, None))

    def _wake(self) -> None:
        for wake in list(self._wakers):
            try:
                wake()
            except Exception:
                logger.exception("a reader cannot be told of events any more")
                self.remove_waker(wake)


class Cursor:
    """A reader's place in a log."""

    def __init__(self, log: EventLog, wanted: EventFilter, after: int, *, holds: bool) -> None:
        self._log, self._wanted, self._holds = log, wanted, holds
        self._position = self._released = after

    def read(self, timeout_s: float = 0.0, *, n_finished: int | None = None) -> list[Event]:
        """Return the wanted events that are new, in order; with a timeout, wait so long for some.

        It does not wait either once so many writers have finished, or the session is over. Raises LogGapError.
        """
        return [entry.event for entry in self.read_entries(timeout_s, n_finished=n_finished)]

    def read_entries(self, timeout_s: float = 0.0, *, n_finished: int | None = None) -> list[Entry]:
        """Return the events with their positions, as `read` does."""
        log = self._log

        def need_not_wait() -> bool:
            has_finished = n_finished is not None and log._n_finished >= n_finished
            return log._n_appended > self._position or log.is_over or has_finished

        with log._changed:
            log._changed.wait_for(need_not_wait, timeout_s)
            entries = log._after(self._position)
            self._position = log._n_appended
            if not self._holds:
                self._released = self._position
                log._forget()
        return [entry for entry in entries if self._wanted.wants(entry.event)]

    def go_to(self, position: int) -> None:
        """Read next what follows this position. Raises LogGapError when that is forgotten."""
        with self._log._changed:
            self._log._after(position)
            self._position = position

    def release(self, position: int) -> None:
        """Let go of the events up to this position, to which this cursor will not go back."""
        with self._log._changed:
            self._released = max(self._released, min(position, self._position))
            self._log._forget()

    def close(self) -> None:
        """Read no more; nothing is kept for this cursor."""
        with self._log._changed:
            self._log._cursors = [each for each in self._log._cursors if each is not self]
            self._log._forget()

    @property
    def position(self) -> int:
        """How far it has read."""
        return self._position

    @property
    def released(self) -> int:
        """How far it has let go."""
        return self._released

    @property
    def is_done(self) -> bool:
        """Whether the session is over and its last event has been read."""
        return self._log.is_over and self._position == self._log.n_appended
