"""OpenAI's REST dialect for text that is to be spoken: what is asked for, and how it is told. No I/O, no clock.

Source: the types of the package `openai`, and what the service answers.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simul_whisper import ConfigError, language_code
from streaming.protocols.openai_errors import RequestError
from streaming.protocols.reading import ProtocolError, parse_object, shown

# Names of the service's models and voices: each is the voice of the language.
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
VOICES = tuple("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
MOST_CHARS, MOST_BYTES = 4_096, 65_536
_KEYS = ("model", "input", "voice", "instructions", "response_format", "speed", "stream_format", "language")
_SPEEDS = (0.25, 4.0)
_USUAL = "en"


@dataclass(frozen=True)
class SpeechAsked:
    """language: a code that has a voice. form: a key of CONTENT_TYPES. is_stream: told as events.

    speed: None: as the server speaks.
    """

    text: str
    language: str
    form: str = "mp3"
    speed: float | None = None
    is_stream: bool = False


def read_speech(body: bytes, voices: Mapping[str, str]) -> SpeechAsked:
    """Read the body of a request. voices: the name of the voice of each language. Raises RequestError."""
    if not voices:
        message = "this server has no voice; whoever runs it can start it with --speech"
        raise RequestError(message, "model", "model_not_found", 404)
    try:
        said = parse_object(body.decode(), MOST_BYTES)
    except (UnicodeDecodeError, ProtocolError) as error:
        raise RequestError(f"the body cannot be read: {shown(str(error))}") from error
    unknown = next((key for key in said if key not in _KEYS), None)
    if unknown is not None:
        raise RequestError(f"got {shown(unknown)}, expected {', '.join(_KEYS)}", shown(unknown), "unknown_parameter")
    _check_model(said.get("model"))
    text = said.get("input")
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARS:
        n_chars = f"{len(text)} characters" if isinstance(text, str) else shown(text)
        raise RequestError(f"got {n_chars}, expected text of 1 to {MOST_CHARS} characters", "input")
    form = _choice(said, "response_format", tuple(CONTENT_TYPES), "mp3")
    is_stream = _choice(said, "stream_format", ("audio", "sse"), "audio") == "sse"
    return SpeechAsked(text, _language(said, voices), form, _speed(said.get("speed")), is_stream)


def audio_event(data: bytes) -> str:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def done_event() -> str:
    """Return the last event. Nothing is counted here: there are no tokens."""
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return _event({"type": "speech.audio.done", "usage": usage})


def _event(said: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(said)}\n\n"


def _check_model(model: Any) -> None:
    if model not in MODELS:
        known = ", ".join(MODELS)
        raise RequestError(
            f"The model {shown(model)} does not speak here; this server has {known}", "model", "model_not_found", 404
        )


def _language(said: Mapping[str, Any], voices: Mapping[str, str]) -> str:
    """Return that which is named, or that of the voice; else English, or what there is."""
    voice, language = said.get("voice"), said.get("language")
    if isinstance(voice, dict) and tuple(voice) == ("id",):
        voice = voice["id"]
    spoken = [code for code, name in voices.items() if voice in VOICES or voice == name]
    if not spoken:
        known = ", ".join(dict.fromkeys([*voices.values(), *VOICES]))
        raise RequestError(f"got voice {shown(voice)}, expected one of {known}", "voice")
    if language is None:
        return _USUAL if _USUAL in spoken else spoken[0]
    try:
        code = language_code(language) if isinstance(language, str) else ""
    except ConfigError:
        code = ""
    if code not in spoken:
        raise RequestError(f"got language {shown(language)}, expected one of {', '.join(spoken)}", "language")
    return code


def _speed(speed: Any) -> float | None:
    if speed is None:
        return None
    low, high = _SPEEDS
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not low <= speed <= high:
        raise RequestError(f"got speed {shown(speed)}, expected {low:g} to {high:g}", "speed")
    return float(speed)


def _choice(said: Mapping[str, Any], name: str, known: tuple[str, ...], otherwise: str) -> str:
    value = said.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, str) or value not in known:
        raise RequestError(f"got {name} {shown(value)}, expected one of {', '.join(known)}", name)
    return value
