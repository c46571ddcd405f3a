"""whisper_streaming's lines: ten lines of socket."""

from collections.abc import Iterator, Sequence

from streaming.protocols.dialect import Message
from streaming.protocols.lines import Lines
from tests.dialects import Port, Speaker, StreamCall, ToldError


class LinesCall(StreamCall):
    def said(self) -> Iterator[str]:
        with self.socket.makefile(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("error: "):
                    raise ToldError(line)
                begin, end, text = line.rstrip("\n").split(" ", 2)
                assert 0 <= int(begin) <= int(end)
                yield f" {text}"


class LinesSpeaker(Speaker):
    name = "lines"
    speaks = Lines
    asks_for_token = False

    def call(self, served: Port, token: str = "") -> LinesCall:  # noqa: ARG002
        return LinesCall(served.dialect_ports[self.name])

    def examples(self) -> Sequence[Message]:
        return [b"\0\1" * 100]
