"""OpenAI's uploads: a form in chunks, whose file is a recording that grows, answered by a stream of events."""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence

from streaming.protocols.dialect import Message
from tests.dialects import Call, Port, Speaker, ToldError
from tests.streaming.server.uploading import BOUNDARY, Uploader, form_of, head_of

_BEFORE, _AFTER = form_of(b"\0", stream="true").split(b"\0")
# How long it will be is not known yet.
_ENDLESS = 0xFFFFFFFF
_FORM = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
_WAV = b"RIFF" + struct.pack("<I", _ENDLESS) + b"WAVEfmt " + struct.pack("<I", 16) + _FORM + b"data\xff\xff\xff\xff"


class OpenAiRestCall(Call):
    def __init__(self, port: int, token: str, form: bytes = _BEFORE) -> None:
        """form: what stands before the file."""
        self._uploader = Uploader(port)
        self._uploader.say(head_of(None, headers=f"Authorization: Bearer {token}\r\n" if token else ""))
        self.say(form + _WAV)

    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.say(_AFTER)
        self._uploader.say(b"0\r\n\r\n")

    def said(self) -> Iterator[str]:
        status, headers = self._uploader.head()
        if status != 200:
            raise ToldError(self._uploader.rest(headers))
        is_first, text = True, ""
        while piece := self._uploader.piece():
            for line in piece.split("\n\n"):
                if line in ("", "data: [DONE]"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise ToldError(event["error"]["message"])
                if event["type"] == "transcript.text.done":
                    assert event["text"] == text
                    return
                assert event["type"] == "transcript.text.delta"
                text += event["delta"]
                yield f" {event['delta']}" if is_first else event["delta"]
                is_first = False
        raise AssertionError("the stream of events ended without its last event")

    def say(self, message: Message) -> None:
        """Send it as a part of the form."""
        data = message.encode("utf-8", "replace") if isinstance(message, str) else message
        if data:
            self._uploader.say(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def vanish(self) -> None:
        self._uploader.vanish()

    def close(self) -> None:
        self._uploader.close()


class OpenAiRestSpeaker(Speaker):
    """It speaks no `Dialect`: what is uploaded is no conversation."""

    name = "openai"
    names_models = True

    def call(self, served: Port, token: str = "") -> OpenAiRestCall:
        return OpenAiRestCall(served.port, token)

    def call_model(self, served: Port, model: str) -> OpenAiRestCall:
        return OpenAiRestCall(served.port, "", form_of(b"\0", stream="true", model=model).split(b"\0")[0])

    def transcript(self, served: Port, pcm: bytes, *, pieces: Iterable[int] = ()) -> str:
        try:
            return super().transcript(served, pcm, pieces=pieces)
        except ToldError:
            if pcm:
                raise
            # A recording of nothing is an error.
            return ""

    def examples(self) -> Sequence[Message]:
        return [
            _BEFORE,
            _AFTER,
            f"--{BOUNDARY}\r\n",
            'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n',
        ]
