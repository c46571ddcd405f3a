"""WhisperLive's protocol: options, floats, and segments that are told again until they are completed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from streaming.protocols.dialect import Handshake, Message
from streaming.protocols.whisper_live import END_OF_AUDIO, WhisperLive
from streaming.sessions.request import SessionRequest
from streaming.settings import PcmFormat
from tests.dialects import Port, Speaker, ToldError, WebSocketCall

UID = "6a1f"
HELLO: dict[str, Any] = {
    "uid": UID,
    "language": None,
    "task": "transcribe",
    "model": "small",
    "use_vad": False,
    "send_last_n_segments": 3,
    "no_speech_thresh": 0.45,
    "clip_audio": False,
    "same_output_threshold": 10,
    "enable_translation": False,
    "target_language": "fr",
    "hotwords": None,
    "enable_diarization": False,
    "max_speakers": 10,
    "known_speakers": [],
    "word_timestamps": True,
    "initial_prompt": None,
    "vad_parameters": None,
}


class WhisperLiveCall(WebSocketCall):
    def __init__(self, port: int, path: str, hello: dict[str, Any]) -> None:
        super().__init__(port, path)
        self.say(json.dumps(hello))
        # By their start: what was told of each segment.
        self._segments = dict[str, dict[str, Any]]()

    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.say(END_OF_AUDIO)

    def said(self) -> Iterator[str]:
        is_over = False
        for message in self.heard():
            said = json.loads(message)
            assert not is_over, "something was told after the goodbye"
            if said.get("status") in ("ERROR", "WAIT"):
                raise ToldError(str(said["message"]))
            assert said["uid"] == UID
            is_over = said.get("message") == "DISCONNECT"
            for segment in said.get("segments", ()):
                yield self._grown(segment)
        assert is_over, "there was no goodbye"
        assert all(each["completed"] for each in self._segments.values())

    def _grown(self, segment: dict[str, Any]) -> str:
        """Return what is new in a segment."""
        before = self._segments.get(segment["start"], {"text": "", "completed": False, "end": segment["start"]})
        assert segment == before or not before["completed"], "a completed segment has changed"
        assert segment["text"].startswith(before["text"]), "what was told has changed"
        assert segment["text"] == "".join(word["word"] for word in segment["words"])
        assert float(segment["end"]) >= float(before["end"])
        assert float(segment["end"]) > float(segment["start"])
        self._segments[segment["start"]] = segment
        return str(segment["text"][len(before["text"]) :])


class WhisperLiveSpeaker(Speaker):
    name = "whisper-live"
    speaks = WhisperLive
    names_models = True
    request = SessionRequest(PcmFormat("f32le"), voice={"vad": False}, drafts=False)

    def call(self, served: Port, token: str = "") -> WhisperLiveCall:
        return WhisperLiveCall(served.dialect_ports[self.name], f"/?token={token}" if token else "/", HELLO)

    def call_model(self, served: Port, model: str) -> WhisperLiveCall:
        return WhisperLiveCall(served.dialect_ports[self.name], "/", {**HELLO, "model": model})

    def examples(self) -> Sequence[Message]:
        greedy = {**HELLO, "audio_format": "int16", "vad_parameters": {"threshold": 0.5, "speech_pad_ms": 400}}
        return [json.dumps(HELLO), json.dumps(greedy), b"\0\0\0\x3f" * 50, END_OF_AUDIO, "END_OF_AUDIO"]

    def handshakes(self) -> Sequence[Handshake]:
        return [Handshake("somebody", 1_700_000_000.0, "/", {}, {}, ("bearer", "sesame"))]
