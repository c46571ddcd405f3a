"""The WebSocket protocol `/v1/stream`, version 1: text and bytes in, messages out, and back. No I/O, no clock.

docs/protocols/native.md describes it message by message. What a client sends is read strictly, so that a mistake is
told at once; what a server sends is read leniently, so that a server may say more than a client knows.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from simul_whisper import AlignAttConfig, AudioFormatError, ConfigError, Word, checked_targets
from streaming import events
from streaming.events import Event, Reason, Words
from streaming.protocols.dialect import Clear, End, Flush, Speech, Targets
from streaming.protocols.reading import ProtocolError, parse_object, refuse, shown
from streaming.protocols.sound import parse_sound, sound_bytes
from streaming.sessions.request import ENGINE_OPTIONS, TRANSCRIPT, VOICE_OPTIONS, Refusal, SessionRequest
from streaming.settings import PcmFormat, VoiceConfig

PATH = "/v1/stream"
VERSION = 1
CONTAINER = "container"
# Of the engine's, these stand beside the options.
_NAMED_OPTIONS = ("language", "task")
# How many a server takes is among its limits; more than these are none's.
_MOST_TARGETS = 8
# The name of the transcript among the texts that may be spoken.
_TRANSCRIPT = "transcript"


# What a client says


@dataclass(frozen=True)
class Resume:
    """A session goes on. sent_bytes: audio sent so far; seen: the number of the last event received, 0 for none."""

    session: str
    sent_bytes: int
    seen: int


@dataclass(frozen=True)
class Ack:
    """The events up to the number `seen` have been received; the server need not keep them."""

    seen: int


ClientMessage = SessionRequest | Resume | Flush | Clear | End | Targets | Speech | Ack


def parse_client(text: str) -> ClientMessage:
    """Read what a client says. Raises ProtocolError for all that this version does not know."""
    message = parse_object(text)
    kind = message.pop("type", None)
    if not isinstance(kind, str) or kind not in _PARSERS:
        refuse(Reason.UNKNOWN_TYPE, f"got type {shown(kind)}, expected one of {', '.join(_PARSERS)}")
    return _PARSERS[kind](message)


def _hello(message: dict[str, Any]) -> SessionRequest | Resume:
    version = message.pop("version", None)
    if type(version) is not int or version != VERSION:
        refuse(Reason.UNSUPPORTED_VERSION, f"got version {shown(version)}, expected {VERSION}")
    if "resume" in message:
        resume = _section(message, "resume")
        _check_keys("hello", message, ())
        return _resume(resume)
    audio = _audio(_section(message, "format"))
    options = _section(message, "options")
    drafts = options.pop("drafts", True)
    if type(drafts) is not bool:
        refuse(Reason.BAD_VALUE, f"got drafts {shown(drafts)}, expected true or false")
    engine: dict[str, Any] = {name: message.pop(name) for name in _NAMED_OPTIONS if name in message}
    targets, speech = _targets(message.pop("targets", [])), _speech(message.pop("speech", []))
    model = message.pop("model", "")
    if not isinstance(model, str):
        refuse(Reason.BAD_VALUE, f"got model {shown(model)}, expected its name")
    keys = ("type", "version", "format", "model", "language", "task", "targets", "speech", "options", "resume")
    _check_keys("hello", message, keys)
    names = [name for name in ENGINE_OPTIONS if name not in _NAMED_OPTIONS]
    _check_keys("options", options, (*names, *VOICE_OPTIONS, "drafts"), known=True)
    engine |= {name: value for name, value in options.items() if name in names}
    voice = {name: value for name, value in options.items() if name in VOICE_OPTIONS}
    return _checked(SessionRequest(audio, engine, voice, targets, drafts, speech, model))


def _checked(request: SessionRequest) -> SessionRequest:
    """Refuse what no server takes, whatever its own settings are."""
    try:
        request.engine_config(AlignAttConfig())
        request.voice_config(VoiceConfig())
    except Refusal as refusal:
        raise ProtocolError(refusal.reason, shown(str(refusal), 300)) from refusal
    return request


def _targets(targets: Any, name: str = "targets") -> tuple[str, ...]:
    """Return the languages as codes, each once."""
    is_list = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    if not is_list or len(targets) > _MOST_TARGETS:
        refuse(Reason.BAD_VALUE, f"got {name} {shown(targets)}, expected a list of at most {_MOST_TARGETS} languages")
    try:
        return checked_targets(targets)
    except ConfigError as error:
        raise ProtocolError(Reason.CONFIG, shown(str(error), 300)) from error


def _speech(speech: Any) -> tuple[str, ...]:
    """Return the texts that are to be spoken, each once: codes of languages, and TRANSCRIPT."""
    if not isinstance(speech, list):
        return _targets(speech, "speech")
    others = [text for text in speech if text not in (TRANSCRIPT, _TRANSCRIPT)]
    return (*((TRANSCRIPT,) if len(others) < len(speech) else ()), *_targets(others, "speech"))


def _audio(audio: dict[str, Any]) -> PcmFormat | None:
    _check_keys("format", audio, ("encoding", "rate", "channels"), known=True)
    if audio.get("encoding") == CONTAINER:
        if len(audio) > 1:
            refuse(Reason.UNKNOWN_KEY, "a container tells its rate and channels itself; leave them out")
        return None
    if not isinstance(audio.get("encoding", ""), str):
        refuse(Reason.AUDIO_FORMAT, f"got encoding {shown(audio['encoding'])}, expected text")
    try:
        return PcmFormat(**audio)
    except AudioFormatError as error:
        raise ProtocolError(Reason.AUDIO_FORMAT, f"{shown(str(error), 300)}, or the encoding {CONTAINER}") from error


def _resume(resume: dict[str, Any]) -> Resume:
    session = resume.pop("session", None)
    if not isinstance(session, str):
        refuse(Reason.BAD_VALUE, f"got session {shown(session)}, expected text")
    sent_bytes, seen = _count(resume, "sent_bytes"), _count(resume, "seen")
    _check_keys("resume", resume, ("session", "sent_bytes", "seen"))
    return Resume(session, sent_bytes, seen)


def _bare(message: dict[str, Any], kind: type[Flush | Clear | End]) -> Flush | Clear | End:
    _check_keys(kind.__name__.lower(), message, ())
    return kind()


def _choice(message: dict[str, Any]) -> Targets:
    targets = message.pop("targets", None)
    _check_keys("targets", message, ("type", "targets"))
    return Targets(_targets(targets))


def _speech_choice(message: dict[str, Any]) -> Speech:
    speech = message.pop("speech", None)
    _check_keys("speech", message, ("type", "speech"))
    return Speech(_speech(speech))


def _ack(message: dict[str, Any]) -> Ack:
    seen = _count(message, "seen")
    _check_keys("ack", message, ("type", "seen"))
    return Ack(seen)


_PARSERS: Mapping[str, Callable[[dict[str, Any]], ClientMessage]] = {
    "hello": _hello,
    "flush": lambda message: _bare(message, Flush),
    "clear": lambda message: _bare(message, Clear),
    "end": lambda message: _bare(message, End),
    "targets": _choice,
    "speech": _speech_choice,
    "ack": _ack,
}


def _section(message: dict[str, Any], name: str) -> dict[str, Any]:
    section = message.pop(name, {})
    if not isinstance(section, dict):
        refuse(Reason.BAD_VALUE, f"got {name} {shown(section)}, expected an object")
    return section


def _count(message: dict[str, Any], name: str) -> int:
    count = message.pop(name, None)
    if type(count) is not int or count < 0:
        refuse(Reason.BAD_VALUE, f"got {name} {shown(count)}, expected a whole number from 0")
    return count


def _check_keys(where: str, message: dict[str, Any], expected: tuple[str, ...], *, known: bool = False) -> None:
    """Refuse keys; known: those expected are still in the message, else they were taken out of it."""
    unknown = next((key for key in message if not (known and key in expected)), None)
    if unknown is not None:
        known_keys = ", ".join(expected) or "nothing else"
        refuse(Reason.UNKNOWN_KEY, f"got {shown(unknown)} in {where}, expected {known_keys}")


def client_text(message: ClientMessage) -> str:
    """Write what a client says."""
    if isinstance(message, SessionRequest):
        audio = {"encoding": CONTAINER} if message.audio is None else asdict(message.audio)
        named = {name: value for name, value in message.engine.items() if name in _NAMED_OPTIONS}
        options = {name: value for name, value in message.engine.items() if name not in named}
        options |= message.voice if message.drafts else {**message.voice, "drafts": False}
        asked: dict[str, Any] = {"model": message.model} if message.model else {}
        asked |= {"targets": list(message.targets)} if message.targets else {}
        asked |= {"speech": _spoken_names(message.speech)} if message.speech else {}
        said = {"type": "hello", "version": VERSION, "format": audio, **named, **asked, "options": options}
    elif isinstance(message, Resume):
        said = {"type": "hello", "version": VERSION, "resume": asdict(message)}
    elif isinstance(message, Speech):
        said = {"type": "speech", "speech": _spoken_names(message.speech)}
    else:
        said = {"type": type(message).__name__.lower(), **asdict(message)}
    return json.dumps(said)


def _spoken_names(speech: tuple[str, ...]) -> list[str]:
    return [_TRANSCRIPT if text == TRANSCRIPT else text for text in speech]


# What a server says


@dataclass(frozen=True)
class Ready:
    """The session is open, or open again. received_bytes: audio received so far; send what follows it.

    has_end: whether an end was received. resume_s: how long the session outlives a lost connection. limits: the most,
    or least, that a client may ask for, by name. targets: the codes of the languages that it can be translated into;
    voices: of those that can be spoken; model: the name of the one that listens. Each is None from a server that does
    not tell.
    """

    session: str
    received_bytes: int
    has_end: bool
    resume_s: float
    limits: Mapping[str, float] | None = None
    targets: tuple[str, ...] | None = None
    voices: tuple[str, ...] | None = None
    model: str | None = None


@dataclass(frozen=True)
class Received:
    """So much audio has been received; it will be heard even if the connection is lost."""

    received_bytes: int


@dataclass(frozen=True)
class Numbered:
    """An event of the session; numbers count from 1. event: None for one of a type that is not known here."""

    seq: int
    event: Event | None


@dataclass(frozen=True)
class Refused:
    """The connection, and the session if there is one, is over by an error that is no event of the session.

    retry_after_s: in how many seconds to come back; None where the server does not tell.
    """

    reason: Reason
    message: str
    retry_after_s: float | None = None


ServerMessage = Ready | Received | Numbered | Refused

_EVENTS: Mapping[str, type[Any]] = {
    "words": Words,
    "draft": events.Draft,
    "translation": events.Translation,
    "translation_draft": events.TranslationDraft,
    "translation_skipped": events.TranslationSkipped,
    "speech_skipped": events.SpeechSkipped,
    "speech_started": events.SpeechStarted,
    "speech_ended": events.SpeechEnded,
    "language": events.Language,
    "dropped": events.AudioDropped,
    "cut_short": events.CutShort,
    "backend": events.BackendChanged,
    "flushed": events.Flushed,
    "cleared": events.Cleared,
    "recognised": events.Recognised,
    "ended": events.Ended,
    "error": events.Failed,
}
_OTHERS: Mapping[str, type[Any]] = {"ready": Ready, "received": Received, "error": Refused}
_WITH_WORDS = (Words, events.Draft, events.Translation, events.TranslationDraft)
_WITH_REASON = (events.Failed, Refused)
# A server older than the language of words does not tell it.
_WORD_KEYS = tuple(each.name for each in fields(Word) if each.name != "language")
_NAMES = {kind: name for name, kind in [*_EVENTS.items(), *_OTHERS.items()]}


def server_message(message: ServerMessage) -> str | bytes:
    """Write what a server says: bytes for sound, text for all else."""
    if isinstance(message, Numbered) and isinstance(message.event, events.Spoken):
        return sound_bytes(message.seq, message.event)
    return server_text(message)


def server_text(message: ServerMessage) -> str:
    """Write what a server says, but for sound, with times to the millisecond."""
    inner = message.event if isinstance(message, Numbered) else message
    said: dict[str, Any] = {"type": _NAMES[type(inner)]}
    if isinstance(message, Numbered):
        said["seq"] = message.seq
    if isinstance(inner, _WITH_WORDS):
        said["text"] = inner.text
    if isinstance(inner, _WITH_REASON):
        return json.dumps({**said, "code": inner.reason.value, "message": inner.message, **_retry(inner)})
    assert inner is not None
    return json.dumps(_rounded({**said, **asdict(inner)}))


def _retry(error: events.Failed | Refused) -> dict[str, float]:
    if isinstance(error, events.Failed) or error.retry_after_s is None:
        return {}
    return {"retry_after_s": round(error.retry_after_s, 3)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def parse_server(text: str | bytes) -> ServerMessage | None:
    """Read what a server says; None for a message of a type unknown here. Raises ProtocolError when it is damaged."""
    if isinstance(text, bytes):
        sound = parse_sound(text)
        return sound and Numbered(*sound)
    try:
        said = json.loads(text)
        is_numbered = "seq" in said
        kind = (_EVENTS if is_numbered else _OTHERS).get(said["type"])
        inner = _record(kind, said) if kind else None
        return Numbered(said["seq"], inner) if is_numbered else inner
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(
            Reason.BAD_JSON, f"got {shown(text)}, which is no message of protocol version {VERSION}"
        ) from error


def _record(kind: type[Any], said: Mapping[str, Any]) -> Any:
    """Return what a message says; what an older server does not tell yet is left at its default."""
    if kind is Refused and said.get("retry_after_s") is not None:
        return Refused(_reason(said["code"]), said["message"], max(0.0, float(said["retry_after_s"])))
    if kind in _WITH_REASON:
        return kind(_reason(said["code"]), said["message"])
    if kind is events.Draft and "words" not in said:
        said = {**said, "words": [{"text": said["text"], **dict.fromkeys(_WORD_KEYS[1:], 0.0)}]}
    values = {each.name: said[each.name] for each in fields(kind) if each.name in said or each.default is MISSING}
    if kind in _WITH_WORDS:
        values["words"] = tuple(
            Word(**{name: word[name] for name in _WORD_KEYS}, language=word.get("language")) for word in said["words"]
        )
    for name in ("targets", "voices"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    return kind(**values)


def _reason(code: str) -> Reason:
    return Reason(code) if code in {each.value for each in Reason} else Reason.UNKNOWN
