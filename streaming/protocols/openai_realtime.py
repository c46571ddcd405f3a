"""OpenAI's Realtime transcription: audio in a buffer, items that are committed of it, and their text as it is decided.

An item is what is spoken between two silences or, without voice activity, two commits. Its deltas, joined, are its
transcript; they come while it is spoken. Settings that change what is decoded end the session of the engine, and the
next begins with the next audio: items and times go on.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from streaming.events import Cleared, Ended, Event, Failed, Flushed, SpeechEnded, SpeechStarted, Words
from streaming.protocols.dialect import Audio, Clear, Command, End, Flush, Handshake, Open, Reply, Say, Served
from streaming.protocols.openai_events import (
    EventError,
    RealtimeDialect,
    audio_bytes,
    check_keys,
    error_object,
    section,
)
from streaming.protocols.openai_items import Item, Mark, Stretch
from streaming.protocols.openai_settings import Settings, Transcription
from streaming.sessions.request import Refusal

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_LEAST_COMMIT_S = 0.1
# Too little for a sound; with less, two flushes could be one.
_LEAST_CLEAR_S = 0.01
# Of flushes that wait, a session remembers so many at least.
_MOST_WAITING = 32


class OpenAIRealtime(RealtimeDialect):
    """One conversation, in which only the client speaks."""

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self._settings = Settings(Transcription(handshake.asked("model") or ""), served)
        self._is_flat = "realtime=v1" in handshake.headers.get("openai-beta", "")
        # Those that are not told to the end; the last of them takes audio while it is live.
        self._stretches: deque[Stretch] = deque()
        self._live: Stretch | None = None
        self._sent_s = self._uncommitted_s = 0.0
        # What is spoken and not committed; the id of what was committed last.
        self._open: Item | None = None
        self._last_id: str | None = None
        self._n_items = 0

    @property
    def handlers(self) -> Mapping[str, Callable[[dict[str, Any]], list[Command]]]:
        return {
            "session.update": self._update,
            "transcription_session.update": self._update_flat,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    def begin(self) -> list[Command]:
        intent = self.handshake.asked("intent")
        if intent not in (None, "", "transcription"):
            raise EventError("got another intent than transcription, which is all that this server does", "intent")
        self.check_model()
        return [Say((self._told_session("created", is_flat=self._is_flat),))]

    # What the client says

    def _update(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, ("session",), "")
        return self._set(self._settings.updated(section(event, "session", "")), is_flat=False)

    def _update_flat(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, ("session",), "")
        return self._set(self._settings.updated_flat(section(event, "session", "")), is_flat=True)

    def _set(self, settings: Settings, *, is_flat: bool) -> list[Command]:
        commands: list[Command] = []
        if self._live and settings.request() != self._live.settings.request():
            self._live = None
            commands.append(End())
        elif self._live:
            self._live.settings = settings
        self._settings = settings
        return [*commands, Say((self._told_session("updated", is_flat=is_flat),))]

    def _append(self, event: dict[str, Any]) -> list[Command]:
        audio, commands = audio_bytes(event), list[Command]()
        if not audio:
            return []
        if self._live is None:
            request = self._settings.request()
            assert request.audio
            self._live = Stretch(self._settings, request.audio.rate * request.audio.bytes_per_frame, self._sent_s)
            self._stretches.append(self._live)
            commands.append(Open(request))
        added_s = len(audio) / self._live.bytes_per_s
        self._live.sent_s += added_s
        self._sent_s += added_s
        self._uncommitted_s += added_s
        return [*commands, Audio(audio)]

    def _commit(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, (), "")
        if self._uncommitted_s < _LEAST_COMMIT_S:
            heard_ms = self._uncommitted_s * 1000
            message = f"got a commit of {heard_ms:.0f} ms of audio, expected at least {_LEAST_COMMIT_S * 1000:.0f} ms"
            raise EventError(message, None, "input_audio_buffer_commit_empty")
        seconds, stretch = self._uncommitted_s, self._marked()
        self._uncommitted_s = 0.0
        if stretch and stretch.settings.turn:
            stretch.marks.append(Mark())
            return [Flush()] if self._live else []
        item, self._open = self._open or self._new_item(), None
        item.seconds = seconds
        told = self._committed(item)
        if stretch is None:
            return [Say((*told, self._completed(item)))]
        stretch.marks.append(Mark(item))
        return [Say(tuple(told)), *([Flush()] if self._live else [])]

    def _clear(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, (), "")
        cleared = Say((self.event("input_audio_buffer.cleared"),))
        if self._uncommitted_s < _LEAST_CLEAR_S:
            return [cleared]
        stretch = self._marked()
        self._uncommitted_s = 0.0
        if stretch is None or not stretch.settings.turn:
            self._open = None
        if stretch is None:
            return [cleared]
        # What was committed is still decoded, and so is what follows it, without being told.
        is_skipped = self._live is not None and all(each.is_skipped for each in stretch.marks)
        stretch.marks.append(Mark(is_clear=True, is_skipped=is_skipped))
        if not self._live:
            return [cleared]
        return [Clear() if is_skipped else Flush(), cleared]

    def _marked(self) -> Stretch | None:
        """Return where the uncommitted audio went; None when all of it was told. Raises EventError for a flood."""
        stretch = self._stretches[-1] if self._stretches else None
        if stretch and len(stretch.marks) >= _MOST_WAITING:
            raise EventError(f"{_MOST_WAITING} commits and clears wait already; wait for their transcripts first")
        return stretch

    # What the client is told

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        stretch = self._stretches[0]
        if isinstance(event, Words):
            return self._told_words(event, stretch)
        if isinstance(event, SpeechStarted):
            return self._told_start(event, stretch)
        if isinstance(event, SpeechEnded):
            return self._told_end(event, stretch)
        if isinstance(event, Flushed) and stretch.marks:
            return self._settled(stretch.marks.popleft())
        if isinstance(event, Cleared):
            while stretch.marks and stretch.marks[0].is_skipped:
                self._settled(stretch.marks.popleft())
        if isinstance(event, Ended):
            self._stretches.popleft()
            return [reply for mark in stretch.marks for reply in self._settled(mark)]
        if isinstance(event, Failed):
            return self._told_failed(event)
        return []

    def _told_words(self, event: Words, stretch: Stretch) -> list[Reply]:
        mark = stretch.mark
        if mark and mark.is_clear:
            return []
        item = mark.item if mark and mark.item else self._opened()
        told = item.add(event.words, logprobs=stretch.settings.logprobs)
        return [self.event(f"{_TRANSCRIPTION}.delta", **told)] if told else []

    def _told_start(self, event: SpeechStarted, stretch: Stretch) -> list[Reply]:
        assert stretch.settings.turn
        item = self._opened()
        item.start_s = stretch.begin_s + max(0.0, event.at_s - stretch.settings.turn.prefix_padding_ms / 1000)
        start_ms = round(item.start_s * 1000)
        return [self.event("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item.id)]

    def _told_end(self, event: SpeechEnded, stretch: Stretch) -> list[Reply]:
        """The item is committed, unless it was cleared. Its end has the silence in it that ended it."""
        assert stretch.settings.turn
        item, self._open = self._opened(), None
        in_stretch_s = min(stretch.sent_s, event.at_s + stretch.settings.turn.silence_ms / 1000)
        end_s = stretch.begin_s + in_stretch_s
        item.seconds = max(0.0, end_s - item.start_s)
        end_ms = round(end_s * 1000)
        stopped = self.event("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item.id)
        if stretch.mark and stretch.mark.is_clear:
            return [stopped]
        if stretch.mark:
            # What was committed by hand is this.
            stretch.mark.is_done = True
        return [stopped, *self._committed(item), self._completed(item)]

    def _settled(self, mark: Mark) -> list[Reply]:
        """The audio before a mark is decoded."""
        if mark.is_clear or mark.is_done:
            return []
        if mark.item:
            return [self._completed(mark.item)]
        item, self._open = self._opened(), None
        return [*self._committed(item), self._completed(item)]

    def _told_failed(self, event: Failed) -> list[Reply]:
        """What was begun will not be completed."""
        waiting = [mark.item for stretch in self._stretches for mark in stretch.marks if mark.item]
        error = error_object(Refusal(event.reason, event.message))
        failed = [
            self.event(f"{_TRANSCRIPTION}.failed", item_id=item.id, content_index=0, error=error)
            for item in [*waiting, *([self._open] if self._open else [])]
        ]
        return [*failed, *self.told_failure(event)]

    # Items

    def _opened(self) -> Item:
        """Return what is spoken and not committed."""
        self._open = self._open or self._new_item()
        return self._open

    def _new_item(self) -> Item:
        self._n_items += 1
        return Item(f"item_{self.handshake.connection}_{self._n_items}")

    def _committed(self, item: Item) -> list[Reply]:
        before, self._last_id = self._last_id, item.id
        whole = {"previous_item_id": before, "item": item.shown()}
        # The first of these is the older one's name.
        kinds = ("created", "added", "done")
        committed = self.event("input_audio_buffer.committed", previous_item_id=before, item_id=item.id)
        return [committed, *(self.event(f"conversation.item.{kind}", **whole) for kind in kinds)]

    def _completed(self, item: Item) -> str:
        return self.event(f"{_TRANSCRIPTION}.completed", **item.completed())

    def _told_session(self, what: str, *, is_flat: bool) -> str:
        shown = self._settings.shown_flat() if is_flat else self._settings.shown()
        session = {"id": f"sess_{self.handshake.connection}", "expires_at": self.expires_at(), **shown}
        return self.event(f"{'transcription_session' if is_flat else 'session'}.{what}", session=session)
