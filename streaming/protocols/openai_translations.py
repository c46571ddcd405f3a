"""OpenAI's Realtime translations: audio in, and what was said in another language, as text and, in a voice, as sound.

Where there is no voice for a language, there is only text; `output_modalities` of the session says so.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from simul_whisper import ConfigError, checked_targets
from streaming.events import (
    Ended,
    Event,
    Failed,
    Reason,
    SpeechSkipped,
    Spoken,
    Translation,
    TranslationSkipped,
    Words,
)
from streaming.protocols.dialect import (
    Audio,
    Command,
    End,
    Handshake,
    Hangup,
    Open,
    Reply,
    Say,
    Served,
    Speech,
    Targets,
)
from streaming.protocols.openai_events import (
    EventError,
    RealtimeDialect,
    audio_bytes,
    check_keys,
    checked_model,
    error_object,
    section,
)
from streaming.protocols.reading import shown
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

_FORMAT = PcmFormat("s16le", 24_000)
_OUTPUT_LANGUAGE = "session.audio.output.language"
# Times are told on this grid.
_FRAME_MS = 200
_BYTES_PER_DELTA = 2 * _FORMAT.rate * _FRAME_MS // 1000


class OpenAITranslations(RealtimeDialect):
    """A connection is a session, in which the language may change at any time."""

    speech_rate = _FORMAT.rate

    def __init__(self, handshake: Handshake, served: Served) -> None:
        served = served.of(handshake.asked("model"))
        super().__init__(handshake, served)
        self._model = handshake.asked("model") or served.model
        # Where there is but one language to be had, it is that.
        self._language = served.targets[0] if len(served.targets) == 1 else None
        # The model for what is said in the language of the speaker; None: that is not told.
        self._input_model: str | None = None
        self._is_open = self._is_closing = self._has_told_input = self._has_told_output = False

    @property
    def handlers(self) -> Mapping[str, Callable[[dict[str, Any]], list[Command]]]:
        return {
            "session.update": self._update,
            "session.input_audio_buffer.append": self._append,
            "session.close": self._close,
        }

    def begin(self) -> list[Command]:
        self.check_model()
        return [Say((self._told_session("created"),))]

    # What the client says

    def _update(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, ("session",), "")
        session = section(event, "session", "")
        check_keys(session, ("type", "model", "audio"), "session")
        for name, value in (("type", "translation"), ("model", self._model)):
            if session.get(name, value) != value:
                raise EventError(
                    f"got {shown(session[name])}, expected {value}: it cannot be changed", f"session.{name}"
                )
        audio = section(session, "audio", "session")
        check_keys(audio, ("input", "output"), "session.audio")
        given, output = section(audio, "input", "session.audio"), section(audio, "output", "session.audio")
        check_keys(given, ("transcription", "noise_reduction"), "session.audio.input")
        check_keys(output, ("language",), "session.audio.output")
        input_model = self._asked_input_model(given) if "transcription" in given else self._input_model
        language = self._asked_language(output["language"]) if "language" in output else self._language
        is_changed = language != self._language
        self._input_model, self._language = input_model, language
        if not (is_changed and self._is_open):
            return [Say((self._told_session("updated"),))]
        chosen: list[Command] = [Targets((language,) if language else ())]
        chosen += [Speech(self._speech)] if self.served.voices else []
        return [*chosen, Say((self._told_session("updated"),))]

    def _asked_input_model(self, given: dict[str, Any]) -> str | None:
        where = "session.audio.input.transcription"
        if given["transcription"] is None:
            return None
        transcription = section(given, "transcription", "session.audio.input")
        check_keys(transcription, ("model",), where)
        return checked_model(transcription.get("model", self.served.model), self.served, f"{where}.model")

    def _asked_language(self, language: Any) -> str | None:
        if language is None:
            return None
        try:
            code = checked_targets([language])[0] if isinstance(language, str) else ""
        except ConfigError:
            code = ""
        if not code or code not in self.served.targets:
            targets = ", ".join(self.served.targets)
            why = f"expected one of {shown(targets, 300)}" if targets else "but this server cannot translate"
            raise EventError(f"got output language {shown(language)}, {why}", _OUTPUT_LANGUAGE)
        return code

    def _append(self, event: dict[str, Any]) -> list[Command]:
        audio = audio_bytes(event)
        if self._is_closing:
            raise EventError("audio came after session.close; connect again", "type", Reason.AFTER_END.value)
        if self._is_open or not audio:
            return [Audio(audio)] if audio else []
        if self._language is None:
            raise EventError("audio came before a language to translate into", _OUTPUT_LANGUAGE, "missing_parameter")
        self._is_open = True
        model = self.served.own_name(self.handshake.asked("model"))
        request = SessionRequest(_FORMAT, targets=(self._language,), drafts=False, speech=self._speech, model=model)
        return [Open(request), Audio(audio)]

    def _close(self, event: dict[str, Any]) -> list[Command]:
        check_keys(event, (), "")
        if self._is_open and not self._is_closing:
            self._is_closing = True
            return [End()]
        return [] if self._is_closing else [Say(tuple(self._told_close()))]

    # What the client is told

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        if isinstance(event, Words) and self._input_model:
            text = event.text if self._has_told_input else event.text.lstrip()
            self._has_told_input = self._has_told_input or bool(text)
            return self._told_text("session.input_transcript.delta", text, event.words[-1].end_s)
        if isinstance(event, Translation):
            text = event.text if self._has_told_output else event.text.lstrip()
            self._has_told_output = self._has_told_output or bool(text)
            return self._told_text("session.output_transcript.delta", text, event.source_end_s)
        if isinstance(event, Spoken):
            return self._told_sound(event)
        if isinstance(event, TranslationSkipped | SpeechSkipped):
            span, done = f"{event.from_s:.1f} s to {event.to_s:.1f} s", "translated"
            if isinstance(event, SpeechSkipped):
                done = "spoken"
            skipped = Refusal(Reason.OVERLOADED, f"what was said from {span} is not {done}: {event.why}")
            return [self.event("error", error=error_object(skipped))]
        if isinstance(event, Failed):
            return self.told_failure(event)
        return self._told_close() if isinstance(event, Ended) else []

    def _told_text(self, kind: str, text: str, end_s: float) -> list[Reply]:
        return [self.event(kind, delta=text, elapsed_ms=_elapsed_ms(end_s))] if text else []

    def _told_sound(self, spoken: Spoken) -> list[Reply]:
        assert spoken.rate == self.speech_rate
        told = {"elapsed_ms": _elapsed_ms(spoken.source_end_s), "format": "pcm16", "channels": 1}
        return [
            self.event(
                "session.output_audio.delta",
                delta=base64.b64encode(spoken.pcm[start : start + _BYTES_PER_DELTA]).decode(),
                sample_rate=spoken.rate,
                **told,
            )
            for start in range(0, len(spoken.pcm), _BYTES_PER_DELTA)
        ]

    def _told_close(self) -> list[Reply]:
        return [self.event("session.closed"), Hangup()]

    def _told_session(self, what: str) -> str:
        transcription = {"model": self._input_model} if self._input_model else None
        audio = {
            "input": {"transcription": transcription, "noise_reduction": None},
            "output": {"language": self._language},
        }
        session = {
            "id": f"sess_{self.handshake.connection}",
            "type": "translation",
            "model": self._model,
            "expires_at": self.expires_at(),
            "audio": audio,
            "output_modalities": ["text", "audio"] if self._speech else ["text"],
        }
        return self.event(f"session.{what}", session=session)

    @property
    def _speech(self) -> tuple[str, ...]:
        """What is spoken: the translation, where there is a voice for it."""
        return (self._language,) if self._language and self._language in self.served.voices else ()


def _elapsed_ms(end_s: float) -> int:
    return int(end_s * 1000) // _FRAME_MS * _FRAME_MS
