"""WhisperLiveKit's protocol: raw audio in, and the state of the transcript out, whole or in differences."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from streaming.protocols.dialect import Handshake, Message
from streaming.protocols.whisperlivekit import WhisperLiveKit
from tests.dialects import Port, Speaker, ToldError, WebSocketCall


def joined(lines: Sequence[dict[str, Any]]) -> str:
    """Return the lines as the official client joins them."""
    return "".join(f" {line['text']}" for line in lines if line["text"])


class WhisperLiveKitCall(WebSocketCall):
    """seen: what a reader saw, lines and buffer, and when by the monotonic clock."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(port, path)
        self._lines = list[dict[str, Any]]()
        self.seen = list[tuple[float, str]]()

    def send(self, data: bytes) -> None:
        # An empty message is the end.
        if data:
            self.say(data)

    def end(self) -> None:
        self.say(b"")

    def said(self) -> Iterator[str]:
        told, is_over = "", False
        for message in self.heard():
            said = json.loads(message)
            assert not is_over, "something was told after the goodbye"
            if error := said.get("error"):
                raise ToldError(error)
            if said.get("type") == "ready_to_stop":
                is_over = True
            elif said.get("type") != "config":
                text = joined(self._state(said))
                self.seen.append((time.monotonic(), text + said["buffer_transcription"]))
                assert text.startswith(told), "what was told has changed"
                yield text[len(told) :]
                told = text
        assert is_over, "there was no goodbye"

    def _state(self, said: dict[str, Any]) -> list[dict[str, Any]]:
        """Return all lines; new ones are appended, as the official client does."""
        if said.get("type") != "diff":
            self._lines = said["lines"]
        else:
            self._lines += said.get("new_lines", [])
            assert len(self._lines) == said["n_lines"]
            assert "lines_pruned" not in said
        return self._lines


class WhisperLiveKitSpeaker(Speaker):
    name = "whisperlivekit"
    speaks = WhisperLiveKit
    mode = "full"

    def call(self, served: Port, token: str = "") -> WhisperLiveKitCall:
        return WhisperLiveKitCall(served.port, f"/asr?mode={self.mode}" + (f"&token={token}" if token else ""))

    def examples(self) -> Sequence[Message]:
        return [b"\0\1" * 100, b"\x1aE\xdf\xa3" + b"\0" * 20, b"", "stop", '{"type":"end"}']

    def handshakes(self) -> Sequence[Handshake]:
        right: dict[str, tuple[str, ...]] = {
            "mode": (self.mode,),
            "language": ("en",),
            "target_language": ("de",),
            "pcm_input": ("true",),
        }
        queries: list[dict[str, tuple[str, ...]]] = [{}, {"mode": (self.mode,)}, right]
        return [Handshake("somebody", 1_700_000_000.0, "/asr", query) for query in queries]


class WhisperLiveKitDiffSpeaker(WhisperLiveKitSpeaker):
    mode = "diff"
    # Lines of its clients only grow in number; words of a line that grows stand in a buffer until it is full.
    tells_at_once = False
