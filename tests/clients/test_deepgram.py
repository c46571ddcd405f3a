"""Deepgram's own clients have a speech transcribed while it is sent: in Python with and without asyncio, in node."""

import asyncio
import base64
import json
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from simul_whisper import AlignAttConfig, Model
from streaming.server.access import Access
from streaming.server.tokens import Tokens
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.streaming.serving import PATIENCE_S, Served, s16, serving
from tests.tones import random_words, speech_of

# It asks for a name that websockets has given up, and is warned when it does.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip(
        "deepgram.listen.v1.client", reason="deepgram-sdk is not installed, or older than its version 5"
    )

from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureFailure,
    ListenV1Error,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)

SPEECH = speech_of(random_words(12, 3))
TEXT = SPEECH.text.strip()
DATA = s16(SPEECH.samples)
TOKEN = "the-token-of-a-client"
OPTIONS = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16_000}
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(access=Access(Tokens({"a client": TOKEN}))) as served:
        yield served


def environment(served: Served) -> DeepgramClientEnvironment:
    http, websocket = (f"{scheme}://127.0.0.1:{served.port}" for scheme in ("http", "ws"))
    return DeepgramClientEnvironment(base=http, production=websocket, agent=websocket, agent_rest=http)


def client(served: Served, key: str = TOKEN) -> DeepgramClient:
    return DeepgramClient(api_key=key, environment=environment(served))


def text_of(messages: list[Any]) -> str:
    """As clients put it together."""
    finals = [each for each in messages if isinstance(each, ListenV1Results) and each.is_final]
    transcripts = [each.channel.alternatives[0].transcript for each in finals]
    return " ".join(transcript for transcript in transcripts if transcript)


def check(messages: list[Any]) -> None:
    """Nothing is missing that the client declares, which it would not complain of."""
    for message in messages:
        message.model_validate(json.loads(message.model_dump_json()), strict=True)


def test_a_speech_is_told_to_its_end(served: Served) -> None:
    with client(served).listen.v1.connect(**OPTIONS, language="en", interim_results=True) as socket:
        for start in range(0, len(DATA), 3_200):
            socket.send_media(DATA[start : start + 3_200])
            socket.send_keep_alive()
        socket.send_close_stream()
        messages = list(socket)
    check(messages)
    assert text_of(messages) == TEXT
    assert isinstance(messages[-1], ListenV1Metadata)
    assert messages[-1].duration == len(SPEECH.samples) / 16_000
    words = [word for each in messages[:-1] if each.is_final for word in each.channel.alternatives[0].words]
    assert " ".join(word.punctuated_word for word in words) == TEXT
    assert [word.start for word in words] == sorted(word.start for word in words)


def test_a_flush_is_answered_and_the_stream_goes_on(served: Served) -> None:
    with client(served).listen.v1.connect(**OPTIONS) as socket:
        messages = []
        for _ in range(2):
            socket.send_media(DATA)
            socket.send_finalize()
            messages.append(socket.recv())
            while not messages[-1].from_finalize:
                messages.append(socket.recv())
            assert messages[-1].speech_final
        socket.send_configure(ListenV1Configure(keyterms=["tone"]))
        assert isinstance(socket.recv(), ListenV1ConfigureFailure)
        socket._send("nonsense")
        assert isinstance(socket.recv(), ListenV1Error)
        socket.send_close_stream()
        messages += socket
    check(messages)
    assert text_of(messages) == f"{TEXT} {TEXT}"


@pytest.mark.parametrize(("key", "options", "status"), [("wrong", {}, 401), (TOKEN, {"redact": "pci"}, 400)])
def test_what_is_refused_has_its_status(served: Served, key: str, options: dict[str, str], status: int) -> None:
    """With a new websockets, the client lets through what it would tell as an error of its own."""
    with (
        pytest.raises((ApiError, InvalidStatus)) as refused,
        client(served, key).listen.v1.connect(**OPTIONS, **options),
    ):
        raise AssertionError("it was let in")
    error = refused.value
    assert (error.response if isinstance(error, InvalidStatus) else error).status_code == status


