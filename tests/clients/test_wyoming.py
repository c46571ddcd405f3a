"""Wyoming's own clients over TCP, a Unix socket, and stdin and stdout; and what Home Assistant sends with them."""

import asyncio
import io
import re
import subprocess
import sys
import wave
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streaming.audio.files import read_audio
from streaming.server.dialects import Dialects
from streaming.server.run import bound_unix_socket
from tests.streaming.serving import PATIENCE_S, Served, s16, serving, with_limits
from tests.tones import speech_of

# It warns of `audioop`, which Python 3.13 has no more; then it brings its own.
pytest.importorskip("wyoming.audio")

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

SPEECH = speech_of(range(8))
ROOT = Path(__file__).parents[2]
CAPTIONS = ROOT / "demos" / "recordings" / "captions.flac"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(dialects=Dialects(("wyoming",))) as server:
        yield server


def uri(served: Served) -> str:
    return f"tcp://127.0.0.1:{served.dialect_ports['wyoming']}"


def speak(where: str, talk: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with AsyncClient.from_uri(where, connect_timeout=PATIENCE_S, read_timeout=PATIENCE_S) as client:
            await talk(client)

    asyncio.run(connected())


async def next_event(client: AsyncClient) -> Event:
    event = await client.read_event()
    assert event is not None, "the connection is lost"
    return event


def recording(width: int, rate: int = 16_000) -> bytes:
    """The speech as a WAV file; more hertz play it faster."""
    samples = np.round(SPEECH.samples * 32_767).astype("<i4")
    data = {
        1: ((samples >> 8) + 128).astype(np.uint8).tobytes(),
        2: samples.astype("<i2").tobytes(),
        3: (samples << 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        4: (samples << 16).tobytes(),
    }[width]
    with io.BytesIO() as file, wave.open(file, "wb") as writer:
        writer.setparams((1, width, rate, 0, "NONE", ""))
        writer.writeframes(data)
        return file.getvalue()


async def transcribed(client: AsyncClient, wav: bytes, request: Transcribe | None = None) -> list[Event]:
    """Send a recording as the clients do, and return what is answered."""
    await client.write_event((request or Transcribe(language="en")).event())
    with wave.open(io.BytesIO(wav)) as file:
        for event in wav_to_chunks(file, 1_024, start_event=True, stop_event=True):
            await client.write_event(event.event())
    events = [await next_event(client)]
    while not TranscriptStop.is_type(events[-1].type):
        events.append(await next_event(client))
    return events


def check(events: list[Event], text: str) -> None:
    start, *chunks, transcript, _ = events
    assert TranscriptStart.is_type(start.type)
    assert all(TranscriptChunk.is_type(each.type) for each in chunks)
    assert "".join(TranscriptChunk.from_event(each).text for each in chunks) == text
    assert Transcript.from_event(transcript).text == text
    assert len(chunks) > 1 or not text


def test_one_transcription_after_another_in_any_width(served: Served) -> None:
    async def talk(client: AsyncClient) -> None:
        for width in (1, 2, 3, 4):
            check(await transcribed(client, recording(width)), SPEECH.text.strip())
        with io.BytesIO() as empty, wave.open(empty, "wb") as writer:
            writer.setparams((2, 2, 48_000, 0, "NONE", ""))
            writer.writeframes(b"")
            writer.close()
            check(await transcribed(client, empty.getvalue()), "")

    speak(uri(served), talk)


def test_info_is_true(served: Served) -> None:
    async def talk(client: AsyncClient) -> None:
        await client.write_event(Describe().event())
        (program,) = Info.from_event(await next_event(client)).asr
        (model,) = program.models
        assert program.supports_transcript_streaming
        assert program.installed
        assert model.name == served.registry.pool.health().model
        assert model.languages == list(served.registry.pool.health().languages)
        await client.write_event(Ping(text="there?").event())
        assert Pong.from_event(await next_event(client)).text == "there?"
        request = Transcribe(name=model.name, language="en-GB", context={"a": 1}, transcript_names=["Ada Lovelace"])
        check(await transcribed(client, recording(2), request), SPEECH.text.strip())

    speak(uri(served), talk)


def test_home_assistant_reads_to_the_transcript_and_leaves(served: Served) -> None:
    """As `stt.py` of its integration does it, with audio and without."""

    async def talk(client: AsyncClient, audio: bytes) -> str:
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        for start in range(0, len(audio), 2_048):
            await client.write_event(AudioChunk(16_000, 2, 1, audio[start : start + 2_048]).event())
        await client.write_event(AudioStop().event())
        while not Transcript.is_type((event := await next_event(client)).type):
            pass
        return str(Transcript.from_event(event).text)

    async def with_audio(client: AsyncClient) -> None:
        assert await talk(client, s16(SPEECH.samples)) == SPEECH.text.strip()

    async def without_audio(client: AsyncClient) -> None:
        assert await talk(client, b"") == ""

    speak(uri(served), with_audio)
    speak(uri(served), without_audio)
    served.wait_for(lambda: served.registry.n_connections == 0)


def test_an_error_is_an_event_and_the_end(served: Served) -> None:
    async def talk(client: AsyncClient) -> None:
        await client.write_event(Transcribe(language="Klingon").event())
        error = Error.from_event(await next_event(client))
        assert error.code == "config"
        assert "Klingon" in error.text
        assert await client.read_event() is None

    speak(uri(served), talk)


def test_who_comes_too_late_is_told_why() -> None:
    async def talk(client: AsyncClient) -> None:
        await client.write_event(AudioChunk(16_000, 2, 1, b"\0\0").event())
        crowded.wait_for(lambda: crowded.count("sessions_open") == 1)
        async with AsyncClient.from_uri(uri(crowded), read_timeout=PATIENCE_S) as other:
            await other.write_event(AudioStop().event())
            assert Error.from_event(await next_event(other)).code == "too_many_sessions"
        await client.write_event(AudioStop().event())
        assert TranscriptStart.is_type((await next_event(client)).type)

    with serving(with_limits(sessions_per_address=1), dialects=Dialects(("wyoming",))) as crowded:
        speak(uri(crowded), talk)


def test_over_a_unix_socket(tmp_path: Path) -> None:
    async def talk(client: AsyncClient) -> None:
        check(await transcribed(client, recording(2)), SPEECH.text.strip())

    path = tmp_path / "wyoming.sock"
    with serving(dialects=Dialects(("wyoming",)), dialect_ports={"wyoming": bound_unix_socket(str(path))}):
        speak(f"unix://{path}", talk)


# Whose stdin and stdout are the server's: how Wyoming's stdio client is started.
_CLIENT = """
import asyncio, sys
from wyoming.client import AsyncClient
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStop
from wyoming.info import Describe, Info

async def talk(client):
    await client.write_event(Describe().event())
    assert Info.from_event(await client.read_event()).asr[0].models[0].name
    await client.write_event(AudioChunk(16_000, 2, 1, open(sys.argv[1], "rb").read()).event())
    await client.write_event(AudioStop().event())
    while not Transcript.is_type((event := await client.read_event()).type):
        pass
    print(Transcript.from_event(event).text, file=sys.stderr)

asyncio.run(talk(AsyncClient.from_uri("stdio://")))
"""


def test_over_stdin_and_stdout(tmp_path: Path) -> None:
    audio = tmp_path / "captions.s16"
    audio.write_bytes(s16(read_audio(str(CAPTIONS))))
    serve = [sys.executable, "-m", "streaming.cli", "serve", "--port", "0", "--model", "tiny.en"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*serve, "--dialects", "wyoming=stdio://"], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdin
        assert server.stdout
        client = [sys.executable, "-c", _CLIENT, str(audio)]
        ran = subprocess.run(
            client, stdin=server.stdout, stdout=server.stdin, stderr=pipe, text=True, timeout=PATIENCE_S, check=False
        )
        server.stdin.close()
        assert (server.wait(PATIENCE_S), ran.returncode) == (0, 0), ran.stderr
    assert words_of(ran.stderr) == words_of(CAPTIONS.with_suffix(".txt").read_text("utf-8"))


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
