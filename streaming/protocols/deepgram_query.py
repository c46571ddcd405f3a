"""What a client of Deepgram's live API asks for in its address, as settings of ours. Pure.

What cannot be had is refused only where the client would otherwise take its transcript for something that it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from simul_whisper import AudioFormatError, ConfigError, language_code
from streaming.events import Reason
from streaming.protocols.dialect import Handshake, Served
from streaming.protocols.reading import refuse, shown
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat, VoiceConfig

_ENCODINGS = {"linear16": "s16le", "linear32": "f32le", "mulaw": "mulaw", "alaw": "alaw"}
# Deepgram's own default of 10 ms, and the 25 ms of livekit, would tear words apart before Whisper has heard them.
SHORTEST_SILENCE_S, LONGEST_SILENCE_S = 0.3, 10.0
_LONGEST_MS = 60_000
_REFUSED = {
    "diarize": "speakers are not told apart",
    "diarize_model": "speakers are not told apart",
    "redact": "nothing is redacted",
    "replace": "no words are replaced",
    "search": "nothing is searched for",
    "detect_entities": "no entities are detected",
    "callback": "results are told on this connection only",
}
_NOTHING = ("", "false", "none")


@dataclass(frozen=True)
class Wishes:
    """What a connection is about. audio: None for a container. model: one of the server's; empty: it chooses.

    has_interim, has_speech_started, has_speech_final: which of the messages the client wants. silence_s: that ends an
    utterance, None for the server's. utterance_end_s: how long no word is heard before UtteranceEnd, None for never.
    """

    audio: PcmFormat | None
    model: str
    language: str | None
    terms: tuple[str, ...]
    has_interim: bool
    has_speech_started: bool
    has_speech_final: bool
    silence_s: float | None
    utterance_end_s: float | None

    @property
    def detects_language(self) -> bool:
        return self.language == "auto"

    @property
    def likely_silence_s(self) -> float:
        """The silence that ends an utterance, if the server has not been set to another."""
        return self.silence_s or VoiceConfig().vad_silence

    def request(self) -> SessionRequest:
        engine: dict[str, Any] = {"language": self.language} if self.language else {}
        if self.terms:
            engine["terms"] = self.terms
        voice = {"vad_silence": self.silence_s} if self.silence_s else {}
        return SessionRequest(self.audio, engine, voice, drafts=self.has_interim, model=self.model)


def wishes_of(handshake: Handshake, served: Served) -> Wishes:
    """Read the parameters; those not named here are not looked at. Raises Refusal for what cannot be had."""
    audio = _audio(handshake)
    _refuse_what_is_missing(handshake, audio)
    endpointing = handshake.asked("endpointing")
    wants_ends = (endpointing or "").lower() not in ("false", "0")
    silence_ms = _whole(handshake, "endpointing") if wants_ends and (endpointing or "").lower() != "true" else None
    utterance_end_ms = _whole(handshake, "utterance_end_ms")
    return Wishes(
        audio=audio,
        # Clients name one of the service's models even where nobody has told them to.
        model=served.own_name(handshake.asked("model")),
        language=_language(handshake, served.of(handshake.asked("model"))),
        terms=_terms(handshake.query.get("keyterm", ()), handshake.query.get("keywords", ())),
        has_interim=_switch(handshake, "interim_results"),
        has_speech_started=_switch(handshake, "vad_events"),
        has_speech_final=wants_ends,
        silence_s=None if silence_ms is None else min(max(silence_ms / 1000, SHORTEST_SILENCE_S), LONGEST_SILENCE_S),
        utterance_end_s=None if utterance_end_ms is None else utterance_end_ms / 1000,
    )


def _audio(handshake: Handshake) -> PcmFormat | None:
    encoding = handshake.asked("encoding")
    if not encoding:
        return None
    if encoding not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        _refuse_value(
            handshake, "encoding", f"{known}; other audio comes in a container, such as Ogg, without encoding"
        )
    rate, channels = _whole(handshake, "sample_rate"), _whole(handshake, "channels")
    if rate is None:
        refuse(Reason.AUDIO_FORMAT, f"got encoding={encoding} without sample_rate, which says how to read it")
    try:
        return PcmFormat(_ENCODINGS[encoding], rate, 1 if channels is None else channels)
    except AudioFormatError as error:
        raise Refusal(Reason.AUDIO_FORMAT, str(error)) from error


def _refuse_what_is_missing(handshake: Handshake, audio: PcmFormat | None) -> None:
    for name, why in _REFUSED.items():
        if any(value.lower() not in _NOTHING for value in handshake.query.get(name, ())):
            refuse(Reason.CONFIG, f"got {name}, but {why} here; leave it out")
    if _switch(handshake, "multichannel") and (audio is None or audio.channels > 1):
        refuse(Reason.CONFIG, "got multichannel, but all channels are heard as one here; connect once for each of them")


def _language(handshake: Handshake, served: Served) -> str | None:
    """Return Whisper's code, or auto; None for what the server is set to."""
    asked = handshake.asked("language")
    if asked == "multi" or _switch(handshake, "detect_language"):
        return "auto"
    if not asked:
        return None
    try:
        code = language_code(asked)
    except ConfigError as error:
        raise Refusal(Reason.CONFIG, str(error)) from error
    if code not in ("auto", *served.languages):
        refuse(Reason.CONFIG, f"got language={shown(asked)}, which {served.model} does not know")
    return code


def _terms(keyterms: Sequence[str], keywords: Sequence[str]) -> tuple[str, ...]:
    """Return all terms, without what makes a keyword weigh more; one that is to be rarer is left out."""
    weighed = [keyword.partition(":") for keyword in keywords]
    all_terms = [*keyterms, *(keyword for keyword, _, weight in weighed if not weight.strip().startswith("-"))]
    return tuple(dict.fromkeys(term.strip() for term in all_terms if term.strip()))


def _switch(handshake: Handshake, name: str) -> bool:
    value = (handshake.asked(name) or "false").lower()
    if value not in ("true", "false"):
        _refuse_value(handshake, name, "true or false")
    return value == "true"


def _whole(handshake: Handshake, name: str) -> int | None:
    value = handshake.asked(name)
    if value is None or value.lower() in _NOTHING:
        return None
    # What is longer is no number of anything here.
    if not (value.isascii() and value.isdigit() and len(value) <= 6):
        _refuse_value(handshake, name, "a whole number")
    if name.endswith("_ms") and int(value) > _LONGEST_MS:
        _refuse_value(handshake, name, f"at most {_LONGEST_MS}")
    return int(value)


def _refuse_value(handshake: Handshake, name: str, expected: str) -> NoReturn:
    refuse(Reason.BAD_VALUE, f"got {name}={shown(handshake.asked(name))}, expected {expected}")