def test_a_temporary_token_opens_too(served: Served) -> None:
    bearer = DeepgramClient(access_token=TOKEN, environment=environment(served))
    with bearer.listen.v1.connect(**OPTIONS) as socket:
        socket.send_close_stream()
        (metadata,) = socket
    assert metadata.duration == 0


def test_the_client_with_asyncio_hears_the_same(served: Served) -> None:
    async def hear() -> list[Any]:
        messages = list[Any]()
        client = AsyncDeepgramClient(api_key=TOKEN, environment=environment(served))
        async with client.listen.v1.connect(**OPTIONS, endpointing=300, keyterm=["tone", "word"]) as socket:
            socket.on(EventType.MESSAGE, messages.append)
            listening = asyncio.create_task(socket.start_listening())
            await socket.send_media(DATA)
            await socket.send_close_stream()
            await asyncio.wait_for(listening, PATIENCE_S)
        return messages

    messages = asyncio.run(hear())
    check(messages)
    assert text_of(messages) == TEXT


def test_speech_and_silence_are_told_to_those_who_take_turns(recordings: Mapping[str, Recording], tiny: Model) -> None:
    """The silence between is longer than an utterance may have, so that an end is told before more is said."""
    kettle = recordings["kettle"].samples[: 16_000 * 5]
    silence = bytes(2 * 16_000 * 3)
    config = AlignAttConfig(model_name="tiny.en", language="en")
    with serving(model=tiny, config=config, voice=VoiceConfig()) as served:
        client = DeepgramClient(api_key="any", environment=environment(served))
        options = {"interim_results": True, "vad_events": True, "utterance_end_ms": 1000, "endpointing": 700}
        with client.listen.v1.connect(**OPTIONS, **options) as socket:
            for piece in (s16(kettle), silence, s16(kettle), silence):
                socket.send_media(piece)
            socket.send_close_stream()
            messages = list(socket)
    check(messages)
    finals = [each for each in messages if isinstance(each, ListenV1Results) and each.is_final]
    assert text_of(messages)
    assert sum(each.speech_final for each in finals) >= 2
    kinds = [type(each) for each in messages]
    started, ended = kinds.index(ListenV1SpeechStarted), kinds.index(ListenV1UtteranceEnd)
    assert started < ended < len(kinds) - 1 - kinds[::-1].index(ListenV1SpeechStarted)


_SCRIPT = """
const { DeepgramClient } = require("@deepgram/sdk");

const [address, apiKey, data] = process.argv.slice(1);
const environment = { base: `http://${address}`, production: `ws://${address}` };
const client = new DeepgramClient({ apiKey, environment });
const messages = [];

async function hear() {
  const socket = await client.listen.v1.connect({
    model: "nova-3", encoding: "linear16", sample_rate: 16000, interim_results: "true", reconnectAttempts: 0,
  });
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.on("message", (message) => messages.push(message));
  socket.connect();
  await socket.waitForOpen();
  const audio = Buffer.from(data, "base64");
  for (let at = 0; at < audio.length; at += 6400) socket.sendMedia(audio.subarray(at, at + 6400));
  socket.sendFinalize({ type: "Finalize" });
  socket.sendCloseStream({ type: "CloseStream" });
  const { code } = await closed;
  console.log(JSON.stringify({ messages, code }));
  process.exit(0);
}

hear();
"""


@pytest.mark.skipif(
    not (HERE / "node_modules" / "@deepgram" / "sdk").is_dir(), reason="npm has installed nothing in tests/clients"
)
def test_the_client_of_node_hears_the_same(served: Served) -> None:
    speech = speech_of(random_words(6, 4))
    data = base64.b64encode(s16(speech.samples)).decode()
    command = ["node", "-e", _SCRIPT, "--", f"127.0.0.1:{served.port}", TOKEN, data]
    done = subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=60)
    told = json.loads(done.stdout)
    finals = [each for each in told["messages"] if each["type"] == "Results" and each["is_final"]]
    transcripts = [each["channel"]["alternatives"][0]["transcript"] for each in finals]
    assert " ".join(filter(None, transcripts)) == speech.text.strip()
    assert sum(each["from_finalize"] for each in finals) == 1
    assert (told["messages"][-1]["type"], told["code"]) == ("Metadata", 1000)
