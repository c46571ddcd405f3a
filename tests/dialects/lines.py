"""whisper_streaming's lines and SimulStreaming's: ten lines of socket each."""

import json
from collections.abc import Iterator, Sequence

from streaming.protocols.dialect import Message
from streaming.protocols.lines import JsonLines, Lines
from tests.dialects import Port, Speaker, StreamCall, ToldError


class LinesCall(StreamCall):
    def said(self) -> Iterator[str]:
        with self.socket.makefile(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("error: "):
                    raise ToldError(line)
                begin, end, text = line.rstrip("\n").split(" ", 2)
                assert 0 <= int(begin) <= int(end)
                yield text


class JsonLinesCall(StreamCall):
    def said(self) -> Iterator[str]:
        is_final = True
        with self.socket.makefile(encoding="utf-8") as lines:
            for line in lines:
                said = json.loads(line)
                if "error" in said:
                    raise ToldError(said["error"])
                is_final = said["is_final"]
                if not is_final:
                    assert said["text"] == "".join(word["text"] for word in said["words"])
                    yield said["text"]
        assert is_final, "the last utterance was not ended"


class LinesSpeaker(Speaker):
    name = "lines"
    speaks = Lines
    asks_for_token = False

    def call(self, served: Port, token: str = "") -> LinesCall:  # noqa: ARG002
        return LinesCall(served.dialect_ports[self.name])

    def examples(self) -> Sequence[Message]:
        return [b"\0\1" * 100]


class JsonLinesSpeaker(LinesSpeaker):
    name = "lines-json"
    speaks = JsonLines

    def call(self, served: Port, token: str = "") -> JsonLinesCall:  # type: ignore[override]  # noqa: ARG002
        return JsonLinesCall(served.dialect_ports[self.name])
