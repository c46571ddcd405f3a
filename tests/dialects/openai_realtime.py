"""OpenAI's Realtime transcription, as the tests speak it: one commit at the end of the audio."""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from streaming.protocols.dialect import Handshake, Message
from streaming.protocols.openai_realtime import OpenAIRealtime
from streaming.sessions.request import SessionRequest
from streaming.settings import PcmFormat
from tests.dialects import Call, Port, Speaker, ToldError, WebSocketCall

PATH = "/v1/realtime?intent=transcription"
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


def update(**audio_input: Any) -> str:
    """Write a `session.update` of the audio that goes in."""
    return json.dumps({"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio_input}}})


def append(data: bytes, kind: str = "input_audio_buffer.append") -> str:
    return json.dumps({"type": kind, "audio": base64.b64encode(data).decode()})


def bare(kind: str) -> str:
    return json.dumps({"type": kind})


COMMIT, CLEAR = bare("input_audio_buffer.commit"), bare("input_audio_buffer.clear")
MANUAL = update(turn_detection=None)


class EventCall(WebSocketCall):
    """Events both ways; an error is raised, though the connection would go on."""

    def __init__(self, port: int, path: str, token: str = "", **options: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        super().__init__(port, path, additional_headers=headers, **options)

    def __enter__(self) -> "EventCall":
        return self

    def send(self, data: bytes) -> None:
        self.say(append(data))

    def end(self) -> None:
        self.say(COMMIT)

    def said(self) -> Iterator[str]:
        raise NotImplementedError

    def events(self) -> Iterator[dict[str, Any]]:
        for message in self.heard():
            event = json.loads(message)
            if event["type"] == "error":
                raise ToldError(event["error"]["code"], event["error"]["message"])
            yield event

    def until(self, kind: str) -> list[dict[str, Any]]:
        """Return all events up to the first of this kind."""
        events = list[dict[str, Any]]()
        for event in self.events():
            events.append(event)
            if event["type"] == kind:
                return events
        raise AssertionError(f"{kind} never came")


class RealtimeCall(EventCall):
    def __init__(self, port: int, token: str = "", path: str = PATH, setup: str = MANUAL) -> None:
        super().__init__(port, path, token)
        self.say(setup)

    def said(self) -> Iterator[str]:
        """An item has no space before it, and no goodbye follows it."""
        deltas = list[str]()
        try:
            for event in self.events():
                if event["type"] == DELTA:
                    yield event["delta"] if deltas else f" {event['delta']}"
                    deltas.append(event["delta"])
                elif event["type"] == COMPLETED:
                    assert "".join(deltas) == event["transcript"]
                    return
                elif event["type"] == FAILED:
                    raise ToldError(event["error"]["code"], event["error"]["message"])
        except ToldError as error:
            # There was nothing to commit.
            if error.args[0] != "input_audio_buffer_commit_empty":
                raise


class OpenAIRealtimeSpeaker(Speaker):
    name, speaks = "openai", OpenAIRealtime
    request = SessionRequest(PcmFormat("s16le", 24_000), voice={"vad": False}, drafts=False)
    names_models = True

    def call(self, served: Port, token: str = "") -> Call:
        return RealtimeCall(served.port, token)

    def call_model(self, served: Port, model: str) -> Call:
        return RealtimeCall(served.port, setup=update(turn_detection=None, transcription={"model": model}))

    def examples(self) -> Sequence[Message]:
        turn = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
        transcription = {"model": "whisper-1", "language": "en", "prompt": "a b", "keywords": ["c"], "delay": "low"}
        flat = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": turn,
            "input_audio_noise_reduction": {"type": "near_field"},
            "include": ["item.input_audio_transcription.logprobs"],
        }
        return [
            MANUAL,
            update(turn_detection={"type": "semantic_vad", "eagerness": "high"}, noise_reduction=None),
            update(format={"type": "audio/pcm", "rate": 24_000}, transcription=transcription, turn_detection=turn),
            update(format={"type": "audio/pcma"}, transcription={"languages": ["en", "de"]}),
            json.dumps({"type": "transcription_session.update", "event_id": "mine", "session": flat}),
            append(bytes(4_800)),
            COMMIT,
            CLEAR,
        ]

    def handshakes(self) -> Sequence[Handshake]:
        queries: tuple[dict[str, list[str]], ...] = (
            {},
            {"intent": ["transcription"]},
            {"intent": ["\0"]},
            {"model": ["gpt-nothing"]},
            {"model": [""]},
        )
        headers = {"openai-beta": "realtime=v1", "authorization": "Bearer  x"}
        return [
            Handshake(
                "somebody", 1_700_000_000.0, "/v1/realtime", query, headers, ("realtime", "openai-insecure-api-key.")
            )
            for query in queries
        ]


SPEAKER = OpenAIRealtimeSpeaker()
