"""WhisperLive's protocol: options in one text frame, floats in binary frames, and segments that are completed in turn.

The official client counts a segment only once it is completed, takes what comes last with another text for one more,
and never takes an end back: so a segment is told whole before it is completed, and completed ones never touch. Read
from whisper-live 0.10.0, `client.py` and `server.py`.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simul_whisper import Word
from streaming.events import (
    Cleared,
    Ended,
    Event,
    Failed,
    Flushed,
    Language,
    Reason,
    Recognised,
    SpeechEnded,
    Translation,
    Words,
)
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
    bearer_token,
    close_code,
    retry_headers,
)
from streaming.protocols.reading import parse_object, refuse, shown, target_code
from streaming.protocols.segments import Segment, Segments
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

END_OF_AUDIO = b"END_OF_AUDIO"
_BEARER = "bearer"
_ENCODINGS = {"float32": "f32le", "int16": "s16le", "uint8": "s16le"}
_MOST_UID_CHARS = 128
_MOST_SEGMENTS, _USUAL_SEGMENTS = 500, 10
_FOR_LATER = (Reason.TOO_MANY_CONNECTIONS, Reason.TOO_MANY_SESSIONS, Reason.NOT_READY, Reason.STOPPING)
# Where nobody knows when a place will be free.
_WAIT_MINUTES = 1.0
_STATUS_OF_HTTP = {Reason.UNAUTHORIZED: 401, Reason.HOST: 403, Reason.ORIGIN: 403}
# Of faster-whisper's voice activity: our name for it, and how many of its units are one of ours.
_VOICE = {
    "threshold": ("vad_threshold", 1),
    "min_silence_duration_ms": ("vad_silence", 1000),
    "speech_pad_ms": ("vad_lead_in", 1000),
    "min_speech_duration_ms": ("vad_min_speech", 1000),
}


class WhisperLive(Dialect):
    """A connection is a session."""

    # The official client says nothing for 15 s, and writes its file, before it says that the audio has ended.
    quiet_s = 3.0

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self.subprotocol = _BEARER if _BEARER in handshake.subprotocols else None
        # Whatever the client calls itself: it listens to nothing that does not repeat it.
        self._uid: str | None = None
        self._begun = self._has_end = self._is_bytes = self._with_words = False
        self._target = ""
        self._segments = Segments()
        # As JSON: each is told again and again.
        self._completed = deque[str](maxlen=_USUAL_SEGMENTS)
        self._translated = deque[str](maxlen=_USUAL_SEGMENTS)
        self._translated_ms = 0

    def token(self) -> str:
        offered = [each for each in self.handshake.subprotocols if each != _BEARER] if self.subprotocol else []
        return bearer_token(self.handshake.headers) or self.handshake.asked("token") or "".join(offered[:1])

    def deny(self, refusal: Refusal) -> Denial | None:
        """Before its first message, the client would not listen to a refusal."""
        return Denial(_STATUS_OF_HTTP.get(refusal.reason, 503), f"{refusal}\n", retry_headers(refusal))

    # What the client says

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        if not self._begun:
            return self._begin(message if isinstance(message, str) else message.decode(errors="replace"))
        data = message.encode(errors="replace") if isinstance(message, str) else message
        if self._has_end:
            return []
        if data == END_OF_AUDIO:
            self._has_end = True
            return [End()]
        if isinstance(message, str):
            refuse(Reason.UNKNOWN_TYPE, f"got the text {shown(message)}, expected audio or END_OF_AUDIO")
        return [Audio(_two_bytes(data) if self._is_bytes else data)]

    def hear_quiet(self) -> list[Command]:
        """What was said is told to its end: the client may be waiting for that."""
        return [Flush()] if self._begun and not self._has_end else []

    def _begin(self, text: str) -> list[Command]:
        options = parse_object(text, self.served.most_message_bytes)
        uid = _option(options, "uid", str, "text")
        if uid is None or len(uid) > _MOST_UID_CHARS:
            refuse(Reason.BAD_VALUE, f"got uid {shown(uid)}, expected text of at most {_MOST_UID_CHARS} characters")
        self._uid = uid
        n_segments = _option(options, "send_last_n_segments", int, "a whole number")
        n_segments = _USUAL_SEGMENTS if n_segments is None else n_segments
        if n_segments < 1:
            refuse(Reason.BAD_VALUE, f"got send_last_n_segments {n_segments}, expected at least 1")
        self._completed = deque(maxlen=min(n_segments, _MOST_SEGMENTS))
        self._translated = deque(maxlen=min(n_segments, _MOST_SEGMENTS))
        self._with_words = bool(_option(options, "word_timestamps", bool, "true or false"))
        encoding = _option(options, "audio_format", str, "text") or "float32"
        if encoding not in _ENCODINGS:
            refuse(Reason.AUDIO_FORMAT, f"got audio_format {shown(encoding)}, expected one of {', '.join(_ENCODINGS)}")
        self._is_bytes = encoding == "uint8"
        if _option(options, "enable_translation", bool, "true or false"):
            self._target = target_code(_option(options, "target_language", str, "text") or "fr")
        targets = (self._target,) if self._target else ()
        audio = PcmFormat(_ENCODINGS[encoding])
        model = self.served.own_name(_option(options, "model", str, "text"))
        request = SessionRequest(audio, _engine(options), _voice(options), targets, drafts=False, model=model)
        ready = self._said(message="SERVER_READY", backend="faster_whisper")
        self._begun = True
        return [Open(request), Say((*self._warnings(options, request), ready))]

    def _warnings(self, options: Mapping[str, Any], request: SessionRequest) -> list[str]:
        """Tell what the client does not get, where it does well without."""
        warnings, model = list[str](), _option(options, "model", str, "text")
        if model is not None and not self.served.has_model(model):
            warnings.append(f"the model {shown(model)} is not here; {self.served.chosen(request)} listens")
        if options.get("enable_diarization") or options.get("known_speakers"):
            warnings.append("speakers are not told apart here")
        return [self._said(status="WARNING", message=each) for each in warnings]

    # What the client is told

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        if isinstance(event, Words):
            return self._grown(event)
        if isinstance(event, SpeechEnded | Flushed | Cleared | Recognised):
            return self._closed()
        if isinstance(event, Translation):
            return [self._translation(event)]
        if isinstance(event, Language):
            # How sure it is nobody says.
            return [self._said(language=event.language, language_prob=None)]
        if isinstance(event, Ended):
            return [*self._closed(), self._said(message="DISCONNECT"), Hangup()]
        if isinstance(event, Failed) and event.reason is Reason.TOO_LONG:
            return [*self._closed(), self._said(message="DISCONNECT"), Hangup()]
        if isinstance(event, Failed):
            return [*self._closed(), self._said(status="ERROR", message=event.message)]
        return []

    def refuse(self, refusal: Refusal) -> list[Reply]:
        if refusal.reason in _FOR_LATER:
            wait_s = refusal.retry_after_s
            minutes = _WAIT_MINUTES if wait_s is None else round(wait_s / 60, 2)
            status = self._said(status="WAIT", message=minutes)
        else:
            status = self._said(status="ERROR", message=str(refusal))
        return [status, Hangup(close_code(refusal.reason), refusal.reason.value)]

    def _grown(self, event: Words) -> list[Reply]:
        replies, before = list[Reply](), self._segments.open
        touched = self._segments.feed(event.words, event.utterance)
        if before and before is not touched[0]:
            self._completed.append(self._segment(before, completed=True))
        for segment in touched:
            replies.append(self._said_all("segments", [*self._completed, self._segment(segment, completed=False)]))
            if segment is not self._segments.open:
                self._completed.append(self._segment(segment, completed=True))
        return replies

    def _closed(self) -> list[Reply]:
        closed = self._segments.close()
        if not closed:
            return []
        self._completed.append(self._segment(closed, completed=True))
        return [self._said_all("segments", self._completed)]

    def _segment(self, segment: Segment, *, completed: bool) -> str:
        said = {
            "start": _seconds(segment.start_ms / 1000),
            "end": _seconds(segment.end_ms / 1000),
            "text": segment.text,
            "completed": completed,
        }
        return json.dumps({**said, "words": _timed(segment.words)} if self._with_words else said)

    def _translation(self, event: Translation) -> str:
        """Each is a segment of its own: the client takes an open one for part of the transcript."""
        start_ms = max(round(event.source_start_s * 1000), self._translated_ms)
        self._translated_ms = max(round(event.source_end_s * 1000), start_ms + 1)
        said = {
            "start": _seconds(start_ms / 1000),
            "end": _seconds(self._translated_ms / 1000),
            "text": event.text,
            "completed": True,
            "target_language": self._target,
        }
        self._translated.append(json.dumps(said))
        return self._said_all("translated_segments", self._translated)

    def _said(self, **said: Any) -> str:
        return json.dumps({"uid": self._uid, **said})

    def _said_all(self, name: str, written: Iterable[str]) -> str:
        """written: as JSON."""
        return f'{self._said()[:-1]}, "{name}": [{", ".join(written)}]}}'


def _engine(options: Mapping[str, Any]) -> dict[str, Any]:
    language, model = _option(options, "language", str, "text"), _option(options, "model", str, "text")
    if language is None and model and model.endswith(".en"):
        language = "en"
    engine = {
        "language": language,
        "task": _option(options, "task", str, "text"),
        "init_prompt": _option(options, "initial_prompt", str, "text"),
        "static_init_prompt": _option(options, "hotwords", str, "text"),
    }
    return {name: value for name, value in engine.items() if value is not None}


def _voice(options: Mapping[str, Any]) -> dict[str, Any]:
    voice, is_on = dict[str, Any](), _option(options, "use_vad", bool, "true or false")
    if is_on is not None:
        voice["vad"] = is_on
    given = _option(options, "vad_parameters", dict, "an object") or {}
    for foreign, (name, per_unit) in _VOICE.items():
        value = _option(given, foreign, (int, float), "a number")
        if value is not None:
            voice[name] = value / per_unit
    return voice


def _option(options: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], expected: str) -> Any:
    """Return an option, None where there is none. Raises ProtocolError."""
    value = options.get(name)
    # True is a number, too.
    if value is not None and (not isinstance(value, kinds) or (type(value) is bool and kinds is not bool)):
        refuse(Reason.BAD_VALUE, f"got {name} {shown(value)}, expected {expected}")
    return value


def _timed(words: Sequence[Word]) -> list[dict[str, Any]]:
    return [
        {
            "word": word.text,
            "start": _seconds(word.start_s),
            "end": _seconds(word.end_s),
            "probability": round(word.probability, 4),
        }
        for word in words
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _two_bytes(data: bytes) -> bytes:
    """Unsigned bytes around 128 as s16le."""
    return ((np.frombuffer(data, np.uint8).astype("<i2") - 128) << 8).astype("<i2").tobytes()
