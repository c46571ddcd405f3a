"""The WebSocket protocol `/v1/stream`, version 1: text and bytes in, messages out, and back. No I/O, no clock.

docs/protocols/native.md describes it message by message. What a client sends is read strictly, so that a mistake is
told at once; what a server sends is read leniently, so that a server may say more than a client knows.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, NoReturn

from simul_whisper import AlignAttConfig, AudioFormatError, ConfigError, SimulWhisperError, Word
from streaming import events
from streaming.events import Event, Words
from streaming.settings import PcmFormat, VoiceConfig

PATH = "/v1/stream"
VERSION = 1
MAX_CONTROL_BYTES = 16_384
CONTAINER = "container"
# Decoding is shared by all: nobody may ask for it more often than this.
MIN_SEGMENT_S = 0.2

ENGINE_OPTIONS = (
    "init_prompt static_init_prompt max_context_tokens audio_min_len audio_max_len segment_length frame_threshold "
    "rewind_threshold last_word hold_probability hold_len nonspeech_prob max_tokens_per_second language_min_len "
    "padding_len window_min_len decoder_type beam_size"
).split()
VOICE_OPTIONS = [each.name for each in fields(VoiceConfig)]
_LAST_WORDS = ("keep", "drop")
_SHOWN_CHARS = 80


class Code(Enum):
    """Why a connection or a session is over, besides the codes of `events.Failed`."""

    BAD_JSON = "bad_json"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_KEY = "unknown_key"
    BAD_VALUE = "bad_value"
    UNSUPPORTED_VERSION = "unsupported_version"
    HELLO_EXPECTED = "hello_expected"
    HELLO_TWICE = "hello_twice"
    AFTER_END = "after_end"
    MESSAGE_TOO_BIG = "message_too_big"
    AUDIO_FORMAT = "audio_format"
    CONFIG = "config"
    UNAUTHORIZED = "unauthorized"
    ORIGIN = "origin"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_SESSIONS = "too_many_sessions"
    NOT_READY = "not_ready"
    STOPPING = "stopping"
    UNKNOWN_SESSION = "unknown_session"
    RESUME_GAP = "resume_gap"
    REPLACED = "replaced"
    IDLE = "idle"
    TOO_LONG = "too_long"
    OVERLOADED = "overloaded"
    SLOW_READER = "slow_reader"
    INTERNAL = "internal"


# Come again later (1013), the server goes (1012), it is the server's fault (1011); the rest is the client's (1008).
_CLOSE_CODES = {
    "too_many_connections": 1013,
    "too_many_sessions": 1013,
    "not_ready": 1013,
    "overloaded": 1013,
    "stopping": 1012,
    "message_too_big": 1009,
    "engine": 1011,
    "stopped": 1011,
    "internal": 1011,
}
CLOSE_NORMAL, CLOSE_REFUSED = 1000, 1008


def close_code(code: str) -> int:
    """Return the WebSocket close code that goes with the code of an error."""
    return _CLOSE_CODES.get(code, CLOSE_REFUSED)


class ProtocolError(SimulWhisperError):
    """The other side broke the protocol, or may not do what it asks. code: one of `Code`, as text."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code.value


# What a client says


@dataclass(frozen=True)
class Hello:
    """A new session. audio: what the binary messages are; None: pieces of a container. engine, voice: settings."""

    audio: PcmFormat | None = field(default_factory=PcmFormat)
    engine: Mapping[str, Any] = field(default_factory=dict)
    voice: Mapping[str, Any] = field(default_factory=dict)
    drafts: bool = True

    def config(self, defaults: AlignAttConfig) -> AlignAttConfig:
        """Return the server's settings changed by the client's. Raises ConfigError."""
        return replace(defaults, **self.engine).validated()

    def voice_config(self, defaults: VoiceConfig) -> VoiceConfig:
        return replace(defaults, **self.voice)


@dataclass(frozen=True)
class Resume:
    """A session goes on. sent_bytes: audio sent so far; seen: the number of the last event received, 0 for none."""

    session: str
    sent_bytes: int
    seen: int


@dataclass(frozen=True)
class Flush:
    """Decode what was sent to its end, without ending the session."""


@dataclass(frozen=True)
class End:
    """No audio follows."""


@dataclass(frozen=True)
class Ack:
    """The events up to the number `seen` have been received; the server need not keep them."""

    seen: int


ClientMessage = Hello | Resume | Flush | End | Ack


def parse_client(text: str) -> ClientMessage:
    """Read what a client says. Raises ProtocolError for all that this version does not know."""
    message = _object(text)
    kind = message.pop("type", None)
    if not isinstance(kind, str) or kind not in _PARSERS:
        _refuse(Code.UNKNOWN_TYPE, f"got type {_shown(kind)}, expected one of {', '.join(_PARSERS)}")
    return _PARSERS[kind](message)


