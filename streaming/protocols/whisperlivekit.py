"""WhisperLiveKit's protocol at `/asr`: audio in binary frames, and the state of the transcript after every change.

What the audio is nobody says: the client's page sends what its browser records, its test client the bytes of a file,
and others raw s16le. The first bytes tell. In full mode each update has all lines, and the last may grow. In diff mode
documented clients append what comes, so a line is told once it is whole, translation included; until then its text
stands in the buffers. Read from whisperlivekit 0.2.26, `basic_server.py`, `diff_protocol.py` and `timed_objects.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from simul_whisper import AlignAttConfig
from streaming.events import (
    Cleared,
    Draft,
    Ended,
    Event,
    Failed,
    Flushed,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.protocols.containers import HEAD_BYTES, is_container
from streaming.protocols.dialect import (
    CLOSE_REFUSED,
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
    close_code,
)
from streaming.protocols.reading import refuse, shown, target_code
from streaming.protocols.segments import Segment, Segments
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

_CLOSE_PARAMETERS, _CLOSE_TOKEN = 4400, 4401
_MODES = ("full", "diff")
_SPEAKER, _SILENCE = 1, -2
# WhisperLiveKit tells of silence from here on.
_SILENCE_MS = 5_000
# What is not known is told as 0.
_REMAINING = (
    "remaining_time_transcription",
    "remaining_time_transcription_processing",
    "remaining_time_transcription_policy",
    "remaining_time_diarization",
)
# Lines that wait for their translation; more are told without it.
_MOST_WAITING = 20


@dataclass(frozen=True)
class _Silence:
    start_ms: int
    end_ms: int
    text: str = ""
    language: str | None = None


@dataclass
class _Line:
    """translation: of what was said, as far as there is one."""

    said: Segment | _Silence
    translation: str = ""

    # As it was told, while it is as it was: in full mode all lines are told again and again.
    _written: str = ""

    def changed(self) -> None:
        self._written = ""

    def written(self, *, with_language: bool) -> str:
        if not self._written:
            self._written = json.dumps(self._message(with_language=with_language))
        return self._written

    def _message(self, *, with_language: bool) -> dict[str, Any]:
        said = self.said
        message = {
            "speaker": _SPEAKER if isinstance(said, Segment) else _SILENCE,
            "text": said.text.strip(),
            "start": _clock(said.start_ms),
            "end": _clock(said.end_ms),
        }
        if self.translation:
            message["translation"] = self.translation.strip()
        if with_language and said.language:
            message["detected_language"] = said.language
        return message


class WhisperLiveKit(Dialect):
    """A connection is a session, which begins with the first audio."""

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self._is_diff, self._request = False, SessionRequest()
        # None: the first bytes tell.
        self._is_raw: bool | None = None
        self._held = b""
        self._is_open = self._has_end = self._is_over = False
        self._segments = Segments()
        # In full mode all lines, in diff mode those that were not told yet; the last may be that of the open segment.
        self._lines = list[_Line]()
        self._n_lines, self._seq, self._last = 0, 0, ""
        self._draft = self._draft_translation = ""
        # A translation that came when there was no line to put it in.
        self._early = ""
        self._silent_from_ms, self._translated_ms = 0, 0

    def token(self) -> str:
        scheme, _, token = self.handshake.headers.get("authorization", "").partition(" ")
        return self.handshake.asked("token") or (token.strip() if scheme.lower() in ("bearer", "token") else "")

    # What the client says

    def begin(self) -> list[Command]:
        mode, raw = self._choice("mode", _MODES), self._choice("pcm_input", ("", "true", "false"))
        self._is_diff, self._is_raw = mode == "diff", {"true": True, "false": False}.get(raw)
        language, target = self.handshake.asked("language"), self.handshake.asked("target_language")
        engine = {"language": language} if language else {}
        request = SessionRequest(engine=engine, targets=(target_code(target),) if target else ())
        code = request.engine_config(AlignAttConfig()).language
        self._check("language", {code} if language else set(), ("auto", *self.served.languages))
        self._check("target_language", set(request.targets), self.served.targets)
        self._request = request
        # A browser that is not told to send raw audio records a container.
        return [Say((json.dumps({"type": "config", "useAudioWorklet": self._is_raw is True, "mode": mode}),))]

    def _choice(self, name: str, choices: Sequence[str]) -> str:
        asked = self.handshake.asked(name) or choices[0]
        if asked not in choices:
            refuse(Reason.BAD_VALUE, f"got {name} {shown(asked)}, expected {' or '.join(filter(None, choices))}")
        return asked

    def _check(self, name: str, asked: set[str], there: Sequence[str]) -> None:
        """What is there is known once the model is ready."""
        if self.served.model and not asked <= set(there):
            refuse(Reason.CONFIG, f"got {name} {asked.pop()}, expected one of {', '.join(there) or 'none'}")

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        if isinstance(message, str):
            refuse(Reason.UNKNOWN_TYPE, f"got the text {shown(message)}, expected audio in binary frames")
        # A page still sends what its recorder has when it has said that this was all.
        if self._has_end:
            return []
        self._has_end = not message
        if self._is_open:
            return [Audio(message) if message else End()]
        self._held += message
        if len(self._held) < HEAD_BYTES and not self._has_end:
            return []
        self._is_open = True
        return [*self._opening(), *([End()] if self._has_end else [])]

    def _opening(self) -> list[Command]:
        held, self._held = self._held, b""
        is_raw = not is_container(held) if self._is_raw is None else self._is_raw
        request = replace(self._request, audio=PcmFormat() if is_raw else None)
        return [Open(request), *([Audio(held)] if held else [])]

    # What the client is told

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        self._take(event)
        if isinstance(event, Failed):
            return self._updated(error=event.message)
        if isinstance(event, Ended):
            return [*self._updated(), json.dumps({"type": "ready_to_stop"}), Hangup()]
        return self._updated()

    def refuse(self, refusal: Refusal) -> list[Reply]:
        code = close_code(refusal.reason)
        if refusal.reason is Reason.UNAUTHORIZED:
            code = _CLOSE_TOKEN
        elif code == CLOSE_REFUSED:
            code = _CLOSE_PARAMETERS
        return [json.dumps({"type": "error", "error": str(refusal)}), Hangup(code, refusal.reason.value)]

    def _take(self, event: Event) -> None:
        if isinstance(event, Words):
            self._take_words(event)
        elif isinstance(event, Draft):
            self._draft = event.text
        elif isinstance(event, Translation):
            self._take_translation(event)
        elif isinstance(event, TranslationDraft):
            self._draft_translation = event.text
        elif isinstance(event, TranslationSkipped):
            self._translated_ms = max(self._translated_ms, round(event.to_s * 1000))
        elif isinstance(event, SpeechStarted):
            self._end_silence(round(event.at_s * 1000))
        elif isinstance(event, SpeechEnded):
            self._segments.close()
            # The last word may end a little later than the sound of it.
            self._silent_from_ms = max(self._silent_from_ms, round(event.at_s * 1000))
        elif isinstance(event, Flushed | Cleared | Recognised):
            self._segments.close()
        elif isinstance(event, Ended | Failed):
            self._segments.close()
            self._is_over = True
            self._draft = self._draft_translation = ""

    def _take_words(self, event: Words) -> None:
        # The next draft, if there is one, follows these words.
        self._draft = ""
        for segment in self._segments.feed(event.words, event.utterance):
            self._silent_from_ms = max(self._silent_from_ms, segment.end_ms)
            if not (self._lines and self._lines[-1].said is segment):
                self._lines.append(_Line(segment, self._early))
                self._early = ""
            self._lines[-1].changed()

    def _end_silence(self, until_ms: int) -> None:
        if until_ms - self._silent_from_ms >= _SILENCE_MS:
            self._segments.close()
            self._lines.append(_Line(_Silence(self._silent_from_ms, until_ms)))

    def _take_translation(self, event: Translation) -> None:
        """Put each word into the last line that had begun where it is said."""
        self._draft_translation = ""
        self._translated_ms = max(self._translated_ms, round(event.source_end_s * 1000))
        spoken = [line for line in self._lines if isinstance(line.said, Segment)]
        for word in event.words:
            said_ms = 1000 * min(max(word.start_s, event.source_start_s), event.source_end_s)
            begun = (line for line in reversed(spoken) if line.said.start_ms <= said_ms)
            line = next(begun, spoken[0] if spoken else None)
            if line:
                line.translation += word.text
                line.changed()
            else:
                self._early += word.text

    def _updated(self, error: str = "") -> list[Reply]:
        """Return the state if it has changed."""
        is_diff = self._is_diff
        new = self._settled() if is_diff else self._lines
        waiting = self._lines if is_diff else []
        is_chosen = self._request.engine.get("language", "auto") != "auto"
        lines = [line.written(with_language=not is_chosen) for line in new]
        self._n_lines = self._n_lines + len(lines) if is_diff else len(lines)
        buffers = {
            "buffer_transcription": "".join(line.said.text for line in waiting) + self._draft,
            "buffer_diarization": "",
            "buffer_translation": "".join(line.translation for line in waiting) + self._early + self._draft_translation,
        }
        status = "active_transcription" if self._n_lines or any(buffers.values()) else "no_audio_detected"
        state: dict[str, Any] = {"status": "error" if error else status, **buffers, **dict.fromkeys(_REMAINING, 0)}
        state |= {"error": error} if error else {}
        name = "lines"
        if is_diff and self._seq:
            name = "new_lines"
            state |= {"type": "diff", "n_lines": self._n_lines}
        elif is_diff:
            state["type"] = "snapshot"
        text = json.dumps(state)
        if lines or name == "lines":
            text = f'{text[:-1]}, "{name}": [{", ".join(lines)}]}}'
        if text == self._last:
            return []
        self._last, self._seq = text, self._seq + 1
        return [f'{text[:-1]}, "seq": {self._seq}}}' if is_diff else text]

    def _settled(self) -> list[_Line]:
        """Take out the lines that will not change."""
        n = 0
        while n < len(self._lines) and self._is_settled(self._lines[n], len(self._lines) - n):
            n += 1
        settled, self._lines = self._lines[:n], self._lines[n:]
        return settled

    def _is_settled(self, line: _Line, n_waiting: int) -> bool:
        if line.said is self._segments.open:
            return False
        # What comes last for a line may come when all of it has been read.
        is_translated = not self._request.targets or self._translated_ms > line.said.end_ms
        return is_translated or self._is_over or isinstance(line.said, _Silence) or n_waiting > _MOST_WAITING


def _clock(ms: int) -> str:
    hundredths = round(ms / 10)
    minutes, seconds = divmod(hundredths // 100, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}.{hundredths % 100:02}"
