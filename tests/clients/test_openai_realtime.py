"""OpenAI's own clients speak Realtime transcription and translations with this server: in Python, and in node."""

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simul_whisper import Model
from streaming.server.access import Access
from streaming.server.tls import Tls
from streaming.server.tokens import Tokens
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.dialects.openai_realtime import SPEAKER
from tests.streaming.serving import CONFIG, PATIENCE_S, Served, s16, serving
from tests.tones import english, random_words, speech_of, tone_model

openai = pytest.importorskip("openai")
pytest.importorskip("websockets")

# The client calls websockets in the way that was usual before its version 17.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as:DeprecationWarning")

SPEECH = speech_of(random_words(12, 5))
AUDIO = SPEAKER.encoded(s16(SPEECH.samples))
# A tenth of a second.
PIECES = [base64.b64encode(AUDIO[at : at + 4_800]).decode() for at in range(0, len(AUDIO), 4_800)]
HERE = Path(__file__).parent
KEY = "sk-of-this-server"
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
TRANSCRIPTION: Any = {"extra_query": {"intent": "transcription"}}


def session(turn_detection: Any = None, **more: Any) -> Any:
    """A session of transcription."""
    audio_input = {
        "format": {"type": "audio/pcm", "rate": 24_000},
        "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
        "turn_detection": turn_detection,
    }
    return {"type": "transcription", "audio": {"input": audio_input}, **more}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(access=Access(Tokens({"me": KEY}))) as running:
        yield running


def client(served: Served, kind: str = "OpenAI", key: str = KEY) -> Any:
    return getattr(openai, kind)(api_key=key, base_url=f"http://127.0.0.1:{served.port}/v1", max_retries=0)


def until(connection: Any, kind: str) -> list[Any]:
    events = list[Any]()
    while not (events and events[-1].type == kind):
        events.append(connection.recv())
        assert events[-1].type != "error", events[-1]
    return events


def test_what_is_committed_is_transcribed_while_it_is_decoded(served: Served) -> None:
    include = ["item.input_audio_transcription.logprobs"]
    with client(served).realtime.connect(**TRANSCRIPTION) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session=session(include=include))
        updated = connection.recv()
        assert updated.type == "session.updated"
        assert updated.session.audio.input.turn_detection is None
        for piece in PIECES:
            connection.input_audio_buffer.append(audio=piece)
        connection.input_audio_buffer.commit()
        events = until(connection, COMPLETED)
    deltas = [each.delta for each in events if each.type == DELTA]
    assert len(deltas) > 1
    assert "".join(deltas) == events[-1].transcript == SPEECH.text.strip()
    assert "".join(each.token for each in events[-1].logprobs) == events[-1].transcript
    assert events[-1].usage.type == "duration"
    assert events[-1].usage.seconds == pytest.approx(len(AUDIO) / 48_000, abs=0.01)


def test_the_same_without_waiting(served: Served) -> None:
    async def transcribe() -> str:
        async with client(served, "AsyncOpenAI").realtime.connect(model="whisper-1") as connection:
            await connection.session.update(session=session())
            for piece in PIECES:
                await connection.input_audio_buffer.append(audio=piece)
            await connection.input_audio_buffer.commit()
            async for event in connection:
                if event.type == COMPLETED:
                    return str(event.transcript)
        raise AssertionError("it never came")

    assert asyncio.run(transcribe()) == SPEECH.text.strip()


def test_an_error_names_its_event_and_the_session_goes_on(served: Served) -> None:
    with client(served).realtime.connect(**TRANSCRIPTION) as connection:
        connection.send({"type": "input_audio_buffer.commit", "event_id": "mine"})
        until_created = connection.recv()
        error = connection.recv()
        assert (until_created.type, error.type) == ("session.created", "error")
        assert (error.error.event_id, error.error.code) == ("mine", "input_audio_buffer_commit_empty")
        connection.input_audio_buffer.clear()
        assert connection.recv().type == "input_audio_buffer.cleared"


def test_a_wrong_key_is_refused(served: Served) -> None:
    with pytest.raises(Exception, match="401"), client(served, key="wrong").realtime.connect(**TRANSCRIPTION):
        pass


