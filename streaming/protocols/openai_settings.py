"""The session of OpenAI's Realtime transcription: what a client may set, in today's shape and in the older flat one.

A key that is missing keeps what it was, and null clears it. Each setting either is one of ours or changes no text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simul_whisper import AlignAttConfig, ConfigError, language_code
from streaming.protocols.dialect import Served
from streaming.protocols.openai_events import EventError, check_keys, checked_model, section
from streaming.protocols.reading import shown
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import ClientLimits, PcmFormat, VoiceConfig

LOGPROBS = "item.input_audio_transcription.logprobs"
_INPUT = "session.audio.input"
_SERVER_VAD, _SEMANTIC_VAD = "server_vad", "semantic_vad"
# At the service these decode without end, and only a commit ends an item.
_WITHOUT_VAD = ("gpt-realtime-whisper", "gpt-live-transcribe")
_ENCODINGS = {"audio/pcm": ("s16le", 24_000), "audio/pcmu": ("mulaw", 8_000), "audio/pcma": ("alaw", 8_000)}
_FLAT_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
# Frames of 20 ms before the edge of the audio: a fifth of a second to two seconds; medium is the engine's default.
_DELAYS = {"minimal": 10, "low": 12, "medium": 15, "high": 50, "xhigh": 100}
# Semantics decide how long the service waits; here it is silence alone.
_SILENCES_MS = {"low": 2_000, "medium": 1_000, "auto": 1_000, "high": 500}
# What means nothing without responses, which a transcription has not.
_OF_RESPONSES = ("create_response", "interrupt_response", "idle_timeout_ms")
_TURN_KEYS = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms", "eagerness", *_OF_RESPONSES)
_MOST_LISTED, _MOST_TEXT_CHARS = 100, 10_000


@dataclass(frozen=True)
class Turn:
    """When speech begins and ends an item."""

    type: str = _SERVER_VAD
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    eagerness: str = "auto"

    def voice(self) -> dict[str, Any]:
        """Return it as settings of ours."""
        return {
            "vad": True,
            "vad_threshold": min(0.95, max(0.05, self.threshold)),
            "vad_lead_in": self.prefix_padding_ms / 1000,
            "vad_silence": self.silence_ms / 1000,
        }

    @property
    def silence_ms(self) -> int:
        return _SILENCES_MS[self.eagerness] if self.type == _SEMANTIC_VAD else self.silence_duration_ms

    def shown(self) -> dict[str, Any]:
        if self.type == _SEMANTIC_VAD:
            return {"type": self.type, "eagerness": self.eagerness}
        names = ("threshold", "prefix_padding_ms", "silence_duration_ms")
        return {"type": self.type, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Transcription:
    """What guides the text; None is the server's own setting. model: as the client calls it; empty: it has not."""

    model: str = ""
    language: str | None = None
    languages: tuple[str, ...] | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] | None = None
    delay: str | None = None

    def engine(self) -> dict[str, Any]:
        """Return it as settings of ours."""
        settings: dict[str, Any] = {}
        if self.language or self.languages:
            # Of several languages, each utterance's is detected.
            one = self.languages[0] if self.languages and len(self.languages) == 1 else "auto"
            settings["language"] = self.language or one
        if self.languages and len(self.languages) > 1:
            settings["languages"] = self.languages
        if self.prompt:
            settings["init_prompt"] = self.prompt
        if self.keywords:
            settings["terms"] = self.keywords
        if self.delay:
            settings["frame_threshold"] = _DELAYS[self.delay]
        return settings

    def shown(self, default_model: str) -> dict[str, Any]:
        """Return it as the service shows it: what is not set is left out, but for model, language and prompt."""
        lists = {name: list(getattr(self, name)) for name in ("languages", "keywords") if getattr(self, name)}
        delay = {"delay": self.delay} if self.delay else {}
        return {
            "model": self.model or default_model,
            "language": self.language,
            "prompt": self.prompt,
            **lists,
            **delay,
        }


