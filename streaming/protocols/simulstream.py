"""simulstream's WebSocket protocol: metadata as JSON at any time, int16 at the rate that it names, text as it is new.

`end_of_stream` is answered by the rest and `end_of_processing`; then the connection can start again, with its settings
forgotten, as there. Source: server and client of the package simulstream 1.0.0.
"""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError, language_code
from streaming.events import Ended, Event, Failed, Reason, Translation, TranslationSkipped, Words
from streaming.protocols.dialect import (
    Audio,
    Command,
    Dialect,
    End,
    Handshake,
    Hangup,
    Message,
    Open,
    Reply,
    Served,
    Targets,
    close_code,
)
from streaming.protocols.reading import parse_object, refuse, shown
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

# Whatever is beyond is no rate at all; which of the others can be had, the format says.
_MOST_HZ = 1e9


@dataclass
class _Stream:
    """What metadata has said of one stream. target: into which language it is translated; None: it is transcribed."""

    rate: int = SAMPLE_RATE
    source: str | None = None
    wanted: str | None = None
    target: str | None = None


class Simulstream(Dialect):
    """With a target language that is not the one spoken, `new` is the translation, as there; else the transcript.

    `deleted` is always empty: nothing is taken back.
    """

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self._next = _Stream()
        # Those that are open, or will be once the one before is told to its end.
        self._open: deque[_Stream] = deque()
        self._is_open = False
        self._last, self._repeated = b"", b""

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        if isinstance(message, bytes):
            return self._hear_audio(message)
        said = parse_object(message)
        if "end_of_stream" in said:
            return self._hear_end_of_stream()
        return [*self._release(), *self._hear_metadata(said)]

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        if isinstance(event, Failed):
            return self.refuse(Refusal(event.reason, event.message))
        target = self._open[0].target
        if isinstance(event, Ended):
            self._open.popleft()
            return [_new(""), json.dumps({"end_of_processing": True})]
        if isinstance(event, Translation) and event.target == target:
            return [_new(event.text)]
        if isinstance(event, TranslationSkipped) and event.target == target:
            return [_error(f"what was said from {event.from_s:.1f} to {event.to_s:.1f} s is missing: {event.why}")]
        if isinstance(event, Words) and target is None:
            return [_new(event.text)]
        return []

    def refuse(self, refusal: Refusal) -> list[Reply]:
        """There is no form for errors: they come beside empty text. As there, what is no JSON is passed over."""
        error = _error(str(refusal), refusal.reason.value)
        if refusal.reason is Reason.BAD_JSON:
            return [error]
        return [error, Hangup(close_code(refusal.reason), refusal.reason.value)]

    # Audio, whose last chunk the client of the package sends twice

    def _hear_audio(self, chunk: bytes) -> list[Command]:
        """Only sound that comes twice in a row waits, until the next message shows whether it is the end."""
        released = self._release()
        is_repeated = chunk == self._last and chunk.count(0) < len(chunk)
        self._last = chunk
        if is_repeated:
            self._repeated = chunk
            return released
        return [*released, *self._opening(), Audio(chunk)]

    def _release(self) -> list[Command]:
        repeated, self._repeated = self._repeated, b""
        return [Audio(repeated)] if repeated else []

    def _hear_end_of_stream(self) -> list[Command]:
        commands = [*self._opening(), End()]
        self._next, self._is_open = _Stream(), False
        self._last = self._repeated = b""
        return commands

    def _opening(self) -> list[Command]:
        if self._is_open:
            return []
        stream = self._next
        engine = {} if stream.source is None else {"language": stream.source}
        targets = () if stream.target is None else (stream.target,)
        try:
            audio = PcmFormat(rate=stream.rate)
        except AudioFormatError as error:
            raise Refusal(Reason.AUDIO_FORMAT, str(error)) from error
        self._open.append(stream)
        self._is_open = True
        return [Open(SessionRequest(audio, engine, targets=targets, drafts=False))]

    # Metadata

    def _hear_metadata(self, said: dict[str, Any]) -> list[Command]:
        """Set up the stream. Once there was audio, only the target can change."""
        before, stream = (self._next.rate, self._next.source, self._next.target), self._next
        if "sample_rate" in said:
            stream.rate = _rate(said["sample_rate"])
        if "source_lang" in said:
            stream.source = _language(said, "source_lang")
        if "target_lang" in said:
            stream.wanted = _language(said, "target_lang")
        spoken = stream.source or (self.served.languages[0] if len(self.served.languages) == 1 else None)
        stream.target = None if stream.wanted in (None, spoken) else stream.wanted
        if not self._is_open:
            return []
        if (stream.rate, stream.source) != before[:2]:
            refuse(Reason.CONFIG, "sample_rate and source_lang cannot change within a stream; send end_of_stream first")
        targets = () if stream.target is None else (stream.target,)
        return [Targets(targets)] if stream.target != before[2] else []


def _new(text: str) -> str:
    return json.dumps({"new": text, "deleted": ""})


def _error(message: str, code: str = "incomplete") -> str:
    return json.dumps({"new": "", "deleted": "", "error": message, "code": code})


def _rate(value: Any) -> int:
    """Read a number in any form that Python's `int` takes, as there."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_HZ
    if not is_number and not (isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10):
        refuse(Reason.BAD_VALUE, f"got a sample_rate of {shown(value)}, expected a number of Hz such as 16000")
    return int(value)


def _language(said: dict[str, Any], key: str) -> str | None:
    """Return a Whisper code; None for none."""
    value = said[key]
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        refuse(Reason.BAD_VALUE, f"got {key} {shown(value)}, expected a language such as en")
    try:
        return language_code(value, may_be_auto=key == "source_lang")
    except ConfigError as error:
        raise Refusal(Reason.CONFIG, str(error)) from error
