"""Wyoming, as Home Assistant speaks it: events both ways over a stream of bytes, and audio in any width.

A transcription is told while it is spoken, by `transcript-start`, `transcript-chunk`s and, once `audio-stop` has come,
`transcript` and `transcript-stop`. Source: the package wyoming 1.10.2, Home Assistant's integration of it, and
wyoming-faster-whisper, whose order of events this is.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simul_whisper import AudioFormatError, ConfigError, language_code
from streaming.events import Ended, Event, Failed, Reason, Words
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
    Say,
    Served,
)
from streaming.protocols.reading import refuse, shown
from streaming.protocols.wyoming_events import EventReader, WyomingEvent, event_bytes
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

PROGRAM = "simul-whisper"
_DESCRIPTION = "Streaming speech recognition: words appear while they are spoken, and are never taken back"
_ATTRIBUTION = {"name": "simul-whisper", "url": ""}
# Seconds of silence that end an utterance, as Home Assistant counts them.
_SILENCES_S = {"relaxed": 1.25, "aggressive": 0.25}
_WIDTHS = (1, 2, 3, 4)
# Of what may be a term.
_MOST_NAME_CHARS = 100
_UNSIGNED = bytes((value + 128) % 256 for value in range(256))


@dataclass
class _Transcript:
    """What was told of one transcription."""

    texts: list[str] = field(default_factory=list)
    language: str | None = None
    is_begun: bool = False


class Wyoming(Dialect):
    """Any number of transcriptions, one after another. Every error ends the connection, for which clients wait."""

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self._reader = EventReader(served.most_message_bytes)
        # What the next transcription is to be like.
        self._engine, self._voice, self._model = dict[str, Any](), dict[str, Any](), ""
        # The transcriptions that are open, or will be once the one before is told to its end.
        self._open: deque[_Transcript] = deque()
        self._samples: _Samples | None = None
        self._described = b""

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        assert isinstance(message, bytes)
        commands, answers = list[Command](), list[bytes]()
        for event in self._reader.feed(message):
            # A thousand pings are answered at once: that costs others little time.
            if event.type in ("ping", "describe"):
                answers.append(self._answer(event))
            else:
                commands += [*_said(answers), *self._hear_event(event)]
                answers = []
        return [*commands, *_said(answers)]

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        if isinstance(event, Failed):
            return self.refuse(Refusal(event.reason, event.message))
        transcript = self._open[0]
        if isinstance(event, Words):
            text = event.text if transcript.texts else event.text.lstrip()
            transcript.texts.append(text)
            transcript.language = transcript.language or event.words[0].language
            return [*_begun(transcript), event_bytes("transcript-chunk", {"text": text})]
        if isinstance(event, Ended):
            self._open.popleft()
            language = {"language": transcript.language} if transcript.language else {}
            told = event_bytes("transcript", {"text": "".join(transcript.texts), **language})
            return [*_begun(transcript), told, event_bytes("transcript-stop")]
        return []

    def refuse(self, refusal: Refusal) -> list[Reply]:
        return [event_bytes("error", {"text": str(refusal), "code": refusal.reason.value}), Hangup()]

    def _hear_event(self, event: WyomingEvent) -> list[Command]:
        """Events of other kinds are passed over, as the protocol wants it."""
        if event.type == "audio-chunk":
            return self._hear_audio(event)
        if event.type == "audio-stop":
            return self._hear_stop()
        if event.type == "transcribe":
            self._set_up(event.data)
        elif event.type == "select-program" and event.data.get("name") != PROGRAM:
            refuse(Reason.CONFIG, f"got the program {shown(event.data.get('name'))}, expected {PROGRAM}")
        return []

    def _answer(self, event: WyomingEvent) -> bytes:
        if event.type == "ping":
            return event_bytes("pong", {"text": _text(event.data, "text")})
        self._described = self._described or event_bytes("info", self._info())
        return self._described

    def _info(self) -> dict[str, Any]:
        if not self.served.model:
            # Home Assistant asks again after this, but believes for good that there is nothing to be had.
            refuse(Reason.NOT_READY, "the model is not loaded yet; try again later")
        what = {"attribution": _ATTRIBUTION, "installed": True, "version": self.served.version}
        languages_by_name = {each.name: each.languages for each in self.served.models}
        languages_by_name = languages_by_name or {self.served.model: self.served.languages}
        models = [
            {"name": name, "description": f"Whisper {name}", **what, "languages": list(languages)}
            for name, languages in languages_by_name.items()
        ]
        program = {
            "name": PROGRAM,
            "description": _DESCRIPTION,
            **what,
            "models": models,
            "supports_transcript_streaming": True,
            # A transcription goes on through pauses, until its audio stops.
            "requires_external_vad": True,
        }
        others = ("tts", "handle", "intent", "wake", "mic", "snd")
        return {"asr": [program], **{kind: [] for kind in others}}

    # One transcription

    def _set_up(self, data: Mapping[str, Any]) -> None:
        name, language, vad = (_text(data, key) for key in ("name", "language", "vad_sensitivity"))
        if name and not self.served.has_model(name):
            refuse(Reason.CONFIG, f"got the model {shown(name)}, expected {', '.join(self.served.names)}")
        self._model = self.served.own_name(name)
        self._engine = {"language": _language(language)} if language else {}
        names = [*_names(data, "transcript_names"), *_names(data, "transcript_terms")]
        terms = _terms(names)[: self.served.most_terms]
        if terms:
            self._engine["terms"] = terms
        self._voice = {"vad_silence": _SILENCES_S[vad]} if vad in _SILENCES_S else {}

    def _hear_audio(self, event: WyomingEvent) -> list[Command]:
        rate, width, channels = (event.data.get(key) for key in ("rate", "width", "channels"))
        opening = list[Command]()
        if self._samples is None:
            if type(width) is not int or width not in _WIDTHS:
                refuse(Reason.AUDIO_FORMAT, f"got a width of {shown(width)} bytes, expected one of {_WIDTHS}")
            opening = self._opening(rate, channels)
            self._samples = _Samples((rate, width, channels), width)
        elif (rate, width, channels) != self._samples.kind:
            was = "rate {}, width {}, channels {}".format(*self._samples.kind)
            refuse(Reason.AUDIO_FORMAT, f"the audio began with {was} and cannot change; send audio-stop first")
        return [*opening, Audio(self._samples.as_s16le(event.payload))]

    def _hear_stop(self) -> list[Command]:
        # One without audio has a transcript, too: an empty one.
        opening = [] if self._samples else self._opening()
        self._samples = None
        self._engine, self._voice, self._model = {}, {}, ""
        return [*opening, End()]

    def _opening(self, rate: Any = 16_000, channels: Any = 1) -> list[Command]:
        try:
            audio = PcmFormat(rate=rate, channels=channels)
        except AudioFormatError as error:
            raise Refusal(Reason.AUDIO_FORMAT, shown(str(error), 200)) from error
        self._open.append(_Transcript())
        return [Open(SessionRequest(audio, self._engine, self._voice, drafts=False, model=self._model))]


class _Samples:
    """Integers of any width as those of 16 bits, cut anywhere. kind: rate, width and channels, as they were told."""

    def __init__(self, kind: tuple[Any, ...], width: int) -> None:
        self.kind, self._width = kind, width
        self._carried = b""

    def as_s16le(self, data: bytes) -> bytes:
        """Keep the upper 16 bits. One byte is unsigned, as in WAV files; wider ones are signed and in little endian."""
        width = self._width
        if width == 2:
            return data
        joined = self._carried + data
        n_samples = len(joined) // width
        whole, self._carried = joined[: n_samples * width], joined[n_samples * width :]
        written = bytearray(2 * n_samples)
        written[1::2] = whole.translate(_UNSIGNED) if width == 1 else whole[width - 1 :: width]
        if width > 1:
            written[::2] = whole[width - 2 :: width]
        return bytes(written)


def _said(answers: list[bytes]) -> list[Command]:
    return [Say((b"".join(answers),))] if answers else []


def _begun(transcript: _Transcript) -> list[Reply]:
    """Say once that a transcript begins."""
    if transcript.is_begun:
        return []
    transcript.is_begun = True
    return [event_bytes("transcript-start", {"language": transcript.language} if transcript.language else None)]


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        refuse(Reason.BAD_VALUE, f"got {key} {shown(value)}, expected text")
    return value


def _names(data: Mapping[str, Any], key: str) -> list[str]:
    names = data.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        refuse(Reason.BAD_VALUE, f"got {key} {shown(names)}, expected a list of texts")
    return names


def _terms(names: Sequence[str]) -> list[str]:
    """Return the names that can be listened for: a home may have texts among them that are none."""
    return [name for name in names if name.strip() and name.isprintable() and len(name) <= _MOST_NAME_CHARS]


def _language(written: str) -> str:
    try:
        return language_code(written)
    except ConfigError as error:
        raise Refusal(Reason.CONFIG, str(error)) from error