@dataclass(frozen=True)
class Settings:
    """A session as it is set. turn: None: only commits end an item; has_turn: whether the client has chosen that."""

    transcription: Transcription
    served: Served = field(repr=False)
    format: Mapping[str, Any] = field(default_factory=lambda: {"type": "audio/pcm", "rate": 24_000})
    chosen_turn: Turn | None = field(default_factory=Turn)
    has_turn: bool = False
    logprobs: bool = False

    @property
    def turn(self) -> Turn | None:
        is_default_off = not self.has_turn and self.transcription.model in _WITHOUT_VAD
        return None if is_default_off else self.chosen_turn

    def request(self) -> SessionRequest:
        encoding, rate = _ENCODINGS[self.format["type"]]
        voice = self.turn.voice() if self.turn else {"vad": False}
        audio = PcmFormat(encoding, self.format.get("rate", rate))
        model = self.served.own_name(self.transcription.model)
        return SessionRequest(audio, self.transcription.engine(), voice, drafts=False, model=model)

    def updated(self, session: dict[str, Any]) -> "Settings":
        """Return what a `session.update` makes of it. Raises EventError."""
        check_keys(session, ("type", "audio", "include"), "session")
        if session.get("type", "transcription") != "transcription":
            kind = shown(session["type"])
            raise EventError(f"got type {kind}, expected transcription: this server only transcribes", "session.type")
        audio = section(session, "audio", "session")
        check_keys(audio, ("input",), "session.audio")
        given = section(audio, "input", "session.audio")
        check_keys(given, ("format", "transcription", "turn_detection", "noise_reduction"), _INPUT)
        named = {name: (value, f"{_INPUT}.{name}") for name, value in given.items()}
        return self._with(
            named | {name: (session[name], "session.include") for name in ("include",) if name in session}
        )

    def updated_flat(self, session: dict[str, Any]) -> "Settings":
        """Return what the older `transcription_session.update` makes of it. Raises EventError."""
        names = {
            "input_audio_format": "format",
            "input_audio_transcription": "transcription",
            "input_audio_noise_reduction": "noise_reduction",
            "turn_detection": "turn_detection",
            "include": "include",
        }
        check_keys(session, (*names, "modalities", "client_secret"), "session")
        named = {names[key]: (value, f"session.{key}") for key, value in session.items() if key in names}
        if "format" in named and named["format"][0] is not None:
            value, param = named["format"]
            named["format"] = ({"type": _choice(value, _FLAT_FORMATS, param) and _FLAT_FORMATS[value]}, param)
        return self._with(named)

    def _with(self, named: Mapping[str, tuple[Any, str]]) -> "Settings":
        """named: value and param of each setting that is given."""
        changed = self
        for name, (value, param) in named.items():
            changed = _READERS[name](changed, value, param)
        try:
            request = changed.request()
            request.engine_config(AlignAttConfig(), ClientLimits())
            request.voice_config(VoiceConfig())
            self.served.chosen(request)
        except Refusal as refusal:
            raise EventError(shown(str(refusal), 300), "session") from refusal
        return changed

    def shown(self) -> dict[str, Any]:
        turn = self.turn.shown() if self.turn else None
        transcription = self.transcription.shown(self.served.model)
        heard = {"format": self.format, "transcription": transcription, "noise_reduction": None, "turn_detection": turn}
        kind = {"type": "transcription", "object": "realtime.transcription_session"}
        return {**kind, "audio": {"input": heard}, "include": [LOGPROBS] if self.logprobs else None}

    def shown_flat(self) -> dict[str, Any]:
        flat_names = {kind: name for name, kind in _FLAT_FORMATS.items()}
        return {
            "object": "realtime.transcription_session",
            "input_audio_format": flat_names[self.format["type"]],
            "input_audio_transcription": self.transcription.shown(self.served.model),
            "input_audio_noise_reduction": None,
            "turn_detection": self.turn.shown() if self.turn else None,
            "include": [LOGPROBS] if self.logprobs else None,
        }


def _read_format(settings: Settings, value: Any, param: str) -> Settings:
    given = _object(value, param)
    check_keys(given, ("type", "rate"), param)
    kind = _choice(given.get("type", "audio/pcm"), _ENCODINGS, f"{param}.type")
    usual = _ENCODINGS[kind][1]
    if given.get("rate") not in (None, usual) or isinstance(given.get("rate"), float):
        raise EventError(f"got {shown(given['rate'])}, expected {usual} for {kind}", f"{param}.rate")
    return replace(settings, format={"type": kind} | ({"rate": usual} if kind == "audio/pcm" else {}))


