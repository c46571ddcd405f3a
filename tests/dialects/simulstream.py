"""simulstream, as its client speaks it: metadata, the last chunk twice, and the end of the stream."""

import json
from collections.abc import Iterator, Sequence

from streaming.protocols.dialect import Message
from streaming.protocols.simulstream import Simulstream
from tests.dialects import Port, Speaker, ToldError, WebSocketCall


class SimulstreamCall(WebSocketCall):
    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.say('{"end_of_stream": true}')

    def said(self) -> Iterator[str]:
        for message in self.heard():
            said = json.loads(message)
            if "error" in said:
                raise ToldError(said["error"])
            if "end_of_processing" in said:
                return
            assert said["deleted"] == ""
            yield said["new"]
        raise AssertionError("closed before the end of processing")


class SimulstreamSpeaker(Speaker):
    name = "simulstream"
    speaks = Simulstream

    def call(self, served: Port, token: str = "") -> SimulstreamCall:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return SimulstreamCall(served.port, "/simulstream", additional_headers=headers)

    def examples(self) -> Sequence[Message]:
        metadata = {
            "sample_rate": 16000,
            "source_lang": "en",
            "target_lang": "en",
            "metrics_metadata": {"wav_name": "a"},
        }
        return [json.dumps(metadata), b"\1\0" * 160, '{"end_of_stream": true}', '{"target_lang": "de"}']
