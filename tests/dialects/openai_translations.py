"""OpenAI's Realtime translations, as the tests speak it: into English, with what is said beside it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from streaming.protocols.dialect import Handshake, Message
from streaming.protocols.openai_translations import OpenAITranslations
from streaming.sessions.request import SessionRequest
from streaming.settings import PcmFormat
from tests.dialects import Call, Port, Speaker
from tests.dialects.openai_realtime import EventCall, append, bare

PATH = "/v1/realtime/translations?model=gpt-realtime-translate"
INPUT, OUTPUT, CLOSED = "session.input_transcript.delta", "session.output_transcript.delta", "session.closed"
CLOSE = bare("session.close")


def update(language: str | None = "en", **audio_input: Any) -> str:
    """Write a `session.update`; without more, what is said is told too."""
    heard = audio_input or {"transcription": {"model": "gpt-realtime-whisper"}}
    audio = {"input": heard, "output": {"language": language}}
    return json.dumps({"type": "session.update", "session": {"audio": audio}})


class TranslationsCall(EventCall):
    def __init__(self, port: int, token: str = "", language: str = "en", path: str = PATH) -> None:
        super().__init__(port, path, token)
        self.say(update(language))

    def send(self, data: bytes) -> None:
        self.say(append(data, "session.input_audio_buffer.append"))

    def end(self) -> None:
        self.say(CLOSE)

    def said(self) -> Iterator[str]:
        """What was said, and not its translation. The text has no space before it."""
        has_begun = is_closed = False
        for event in self.events():
            if event["type"] == INPUT:
                yield event["delta"] if has_begun else f" {event['delta']}"
                has_begun = True
            is_closed = event["type"] == CLOSED
        assert is_closed


class OpenAITranslationsSpeaker(Speaker):
    name, speaks = "openai", OpenAITranslations
    request = SessionRequest(PcmFormat("s16le", 24_000), targets=("en",), drafts=False)
    names_models = True

    def call(self, served: Port, token: str = "") -> Call:
        return TranslationsCall(served.port, token)

    def call_model(self, served: Port, model: str) -> Call:
        return TranslationsCall(served.port, path=PATH.replace("gpt-realtime-translate", model))

    def examples(self) -> Sequence[Message]:
        return [
            update(),
            update(None, transcription=None, noise_reduction={"type": "far_field"}),
            append(bytes(4_800), "session.input_audio_buffer.append"),
            CLOSE,
        ]

    def handshakes(self) -> Sequence[Handshake]:
        queries: tuple[dict[str, list[str]], ...] = (
            {},
            {"model": ["gpt-realtime-translate"]},
            {"model": ["gpt-nothing"]},
        )
        path = "/v1/realtime/translations"
        return [Handshake("somebody", 1_700_000_000.0, path, query) for query in queries]


SPEAKER = OpenAITranslationsSpeaker()
