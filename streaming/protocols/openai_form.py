"""The form that OpenAI's REST dialect sends with a recording: what is asked for. Pure.

Source: the types of the package `openai`. What is in none of them is passed over.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from simul_whisper import ConfigError, language_code, language_names
from streaming.output.texts import TRANSCRIPT
from streaming.protocols.dialect import Served
from streaming.protocols.openai_errors import RequestError, check_model
from streaming.protocols.reading import parse_object, shown
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

Fields = Mapping[str, Sequence[str]]
"""A form without its file: name to values."""

FORMS = ("json", "text", "srt", "verbose_json", "vtt")
# What decoded samples are on their way into a session.
_SAMPLES = PcmFormat("f32le")
_GRANULARITIES = ("segment", "word")
_CHUNKING = "chunking_strategy"
_ENGLISH = "en"


@dataclass(frozen=True)
class Asked:
    """What a form asks for. form: of the answer, one of the service's names. text: as of `TextReader`.

    granularities: which times verbose_json has. language: code of the text, or auto; empty for the server's.
    """

    session: SessionRequest
    form: str
    text: str
    granularities: frozenset[str]
    is_stream: bool
    has_logprobs: bool
    is_translation: bool
    language: str


def read_form(fields: Fields, served: Served, *, is_translation: bool) -> Asked:
    """Read the fields of a form. Raises RequestError for what cannot be had, and is not harmless."""
    model = _one(fields, "model")
    if not model:
        _refuse("you must provide a model parameter", "model")
    check_model(served, model)
    served, name = served.of(model), served.own_name(model)
    form, is_stream = _form(fields), _flag(fields, "stream")
    if is_stream and form not in ("json", "text"):
        _refuse(f"stream=true tells text only; got response_format {form}, expected json or text", "response_format")
    _check_temperature(fields)
    _check_speakers(fields)
    spoken = {} if is_translation else _spoken(fields, served)
    engine = {**spoken, **_guides(fields)}
    text, targets = TRANSCRIPT, tuple[str, ...]()
    if is_translation and "translate" in served.tasks:
        engine["task"] = "translate"
    elif is_translation and _ENGLISH in served.targets:
        text, targets = _ENGLISH, (_ENGLISH,)
    elif is_translation:
        why = f"{served.model or 'the model'} cannot translate into English, and the server has no translator that can"
        _refuse(f"{why}; a multilingual model, such as base, does", "model")
    return Asked(
        SessionRequest(_SAMPLES, engine, _voice(fields), targets, drafts=False, model=name),
        form,
        text,
        _granularities(fields, form),
        is_stream,
        "logprobs" in _all(fields, "include"),
        is_translation,
        _ENGLISH if is_translation else spoken.get("language", ""),
    )


def _refuse(message: str, param: str) -> NoReturn:
    raise RequestError(message, param)


def _one(fields: Fields, name: str) -> str:
    return fields[name][-1].strip() if fields.get(name) else ""


def _all(fields: Fields, name: str) -> list[str]:
    """Clients write lists with brackets behind the name."""
    return [value.strip() for each in (f"{name}[]", name) for value in fields.get(each, ())]


def _form(fields: Fields) -> str:
    form = _one(fields, "response_format") or "json"
    if form == "diarized_json":
        _refuse("this server does not tell speakers apart; leave out diarized_json", "response_format")
    if form not in FORMS:
        _refuse(f"got response_format {shown(form)}, expected one of {', '.join(FORMS)}", "response_format")
    return form


def _flag(fields: Fields, name: str) -> bool:
    value = _one(fields, name).lower()
    if value not in ("", "true", "false", "1", "0"):
        _refuse(f"got {name} {shown(value)}, expected true or false", name)
    return value in ("true", "1")


def _check_temperature(fields: Fields) -> None:
    """It changes nothing: what is committed is what is most likely."""
    value = _one(fields, "temperature")
    if value and not 0 <= _number(value, "temperature") <= 1:
        _refuse(f"got temperature {shown(value)}, expected 0-1", "temperature")


def _check_speakers(fields: Fields) -> None:
    for name in ("known_speaker_names", "known_speaker_references"):
        if _all(fields, name):
            _refuse(f"this server does not tell speakers apart; leave out {name}", name)


def _number(value: str, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        _refuse(f"got {name} {shown(value)}, expected a number", name)
    return number


def _spoken(fields: Fields, served: Served) -> dict[str, Any]:
    """Read which language is spoken, or among which it is detected; empty for the server's."""
    one, several = _one(fields, "language"), _all(fields, "languages")
    name = "language" if one else "languages"
    codes = tuple(dict.fromkeys(_code(written, served, name) for written in ([one] if one else several) if written))
    if len(codes) < 2:
        return {"language": codes[0]} if codes else {}
    return {"language": "auto"} if "auto" in codes else {"language": "auto", "languages": codes}


def _code(written: str, served: Served, name: str) -> str:
    """name: of the field."""
    try:
        code = language_code(written)
    except ConfigError as error:
        raise RequestError(shown(str(error), 300), name) from error
    if code != "auto" and served.languages and code not in served.languages:
        _refuse(f"the model that is served does not know {language_names([code])[code]}", name)
    return code


def _guides(fields: Fields) -> dict[str, Any]:
    """Return what guides the text."""
    guides = {"init_prompt": _one(fields, "prompt"), "terms": [word for word in _all(fields, "keywords") if word]}
    return {name: value for name, value in guides.items() if value}


def _granularities(fields: Fields, form: str) -> frozenset[str]:
    name = "timestamp_granularities"
    wanted = [each for each in _all(fields, name) if each]
    if wanted and form != "verbose_json":
        _refuse("response_format must be verbose_json to use timestamp granularities", name)
    other = next((each for each in wanted if each not in _GRANULARITIES), None)
    if other is not None:
        _refuse(f"got {name} {shown(other)}, expected segment or word", name)
    return frozenset(wanted or ["segment"])


def _voice(fields: Fields) -> dict[str, Any]:
    """Read how the audio is cut: as JSON, or as clients write what is inside something."""
    inside = {name[len(_CHUNKING) + 1 : -1]: _one(fields, name) for name in fields if name.startswith(f"{_CHUNKING}[")}
    written = _one(fields, _CHUNKING)
    if written == "auto":
        return {"vad": True}
    if not (written or inside):
        return {}
    try:
        values = inside or parse_object(written)
    except Refusal as refusal:
        raise RequestError(f"{_CHUNKING}: {refusal}", _CHUNKING) from refusal
    if values.get("type") != "server_vad":
        _refuse(f"got {_CHUNKING} of type {shown(values.get('type'))}, expected auto or server_vad", _CHUNKING)
    scales = {"threshold": ("vad_threshold", 1.0)}
    scales |= {"prefix_padding_ms": ("vad_lead_in", 0.001), "silence_duration_ms": ("vad_silence", 0.001)}
    voice: dict[str, Any] = {"vad": True}
    for name, (option, scale) in scales.items():
        if values.get(name) not in (None, ""):
            voice[option] = scale * _number(str(values[name]), name)
    return voice