def test_voices_begin_and_end_items(tiny: Model, captions: Recording) -> None:
    data = SPEAKER.encoded(s16(captions.samples)) + bytes(48_000)
    running = serving(model=tiny, config=CONFIG, voice=VoiceConfig())
    with running as served, client(served).realtime.connect(**TRANSCRIPTION) as connection:
        connection.session.update(session=session({"type": "server_vad", "silence_duration_ms": 300}))
        connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
        connection.input_audio_buffer.commit()
        events = until(connection, COMPLETED)
    kinds = [each.type for each in events]
    started, stopped = (events[kinds.index(f"input_audio_buffer.speech_{each}")] for each in ("started", "stopped"))
    assert 0 <= started.audio_start_ms < stopped.audio_end_ms <= len(data) / 48
    assert {each.item_id for each in (started, stopped, events[-1])} == {events[-1].item_id}
    assert "".join(each.delta for each in events if each.type == DELTA) == events[-1].transcript != ""


def test_a_translation_comes_beside_what_is_said() -> None:
    running = serving(model=tone_model("de"), config=replace(CONFIG, language="de"))
    model = "gpt-realtime-translate"
    with running as served, client(served).realtime.translations.connect(model=model) as connection:
        audio = {"input": {"transcription": {"model": "gpt-realtime-whisper"}}, "output": {"language": "en"}}
        connection.session.update(session={"audio": audio})
        for piece in PIECES:
            connection.session.input_audio_buffer.append(audio=piece)
        connection.session.close()
        events = until(connection, "session.closed")
    heard, translated = (
        "".join(each.delta for each in events if each.type == f"session.{kind}_transcript.delta")
        for kind in ("input", "output")
    )
    assert heard == SPEECH.text.strip()
    assert translated == english(SPEECH).text.strip()
    assert [each.type for each in events[:2]] == ["session.created", "session.updated"]
    assert events[1].session.audio.output.language == "en"


# In node: one client that shows its key in a header, and one that does as in a browser. Both insist on TLS.
_SCRIPT = """
const { WebSocket } = require("ws"), OpenAI = require("openai").OpenAI;
const [kind, baseURL, apiKey, audio, session] = process.argv.slice(1);
globalThis.WebSocket = WebSocket;
const { OpenAIRealtimeWS } = require("openai/realtime/ws"), browser = require("openai/realtime/websocket");
const Client = kind === "header" ? OpenAIRealtimeWS : browser.OpenAIRealtimeWebSocket;
const client = new Client({ model: "gpt-4o-transcribe" }, new OpenAI({ apiKey, baseURL }));
const deltas = [];
client.on("error", (error) => { console.error(error); process.exit(1); });
client.on("session.created", () => {
  client.send({ type: "session.update", session: JSON.parse(session) });
  const data = require("fs").readFileSync(audio);
  for (let at = 0; at < data.length; at += 4800)
    client.send({ type: "input_audio_buffer.append", audio: data.subarray(at, at + 4800).toString("base64") });
  client.send({ type: "input_audio_buffer.commit" });
});
client.on("conversation.item.input_audio_transcription.delta", (event) => deltas.push(event.delta));
client.on("conversation.item.input_audio_transcription.completed", (event) => {
  console.log(JSON.stringify([deltas.join(""), event.transcript]));
  client.close();
});
"""


@pytest.mark.skipif(
    not (HERE / "node_modules" / "openai").is_dir(), reason="npm has installed nothing in tests/clients"
)
@pytest.mark.parametrize("kind", ["header", "subprotocol"])
def test_the_client_of_node_hears_the_same(kind: str, certificate: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "audio").write_bytes(AUDIO)
    with serving(access=Access(Tokens({"me": KEY})), tls=Tls(*certificate)) as running:
        values = [f"https://127.0.0.1:{running.port}/v1", KEY, str(tmp_path / "audio"), json.dumps(session())]
        command = ["node", "-e", _SCRIPT, "--", kind, *values]
        trusting = {**os.environ, "NODE_EXTRA_CA_CERTS": certificate[0]}
        node = subprocess.run(command, cwd=HERE, env=trusting, capture_output=True, text=True, timeout=PATIENCE_S)
    assert node.returncode == 0, node.stderr
    assert json.loads(node.stdout) == [SPEECH.text.strip()] * 2
