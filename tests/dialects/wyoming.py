"""Wyoming's events over TCP, as Home Assistant sends them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streaming.protocols.dialect import Message
from streaming.protocols.wyoming import Wyoming
from tests.dialects import Port, Speaker, StreamCall, ToldError

S16_MONO = {"rate": 16_000, "width": 2, "channels": 1}


def event(kind: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> bytes:
    written = json.dumps(data).encode() if data else b""
    head = {"type": kind, "version": "1.10.2", "data_length": len(written), "payload_length": len(payload)}
    return json.dumps({name: value for name, value in head.items() if value}).encode() + b"\n" + written + payload


class WyomingCall(StreamCall):
    def __init__(self, port: int, **wishes: str) -> None:
        super().__init__(port)
        self.say(event("transcribe", {"language": "en", **wishes}) + event("audio-start", S16_MONO))

    def send(self, data: bytes) -> None:
        self.say(event("audio-chunk", {**S16_MONO, "timestamp": None}, data))

    def end(self) -> None:
        self.say(event("audio-stop", {"timestamp": None}))

    def said(self) -> Iterator[str]:
        """Words begin with a space, but for the first, as the transcript does."""
        texts = list[str]()
        with self.socket.makefile("rb") as lines:
            for line in lines:
                head = json.loads(line)
                data = json.loads(lines.read(head["data_length"])) if "data_length" in head else {}
                if head["type"] == "error":
                    raise ToldError(data["text"])
                assert (head["type"] == "transcript-start") == (not texts)
                if head["type"] == "transcript-start":
                    texts.append("")
                elif head["type"] == "transcript-chunk":
                    texts.append(data["text"] if len(texts) > 1 else f" {data['text']}")
                    yield texts[-1]
                elif head["type"] == "transcript":
                    assert data["text"] == "".join(texts).lstrip()
                else:
                    assert head["type"] == "transcript-stop"
                    return
        raise AssertionError("closed before the transcript was told")


class WyomingSpeaker(Speaker):
    name = "wyoming"
    speaks = Wyoming
    asks_for_token = False
    names_models = True

    def call(self, served: Port, token: str = "") -> WyomingCall:  # noqa: ARG002
        return WyomingCall(served.dialect_ports[self.name])

    def call_model(self, served: Port, model: str) -> WyomingCall:
        return WyomingCall(served.dialect_ports[self.name], name=model)

    def examples(self) -> Sequence[Message]:
        transcribe = {
            "name": "tones",
            "language": "en",
            "context": {"a": 1},
            "vad_sensitivity": "relaxed",
            "transcript_names": ["Ada"],
            "transcript_terms": ["AlignAtt"],
        }
        in_line = {"type": "transcribe", "data": transcribe}
        return [
            event("transcribe", transcribe),
            json.dumps(in_line).encode() + b"\n",
            event("audio-start", S16_MONO),
            event("audio-chunk", {**S16_MONO, "timestamp": 0}, b"\1\2" * 160),
            event("audio-chunk", {**S16_MONO, "width": 3}, b"\1\2\3" * 160),
            event("audio-stop", {"timestamp": 10}),
            event("describe"),
            event("ping", {"text": "a"}),
            event("select-program", {"name": "simul-whisper"}),
        ]
