"""Deepgram's live transcription, in a few lines of websockets; and its dialect without any."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from streaming.protocols.deepgram import PATH, Deepgram
from streaming.protocols.dialect import Handshake, Message, Served
from tests.dialects import Port, Speaker, ToldError, WebSocketCall

LINEAR16 = "encoding=linear16&sample_rate=16000"
QUERY = f"model=nova-3&{LINEAR16}"
SERVED = Served("base", (), ("en", "de", "zh", "jw"), ("transcribe",), (), "1.0")
_FOLLOWS_AT_ONCE = (",", ".", "!", "?", ":", ";", "'")


def spoken(query: str = LINEAR16, **options: Any) -> Deepgram:
    """A connection with a query, not yet begun."""
    values: dict[str, list[str]] = {}
    for name, _, value in (part.partition("=") for part in query.split("&") if part):
        values.setdefault(name, []).append(value)
    return Deepgram(Handshake("somebody", 1_700_000_000.0, PATH, values, **options), SERVED)


class DeepgramCall(WebSocketCall):
    def __enter__(self) -> "DeepgramCall":
        return self

    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.say('{"type":"CloseStream"}')

    def said(self) -> Iterator[str]:
        """A transcript has no space around it; its clients put one between."""
        final_s, last = 0.0, {"type": ""}
        for text in self.heard():
            assert isinstance(text, str)
            last = json.loads(text)
            if last["type"] == "Error":
                raise ToldError(last["description"])
            if last["type"] == "Results" and last["is_final"]:
                assert abs(last["start"] - final_s) < 0.002, "ranges follow one another without a gap"
                final_s = last["start"] + last["duration"]
                transcript = last["channel"]["alternatives"][0]["transcript"]
                if transcript:
                    yield transcript if transcript.startswith(_FOLLOWS_AT_ONCE) else f" {transcript}"
        assert last["type"] == "Metadata", last


class DeepgramSpeaker(Speaker):
    name = "deepgram"
    speaks = Deepgram
    names_models = True

    def call_model(self, served: Port, model: str) -> DeepgramCall:
        return DeepgramCall(served.port, f"{PATH}?model={model}&{LINEAR16}")

    def call(self, served: Port, token: str = "") -> DeepgramCall:
        headers = {"Authorization": f"Token {token}"} if token else {}
        return DeepgramCall(served.port, f"{PATH}?{QUERY}", additional_headers=headers)

    def examples(self) -> Sequence[Message]:
        kinds = ("KeepAlive", "Finalize", "CloseStream", "Configure")
        more = [{"type": "Finalize", "channel": 0}, {"type": "Configure", "keyterms": ["one"], "features": {"a": True}}]
        return [b"\0\1" * 100, *(json.dumps({"type": kind}) for kind in kinds), *map(json.dumps, more)]

    def handshakes(self) -> Sequence[Handshake]:
        queries: Sequence[dict[str, tuple[str, ...]]] = (
            {},
            {"encoding": ("linear16",), "sample_rate": ("16000",)},
            {"encoding": ("mulaw",), "sample_rate": ("8000",), "channels": ("2",), "interim_results": ("true",)},
            {"encoding": ("linear16",), "sample_rate": ("١٦",), "endpointing": ("²",), "utterance_end_ms": ("-1",)},
            {"language": ("\0",), "keyterm": ("a", "b" * 5_000), "diarize": ("true",)},
        )
        return [Handshake("somebody", 1_700_000_000.0, PATH, query) for query in queries]