def _object(text: str) -> dict[str, Any]:
    if len(text) > MAX_CONTROL_BYTES:
        _refuse(Code.MESSAGE_TOO_BIG, f"got {len(text)} characters of JSON, expected at most {MAX_CONTROL_BYTES}")
    try:
        # Python's reader also takes NaN, and numbers too long to be turned into text again.
        message = json.loads(text, parse_constant=_not_json, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(Code.BAD_JSON, f"got {_shown(text)}, expected JSON: {_shown(str(error))}") from error
    if not isinstance(message, dict):
        _refuse(Code.BAD_JSON, f"got {_shown(message)}, expected a JSON object")
    return message


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError("a number is too long")
    return int(digits)


def _hello(message: dict[str, Any]) -> Hello | Resume:
    version = message.pop("version", None)
    if type(version) is not int or version != VERSION:
        _refuse(Code.UNSUPPORTED_VERSION, f"got version {_shown(version)}, expected {VERSION}")
    if "resume" in message:
        resume = _section(message, "resume")
        _check_keys("hello", message, ())
        return _resume(resume)
    audio = _audio(_section(message, "format"))
    options = _section(message, "options")
    drafts = options.pop("drafts", True)
    if type(drafts) is not bool:
        _refuse(Code.BAD_VALUE, f"got drafts {_shown(drafts)}, expected true or false")
    engine: dict[str, Any] = {name: message.pop(name) for name in ("language", "task") if name in message}
    _check_keys("hello", message, ("type", "version", "format", "language", "task", "options", "resume"))
    _check_keys("options", options, (*ENGINE_OPTIONS, *VOICE_OPTIONS, "drafts"), known=True)
    engine |= {name: value for name, value in options.items() if name in ENGINE_OPTIONS}
    voice = {name: value for name, value in options.items() if name in VOICE_OPTIONS}
    return _checked(Hello(audio, engine, voice, drafts))


def _checked(hello: Hello) -> Hello:
    """Refuse what no server takes, whatever its own settings are."""
    segment_s = hello.engine.get("segment_length", MIN_SEGMENT_S)
    try:
        hello.config(AlignAttConfig())
        hello.voice_config(VoiceConfig())
        if segment_s < MIN_SEGMENT_S:
            raise ConfigError(f"got segment_length = {segment_s}, expected at least {MIN_SEGMENT_S}")
        if hello.engine.get("last_word", "drop") not in _LAST_WORDS:
            raise ConfigError(f"got last_word = {hello.engine['last_word']!r}, expected {' or '.join(_LAST_WORDS)}")
    except ConfigError as error:
        raise ProtocolError(Code.CONFIG, _shown(str(error), 300)) from error
    return hello


def _audio(audio: dict[str, Any]) -> PcmFormat | None:
    _check_keys("format", audio, ("encoding", "rate", "channels"), known=True)
    if audio.get("encoding") == CONTAINER:
        if len(audio) > 1:
            _refuse(Code.UNKNOWN_KEY, "got rate or channels of a container, expected it to tell them itself")
        return None
    if not isinstance(audio.get("encoding", ""), str):
        _refuse(Code.AUDIO_FORMAT, f"got encoding {_shown(audio['encoding'])}, expected text")
    try:
        return PcmFormat(**audio)
    except AudioFormatError as error:
        raise ProtocolError(Code.AUDIO_FORMAT, f"{_shown(str(error), 300)}, or the encoding {CONTAINER}") from error


def _resume(resume: dict[str, Any]) -> Resume:
    session = resume.pop("session", None)
    if not isinstance(session, str):
        _refuse(Code.BAD_VALUE, f"got session {_shown(session)}, expected text")
    sent_bytes, seen = _count(resume, "sent_bytes"), _count(resume, "seen")
    _check_keys("resume", resume, ("session", "sent_bytes", "seen"))
    return Resume(session, sent_bytes, seen)


def _bare(message: dict[str, Any], kind: type[Flush | End]) -> Flush | End:
    _check_keys(kind.__name__.lower(), message, ())
    return kind()


def _ack(message: dict[str, Any]) -> Ack:
    seen = _count(message, "seen")
    _check_keys("ack", message, ("type", "seen"))
    return Ack(seen)


_PARSERS: Mapping[str, Callable[[dict[str, Any]], ClientMessage]] = {
    "hello": _hello,
    "flush": lambda message: _bare(message, Flush),
    "end": lambda message: _bare(message, End),
    "ack": _ack,
}


def _section(message: dict[str, Any], name: str) -> dict[str, Any]:
    section = message.pop(name, {})
    if not isinstance(section, dict):
        _refuse(Code.BAD_VALUE, f"got {name} {_shown(section)}, expected an object")
    return section


def _count(message: dict[str, Any], name: str) -> int:
    count = message.pop(name, None)
    if type(count) is not int or count < 0:
        _refuse(Code.BAD_VALUE, f"got {name} {_shown(count)}, expected a whole number from 0")
    return count


def _check_keys(where: str, message: dict[str, Any], expected: tuple[str, ...], *, known: bool = False) -> None:
    """Refuse keys; known: those expected are still in the message, else they were taken out of it."""
    unknown = next((key for key in message if not (known and key in expected)), None)
    if unknown is not None:
        _refuse(Code.UNKNOWN_KEY, f"got {_shown(unknown)} in {where}, expected {', '.join(expected) or 'nothing else'}")


def _refuse(code: Code, message: str) -> NoReturn:
    raise ProtocolError(code, message)


def _shown(value: Any, most_chars: int = _SHOWN_CHARS) -> str:
    """Return a foreign value as short text that can be sent and printed anywhere."""
    text = value if isinstance(value, str) and most_chars > _SHOWN_CHARS else ascii(value)
    short = text if len(text) <= most_chars else text[: most_chars - 3] + "..."
    return short.encode("ascii", "backslashreplace").decode()


def client_text(message: ClientMessage) -> str:
    """Write what a client says."""
    if isinstance(message, Hello):
        audio = {"encoding": CONTAINER} if message.audio is None else asdict(message.audio)
        named = {name: value for name, value in message.engine.items() if name in ("language", "task")}
        options = {name: value for name, value in message.engine.items() if name not in named}
        options |= message.voice if message.drafts else {**message.voice, "drafts": False}
        said = {"type": "hello", "version": VERSION, "format": audio, **named, "options": options}
    elif isinstance(message, Resume):
        said = {"type": "hello", "version": VERSION, "resume": asdict(message)}
    else:
        said = {"type": type(message).__name__.lower(), **asdict(message)}
    return json.dumps(said)


# What a server says


@dataclass(frozen=True)
class Ready:
    """The session is open, or open again. received_bytes: audio received so far; send what follows it.

    has_end: whether an end was received. resume_s: how long the session outlives a lost connection.
    """

    session: str
    received_bytes: int
    has_end: bool
    resume_s: float


@dataclass(frozen=True)
class Received:
    """So much audio has been received; it will be heard even if the connection is lost."""

    received_bytes: int


@dataclass(frozen=True)
class Numbered:
    """An event of the session; numbers count from 1."""

    seq: int
    event: Event


@dataclass(frozen=True)
class Refused:
    """The connection, and the session if there is one, is over by an error that is no event of the session."""

    code: str
    message: str


ServerMessage = Ready | Received | Numbered | Refused

_EVENTS: Mapping[str, type[Any]] = {
    "words": Words,
    "draft": events.Draft,
    "speech_started": events.SpeechStarted,
    "speech_ended": events.SpeechEnded,
    "language": events.Language,
    "dropped": events.AudioDropped,
    "backend": events.BackendChanged,
    "flushed": events.Flushed,
    "ended": events.Ended,
    "error": events.Failed,
}
_OTHERS: Mapping[str, type[Any]] = {"ready": Ready, "received": Received, "error": Refused}
# A server older than the language of words does not tell it.
_WORD_KEYS = tuple(each.name for each in fields(Word) if each.name != "language")
_NAMES = {kind: name for name, kind in [*_EVENTS.items(), *_OTHERS.items()]}


def server_text(message: ServerMessage) -> str:
    """Write what a server says, with times to the millisecond."""
    inner = message.event if isinstance(message, Numbered) else message
    said: dict[str, Any] = {"type": _NAMES[type(inner)]}
    if isinstance(message, Numbered):
        said["seq"] = message.seq
    if isinstance(inner, Words):
        said["text"] = inner.text
    return json.dumps(_rounded({**said, **asdict(inner)}))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def parse_server(text: str) -> ServerMessage | None:
    """Read what a server says; None for a message of a type unknown here. Raises ProtocolError when it is damaged."""
    try:
        said = json.loads(text)
        numbered = "seq" in said
        kind = (_EVENTS if numbered else _OTHERS).get(said["type"])
        if kind is None:
            return None
        values = {each.name: said[each.name] for each in fields(kind)}
        if kind is Words:
            values["words"] = tuple(
                Word(**{name: word[name] for name in _WORD_KEYS}, language=word.get("language"))
                for word in said["words"]
            )
        inner = kind(**values)
        return Numbered(said["seq"], inner) if numbered else inner
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(Code.BAD_JSON, f"got {_shown(text)}, expected a message of version {VERSION}") from error
