"""Deepgram's live transcription: audio in binary messages, Results as JSON. Source: the types of deepgram-sdk 7.17.

A Results with `is_final` holds committed words, each once; the ranges of time follow one another without a gap. One
without holds what follows them and may still change. `speech_final` stands in the Results with the last words of an
utterance; where those have been told before, in one without words. The same is true of `from_finalize`.
"""

import hashlib
from collections.abc import Sequence

from streaming.events import (
    Draft,
    Ended,
    Event,
    Failed,
    Flushed,
    Language,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Words,
)
from streaming.protocols.deepgram_messages import Messages, Span
from streaming.protocols.deepgram_query import Wishes, wishes_of
from streaming.protocols.dialect import (
    Audio,
    Command,
    Denial,
    Dialect,
    End,
    Flush,
    Handshake,
    Hangup,
    Message,
    Open,
    Reply,
    Say,
    Served,
    close_code,
)
from streaming.protocols.reading import parse_object, refuse, shown
from streaming.sessions.request import Refusal

PATH = "/v1/listen"
_SCHEMES = ("token", "bearer")
# A message that makes no sense is answered, and no more.
_FORGIVEN = (Reason.BAD_JSON, Reason.UNKNOWN_TYPE, Reason.BAD_VALUE)
# Deepgram's codes for audio that cannot be decoded, and for none at all.
_HANGUPS = {Reason.AUDIO_FORMAT: Hangup(1008, "DATA-0000"), Reason.IDLE: Hangup(1011, "NET-0001")}
# Clients know Javanese by the code of today, Whisper by an older one.
_TAGS = {"jw": "jv"}