def _read_transcription(settings: Settings, value: Any, param: str) -> Settings:
    given, before = _object(value, param), settings.transcription
    check_keys(given, tuple(_TRANSCRIPTION_READERS), param)
    if value is None:
        before = Transcription()
    changes: dict[str, Any] = {}
    for name, each in given.items():
        read = _TRANSCRIPTION_READERS[name]
        changes[name] = None if each is None else read(each, f"{param}.{name}", settings.served)
    # One says what the other says, too: the one that was given last holds.
    for name, other in (("language", "languages"), ("languages", "language")):
        if changes.get(name) and other not in changes:
            changes[other] = None
    if "model" in changes:
        changes["model"] = changes["model"] or ""
    return replace(settings, transcription=replace(before, **changes))


def _read_turn(settings: Settings, value: Any, param: str) -> Settings:
    if value is None:
        return replace(settings, chosen_turn=None, has_turn=True)
    given = _object(value, param)
    check_keys(given, _TURN_KEYS, param)
    before = settings.chosen_turn or Turn()
    kind = _choice(given.get("type", before.type), (_SERVER_VAD, _SEMANTIC_VAD), f"{param}.type")
    turn = replace(before if kind == before.type else Turn(), type=kind)
    changes: dict[str, Any] = {}
    for name, low, high in (("threshold", 0, 1), ("prefix_padding_ms", 0, 2_000), ("silence_duration_ms", 100, 10_000)):
        if given.get(name) is not None:
            number = _number(given[name], low, high, f"{param}.{name}")
            changes[name] = number if name == "threshold" else round(number)
    if given.get("eagerness") is not None:
        changes["eagerness"] = _choice(given["eagerness"], _SILENCES_MS, f"{param}.eagerness")
    return replace(settings, chosen_turn=replace(turn, **changes), has_turn=True)


def _read_noise(settings: Settings, value: Any, param: str) -> Settings:
    """The model hears noise as it is; what is asked for is only checked."""
    given = _object(value, param)
    check_keys(given, ("type", "strength"), param)
    if given.get("type") is not None:
        _choice(given["type"], ("near_field", "far_field"), f"{param}.type")
    return settings


def _read_include(settings: Settings, value: Any, param: str) -> Settings:
    items = value or []
    if not isinstance(items, list) or any(each != LOGPROBS for each in items):
        raise EventError(f"got {shown(value)}, expected a list of {LOGPROBS}", param)
    return replace(settings, logprobs=bool(items))


_READERS: Mapping[str, Callable[[Settings, Any, str], Settings]] = {
    "format": _read_format,
    "transcription": _read_transcription,
    "turn_detection": _read_turn,
    "noise_reduction": _read_noise,
    "include": _read_include,
}


def _read_language(value: Any, param: str, served: Served) -> str:
    """Return Whisper's code: `en-US` is `en`, and `nb` is `no`."""
    try:
        code = language_code(value, may_be_auto=False) if isinstance(value, str) else ""
    except ConfigError:
        code = ""
    if not code or (served.languages and code not in served.languages):
        raise EventError(f"got {shown(value)}, expected the code of a language that {served.model} knows", param)
    return code


def _read_text(value: Any, param: str, _: Served) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT_CHARS:
        raise EventError(f"got {shown(value)}, expected text", param)
    return value


def _read_list(value: Any, param: str, served: Served, read: Callable[[Any, str, Served], str]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_LISTED:
        raise EventError(f"got {shown(value)}, expected a list of at most {_MOST_LISTED}", param)
    return tuple(dict.fromkeys(read(each, param, served) for each in value))


_TRANSCRIPTION_READERS: Mapping[str, Callable[[Any, str, Served], Any]] = {
    "model": lambda value, param, served: checked_model(value, served, param),
    "language": _read_language,
    "languages": lambda value, param, served: _read_list(value, param, served, _read_language),
    "prompt": _read_text,
    "keywords": lambda value, param, served: _read_list(value, param, served, _read_text),
    "delay": lambda value, param, _: _choice(value, _DELAYS, param),
}


def _object(value: Any, param: str) -> dict[str, Any]:
    return section({"": value}, "", param)


def _choice(value: Any, known: "Mapping[str, Any] | tuple[str, ...]", param: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise EventError(f"got {shown(value)}, expected {' or '.join(known)}", param)
    return value


def _number(value: Any, low: float, high: float, param: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise EventError(f"got {shown(value)}, expected a number from {low:g} to {high:g}", param)
    return float(value)
