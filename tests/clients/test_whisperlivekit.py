"""WhisperLiveKit's own test client. Its package imports PyTorch, so only the module is loaded, which does not."""

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from streaming.server.dialects import Dialects
from streaming.server.translations import Translations
from tests.streaming.serving import Served, s16, serving
from tests.streaming.shouting import Shouting
from tests.tones import Speech, random_words, speech_of

_PACKAGE = importlib.util.find_spec("whisperlivekit")
_FOLDERS = _PACKAGE.submodule_search_locations if _PACKAGE else None
if not _FOLDERS:
    pytest.skip("needs whisperlivekit: pip install --no-deps whisperlivekit", allow_module_level=True)
CLIENT = Path(_FOLDERS[0]) / "test_client.py"

# Longer than a line may be.
SPEECH = speech_of(random_words(40, 4))
MODES = ("full", "diff")


@pytest.fixture(scope="module")
def client() -> Any:
    spec = importlib.util.spec_from_file_location("whisperlivekit_test_client", CLIENT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # In place of the program ffmpeg, which not every machine has.
    module.load_audio_pcm = lambda path: s16(soundfile.read(path, dtype="float32")[0])  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    dialects = Dialects(("whisperlivekit",))
    with serving(dialects=dialects, translations=Translations(translator=Shouting())) as served:
        yield served


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return recorded(SPEECH, tmp_path)


def recorded(speech: Speech, folder: Path) -> Path:
    path = folder / "speech.wav"
    soundfile.write(path, speech.samples, 16_000, "PCM_16")
    return path


def heard(client: Any, served: Served, path: Path, mode: str, **query: str) -> Any:
    """Return what the client makes of it."""
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    url = f"ws://127.0.0.1:{served.port}/asr" + (f"?{asked}" if asked else "")
    return asyncio.run(client.transcribe_audio(str(path), url, speed=0, mode=mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pcm_input", ["true", "false", None])
def test_it_is_told_all_words_whatever_it_sends(
    client: Any, served: Served, recording: Path, mode: str, pcm_input: str | None
) -> None:
    result = heard(client, served, recording, mode, **({"pcm_input": pcm_input} if pcm_input else {}))
    assert result.committed_text == result.text == SPEECH.text.strip()
    assert result.responses[-1]["status"] == "active_transcription"


@pytest.mark.parametrize("mode", MODES)
def test_each_line_has_its_translation(client: Any, served: Served, recording: Path, mode: str) -> None:
    result = heard(client, served, recording, mode, language="en", target_language="de")
    assert result.committed_text == SPEECH.text.strip()
    assert [line["translation"] for line in result.lines] == [line["text"].upper() for line in result.lines]