class Deepgram(Dialect):
    """A connection is a session; it begins with the handshake and ends with CloseStream."""

    asks_at_once = True
    _wishes: Wishes

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        offered = handshake.subprotocols
        self.subprotocol = offered[0] if len(offered) > 1 and offered[0].lower() in _SCHEMES else None
        self._messages = Messages(handshake, served)
        self._sha256, self._n_bytes = hashlib.sha256(), 0
        self._has_close = False
        # Up to here everything is final.
        self._final_s = self._last_word_end_s = 0.0
        # Whether words were told since the last `speech_final`, and since the last UtteranceEnd.
        self._has_open_words = self._has_unended_words = False
        self._is_speaking = self._has_shown_draft = False
        # Since when, by the clock of the connection, nobody has spoken.
        self._quiet_since_s = 0.0
        self._language = ""

    def token(self) -> str:
        scheme, _, token = self.handshake.headers.get("authorization", "").partition(" ")
        if scheme.lower() in _SCHEMES:
            return token.strip()
        return self.handshake.subprotocols[1] if self.subprotocol else ""

    # What the client says

    def check(self) -> None:
        if not self.served.model:
            refuse(Reason.NOT_READY, "the model is not ready; try again later")
        self._wishes = wishes_of(self.handshake, self.served)
        self._messages.name_model(self.served.chosen(self._wishes.request()))

    def begin(self) -> list[Command]:
        self.check()
        return [Open(self._wishes.request())]

    def hear(self, message: Message, at_s: float) -> list[Command]:
        """What comes after CloseStream is passed over."""
        if self._has_close:
            return []
        if isinstance(message, str):
            return self._hear_text(message)
        self._sha256.update(message)
        self._n_bytes += len(message)
        is_end = self._has_unended_words and not self._is_speaking and self._is_quiet(at_s)
        return [Audio(message), *([Say((self._utterance_end(),))] if is_end else [])]

    def _hear_text(self, text: str) -> list[Command]:
        message = parse_object(text)
        kind, channel = message.get("type"), message.get("channel")
        commands = list[Command]()
        if kind == "CloseStream":
            self._has_close = True
            commands.append(End())
        elif kind == "Finalize":
            if channel is not None and (type(channel) is not int or channel != 0):
                refuse(Reason.BAD_VALUE, f"got channel {shown(channel)}, expected 0: all channels are heard as one")
            commands.append(Flush())
        elif kind == "Configure":
            has_terms = message.get("keyterms") is not None
            commands.append(Say((self._messages.configure_failure(has_terms=has_terms),)))
        elif kind != "KeepAlive":
            refuse(Reason.UNKNOWN_TYPE, f"got type {shown(kind)}, expected KeepAlive, Finalize or CloseStream")
        return commands

    def _is_quiet(self, at_s: float) -> bool:
        """Return whether no word was spoken for as long as the client wants to wait."""
        wait_s, audio = self._wishes.utterance_end_s, self._wishes.audio
        if wait_s is None or at_s < self._quiet_since_s + wait_s:
            return False
        # Where audio comes faster than it is spoken, it is ahead of the words; where it comes slower, the clock is.
        return audio is None or self._n_bytes / audio.bytes_per_frame / audio.rate >= self._last_word_end_s + wait_s

    # What it is told

    def tell(self, event: Event, at_s: float) -> list[Reply]:
        return self.tell_all([event], at_s)

    def tell_all(self, events: Sequence[Event], at_s: float) -> list[Reply]:
        """Tell the end of an utterance with its last words, if both are there."""
        replies = list[Reply]()
        final: Span | None = None
        for event in events:
            if isinstance(event, SpeechEnded | Flushed | Recognised):
                final = final or Span(())
                self._end_utterance(final, event, at_s)
            elif not (final and isinstance(event, Draft) and not event.words):
                replies += self._tell_final(final)
                final = Span(event.words, end_s=event.words[-1].end_s) if isinstance(event, Words) else None
                replies += [*self._late_utterance_end(event), *self._tell_other(event, at_s)]
        return [*replies, *self._tell_final(final)]

    def _end_utterance(self, final: Span, event: SpeechEnded | Flushed | Recognised, at_s: float) -> None:
        has_words = bool(final.words) or self._has_open_words
        final.is_last |= self._wishes.has_speech_final and (has_words or isinstance(event, SpeechEnded))
        final.is_flushed |= isinstance(event, Flushed)
        final.end_s = max(final.end_s, event.audio_s if isinstance(event, Recognised) else event.at_s)
        self._is_speaking = False
        self._quiet_since_s = at_s - self._wishes.likely_silence_s

    def _tell_final(self, final: Span | None) -> list[Reply]:
        if final is None or not (final.words or final.is_last or final.is_flushed):
            return []
        final.start_s, self._final_s = self._final_s, max(self._final_s, final.end_s)
        final.end_s, final.is_final = self._final_s, True
        if final.words:
            self._has_open_words = self._has_unended_words = True
            self._last_word_end_s = final.words[-1].end_s
        self._has_open_words &= not final.is_last
        self._has_shown_draft = False
        return [self._results(final)]

    def _late_utterance_end(self, event: Event) -> list[Reply]:
        """Tell an end that nobody could know of before, where audio comes faster than it is spoken."""
        wait_s, next_s = self._wishes.utterance_end_s, -1.0
        if isinstance(event, Words):
            next_s = event.words[0].start_s
        elif isinstance(event, SpeechStarted):
            next_s = event.at_s
        is_end = self._has_unended_words and wait_s is not None and next_s >= self._last_word_end_s + wait_s
        return [self._utterance_end()] if is_end else []

    def _utterance_end(self) -> Reply:
        self._has_unended_words = False
        return self._messages.utterance_end(self._last_word_end_s)

    def _tell_other(self, event: Event, at_s: float) -> list[Reply]:
        if isinstance(event, Words):
            self._quiet_since_s = at_s
        elif isinstance(event, Draft):
            return self._tell_draft(event)
        elif isinstance(event, SpeechStarted):
            self._is_speaking = True
            return [self._messages.speech_started(event.at_s)] if self._wishes.has_speech_started else []
        elif isinstance(event, Language):
            self._language = _TAGS.get(event.language, event.language)
        elif isinstance(event, Failed):
            return self.refuse(Refusal(event.reason, event.message))
        elif isinstance(event, Ended):
            return [self._messages.metadata(event.audio_s, self._sha256.hexdigest()), Hangup()]
        return []

    def _tell_draft(self, draft: Draft) -> list[Reply]:
        """A draft without words is told only to take one back."""
        if not draft.words and not self._has_shown_draft:
            return []
        self._has_shown_draft = bool(draft.words)
        end_s = max([self._final_s, *(word.end_s for word in draft.words)])
        return [self._results(Span(draft.words, self._final_s, end_s))]

    def _results(self, span: Span) -> Reply:
        is_told = self._wishes.detects_language and self._language
        return self._messages.results(span, [self._language] if is_told else [])

    # Refusals

    def deny(self, refusal: Refusal) -> Denial:
        return self._messages.denial(refusal)

    def refuse(self, refusal: Refusal) -> list[Reply]:
        if refusal.reason in _FORGIVEN:
            return [self._messages.error("SchemaError", str(refusal))]
        last = _HANGUPS.get(refusal.reason) or Hangup(close_code(refusal.reason), refusal.reason.value)
        return [self._messages.error(refusal.reason.value, str(refusal)), last]
