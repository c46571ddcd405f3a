"""simulstream's own client, which sends recordings of any rate, and the last chunk of each twice."""

import asyncio
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from streaming.server.dialects import Dialects
from streaming.server.translations import Translations
from tests.streaming.serving import PATIENCE_S, Served, s16, serving
from tests.tones import speech_of
from tests.translating import Backwards, text_of, translation_of

pytest.importorskip("simulstream")

SPEECH = speech_of(range(8))
# It tells what it hears in its log only, below what it shows by itself.
_CLIENT = """
from simulstream.client import wav_reader_client as client
client.LOGGER.setLevel("DEBUG")
client.cli_main()
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(dialects=Dialects(("simulstream",)), translations=Translations(translator=Backwards())) as server:
        yield server


def recording(folder: Path, rate: int) -> Path:
    at = np.arange(len(SPEECH.samples) * rate // 16_000) * 16_000 / rate
    samples = np.interp(at, np.arange(len(SPEECH.samples)), SPEECH.samples).astype(np.float32)
    path = folder / f"{rate}.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(s16(samples))
    return path


def new_texts(uri: str, folder: Path, *flags: str) -> str:
    """Return all that the client has heard of its recordings, one after another."""
    listed = folder / "recordings.txt"
    listed.write_text("\n".join(str(recording(folder, rate)) for rate in (16_000, 48_000)))
    program = [sys.executable, "-c", _CLIENT, "--uri", uri, "--wav-list-file", str(listed), *flags]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == 0, ran.stderr
    heard = [json.loads(line.split(" | ")[3]) for line in ran.stderr.splitlines() if " | DEBUG | simulstream" in line]
    assert [each for each in heard if "new" not in each] == [{"end_of_processing": True}] * 2
    assert not any(each.get("deleted") or each.get("error") for each in heard)
    return "".join(each.get("new", "") for each in heard)


def test_recordings_of_any_rate_at_the_port_and_at_the_path(served: Served, tmp_path: Path) -> None:
    port = served.dialect_ports["simulstream"]
    assert new_texts(f"ws://127.0.0.1:{port}/", tmp_path, "--src-lang", "en") == 2 * SPEECH.text
    path = f"ws://127.0.0.1:{served.port}/simulstream"
    assert new_texts(path, tmp_path, "--chunk-duration-ms", "333", "--tgt-lang", "en") == 2 * SPEECH.text


def test_with_another_target_what_is_new_is_the_translation(served: Served, tmp_path: Path) -> None:
    translated = text_of(translation_of(SPEECH.text.split()))
    uri = f"ws://127.0.0.1:{served.dialect_ports['simulstream']}/"
    assert new_texts(uri, tmp_path, "--src-lang", "en", "--tgt-lang", "it") == 2 * translated


def test_one_connection_starts_again(served: Served) -> None:
    async def talk() -> None:
        async with connect(f"ws://127.0.0.1:{served.dialect_ports['simulstream']}/", proxy=None) as socket:
            for n in range(3):
                await socket.send("no JSON, which is passed over")
                error = json.loads(await socket.recv())
                assert (error["new"], error["code"]) == ("", "bad_json")
                await socket.send(json.dumps({"sample_rate": 16_000, "metrics_metadata": {"wav_name": str(n)}}))
                await socket.send(s16(SPEECH.samples))
                await socket.send('{"end_of_stream": true}')
                text = ""
                while "new" in (said := json.loads(await socket.recv())):
                    text += said["new"]
                assert (said, text) == ({"end_of_processing": True}, SPEECH.text)

    asyncio.run(talk())
