"""OpenAI's own clients, and curl, transcribe a recording; what they make of the answers is what a user of them gets."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.server.access import Access
from streaming.server.tokens import Tokens
from tests.streaming.server.uploading import wav_of
from tests.streaming.serving import Served, serving
from tests.tones import english, random_words, speech_of

openai = pytest.importorskip("openai")

SPEECH = speech_of(random_words(12, 3))
TEXT = SPEECH.text.strip()
FILE = ("talk.wav", wav_of(SPEECH))
TOKEN = "the-token-of-a-client"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(access=Access(Tokens({"a client": TOKEN}))) as served:
        yield served


def url_of(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/v1"


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=url_of(served), api_key=TOKEN, max_retries=0) as client:
        yield client


def test_each_form_of_an_answer_is_read(client: Any) -> None:
    create = client.audio.transcriptions.create
    told = create(file=FILE, model="whisper-1")
    assert (told.text, told.usage.seconds) == (TEXT, len(SPEECH.samples) / 16_000)
    assert create(file=FILE, model="tones", response_format="text") == f"{TEXT}\n"
    assert create(file=FILE, model="tones", response_format="srt").startswith("1\n00:00:00,")
    assert create(file=FILE, model="tones", response_format="vtt").startswith("WEBVTT\n\n1\n00:00:00.")


def test_times_have_all_that_the_client_knows(client: Any) -> None:
    told = client.audio.transcriptions.create(
        file=FILE, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    # Nothing is missing that the client declares, which it would not complain of.
    told.model_validate(told.model_dump(), strict=True)
    assert (told.text, told.language) == (TEXT, "english")
    assert " ".join(word.word for word in told.words) == TEXT
    assert "".join(segment.text for segment in told.segments).strip() == TEXT


def test_a_stream_is_read_as_it_comes(client: Any) -> None:
    with client.audio.transcriptions.create(
        file=FILE, model="gpt-4o-transcribe", stream=True, include=["logprobs"], prompt="A talk.", language="en"
    ) as events:
        told = list(events)
    deltas = [each for each in told if each.type == "transcript.text.delta"]
    assert "".join(each.delta for each in deltas) == told[-1].text == TEXT
    assert told[-1].type == "transcript.text.done"
    assert "".join(each.token for each in told[-1].logprobs).strip() == TEXT


def test_voice_activity_is_set_as_the_client_writes_it(client: Any) -> None:
    detector = {"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.6, "prefix_padding_ms": 100}
    # Tones are no speech.
    assert client.audio.transcriptions.create(file=FILE, model="whisper-1", chunking_strategy=detector).text == ""
    with pytest.raises(openai.BadRequestError, match="vad_threshold"):
        client.audio.transcriptions.create(file=FILE, model="whisper-1", chunking_strategy={**detector, "threshold": 2})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_translation_is_in_english(client: Any) -> None:
    told = client.audio.translations.create(file=FILE, model="whisper-1", response_format="verbose_json")
    assert (told.text, told.language) == (english(SPEECH).text.strip(), "english")


def test_models_are_listed_and_found(client: Any) -> None:
    assert {model.id for model in client.models.list()} > {"tones", "whisper-1"}
    assert client.models.retrieve("tones").owned_by == "simul-whisper"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another/one")


def test_errors_are_those_that_the_client_has(client: Any, served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as no_model:
        client.audio.transcriptions.create(file=FILE, model="gpt-9")
    assert (no_model.value.code, no_model.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="recording: "):
        client.audio.transcriptions.create(file=("a.wav", b"no audio" * 99), model="whisper-1")
    with pytest.raises(openai.APIStatusError, match="bytes at most") as too_large:
        client.audio.transcriptions.create(file=("a.wav", bytes(40_000_000)), model="whisper-1")
    assert too_large.value.status_code == 413
    with pytest.raises(openai.APIStatusError, match="it can be to /v1/audio/speech, /v1/audio/transcriptions, "):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
    stranger = openai.OpenAI(base_url=url_of(served), api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_the_asynchronous_client_does_the_same(served: Served) -> None:
    async def transcribed() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=url_of(served), api_key=TOKEN, max_retries=0) as client:
            create = client.audio.transcriptions.create
            both = await asyncio.gather(*(create(file=FILE, model="whisper-1") for _ in range(2)))
            assert both[0].text == both[1].text
            events = [event async for event in await create(file=FILE, model="whisper-1", stream=True)]
            return both[0].text, "".join(each.delta for each in events if each.type == "transcript.text.delta")

    assert asyncio.run(transcribed()) == (TEXT, TEXT)


_SCRIPT = """
import OpenAI, { toFile } from "openai";
import fs from "node:fs";

const [baseURL, apiKey, path] = process.argv.slice(1);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asked = { file: fs.createReadStream(path), model: "whisper-1" };
const plain = await client.audio.transcriptions.create(asked);
const verbose = await client.audio.transcriptions.create({
  ...asked, file: fs.createReadStream(path), response_format: "verbose_json",
  timestamp_granularities: ["word"], language: "en", prompt: "A talk.", temperature: 0,
});
let streamed = "";
const events = await client.audio.transcriptions.create({ ...asked, file: fs.createReadStream(path), stream: true });
for await (const event of events) if (event.type === "transcript.text.delta") streamed += event.delta;
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let code = "";
try {
  await client.audio.transcriptions.create({ model: "gpt-9", file: await toFile(Buffer.alloc(9), "a.wav") });
} catch (error) { code = error.code; }
const words = verbose.words.map((each) => each.word);
console.log(JSON.stringify({ text: plain.text, words, streamed, models, code }));
"""


@pytest.mark.skipif(
    not (HERE / "node_modules" / "openai").is_dir(), reason="npm has installed nothing in tests/clients"
)
def test_the_client_of_node_does_the_same(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(FILE[1])
    command = ["node", "--input-type=module", "-e", _SCRIPT, "--", url_of(served), TOKEN, str(path)]
    told = json.loads(subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=60).stdout)
    assert told["text"] == told["streamed"] == " ".join(told["words"]) == TEXT
    assert told["models"][:2] == ["tones", "whisper-1"]
    assert told["code"] == "model_not_found"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_needs_no_client(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav_of(speech_of(random_words(100, 4))))
    said = ["-H", f"Authorization: Bearer {TOKEN}", "-F", f"file=@{path}", "-F", "model=whisper-1"]
    address = f"{url_of(served)}/audio/transcriptions"

    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--no-buffer", address, *said, *arguments]
        return subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout

    expected = speech_of(random_words(100, 4)).text.strip()
    assert curl("-F", "response_format=text") == f"{expected}\n"
    assert curl("-F", "stream=true").count("transcript.text.delta") > 10
    # It sends that it waits to be asked for the body, and its body in chunks.
    assert json.loads(curl("-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked"))["text"] == expected
