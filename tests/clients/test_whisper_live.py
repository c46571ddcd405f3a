"""WhisperLive's own clients: one that plays a recording and writes captions, and one that is given audio."""

import gc
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile

from streaming.server.access import Access
from streaming.server.dialects import Dialects
from streaming.server.tokens import one_token
from streaming.server.translations import Translations
from tests.streaming.serving import Served, s16, serving, with_limits
from tests.streaming.shouting import Shouting
from tests.tones import random_words, speech_of

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
for _name in ("websocket", "scipy", "av"):
    pytest.importorskip(_name)


class NoSound:
    """PyAudio on a machine without a sound card."""

    def open(self, **_: Any) -> None:
        raise OSError("no sound card")


_PYAUDIO = ModuleType("pyaudio")
_PYAUDIO.paInt16, _PYAUDIO.PyAudio = 8, NoSound  # type: ignore[attr-defined]
sys.modules.setdefault("pyaudio", _PYAUDIO)
clients = pytest.importorskip("whisper_live.client")

SPEECH = speech_of(random_words(8, 2))
DIALECTS = Dialects(("whisper-live",))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(dialects=DIALECTS, translations=Translations(translator=Shouting())) as served:
        yield served


@pytest.fixture
def client_of() -> Iterator[Any]:
    made = list[Any]()

    def make(served: Served, **options: Any) -> Any:
        port = served.dialect_ports["whisper-live"]
        made.append(clients.StreamingTranscriptionClient("127.0.0.1", port, **{"use_vad": False, **options}))
        return made[-1]

    yield make
    for each in made:
        # It leaves its socket open when it is refused.
        each._client.close_websocket()
    made.clear()
    gc.collect()


def spoken(client: Any) -> str:
    """Say everything, and return what the client has in the end."""
    with client:
        for start in range(0, len(SPEECH.samples), 5_001):
            client.send(s16(SPEECH.samples[start : start + 5_001]))
    return "".join(segment["text"] for segment in client.transcript)


def test_it_is_told_all_words_once(served: Served, client_of: Any) -> None:
    committed, partial = list[str](), list[str]()
    client = client_of(
        served,
        on_committed_transcript=lambda text, _: committed.append(text),
        on_partial_transcript=lambda text, _: partial.append(text),
    )
    assert spoken(client) == SPEECH.text
    assert " ".join(committed) == SPEECH.text.strip()
    assert all(later.startswith(text) for text, later in itertools.pairwise(partial))


@pytest.mark.waits
def test_a_played_recording_gives_its_captions(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streaming.protocols.whisper_live.WhisperLive.quiet_s", 0.5)
    soundfile.write("talk.wav", SPEECH.samples, 16_000, "PCM_16")
    client = clients.TranscriptionClient(
        "127.0.0.1", served.dialect_ports["whisper-live"], use_vad=False, mute_audio_playback=True
    )

    def wait() -> None:
        """In place of 15 s, in which the client says nothing, and before which it does not say that this was all."""
        served.wait_for(lambda: clients_text(client) == SPEECH.text)

    monkeypatch.setattr(client.client, "wait_before_disconnect", wait)
    assert client(audio="talk.wav") == SPEECH.text.strip()
    lines = Path("output.srt").read_text("utf-8").splitlines()
    assert "".join(line for line in lines if line and not line[0].isdecimal()) == SPEECH.text


def clients_text(client: Any) -> str:
    return "".join(segment["text"] for segment in client.client.transcript)


def test_translations_come_as_they_are_made(served: Served, client_of: Any) -> None:
    told = list[dict[str, Any]]()
    client = client_of(
        served,
        lang="en",
        enable_translation=True,
        target_language="de",
        send_last_n_segments=100,
        on_translation=lambda _, segments: told.__setitem__(slice(None), segments),
    )
    assert spoken(client) == SPEECH.text
    assert "".join(segment["text"] for segment in told) == SPEECH.text.upper()
    collected = client._client.translated_transcript
    assert [segment["text"] for segment in collected] == [segment["text"] for segment in told]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"lang": "Klingon"}, "Klingon"), ({"enable_translation": True, "target_language": "fr"}, "fr")],
)
def test_what_cannot_be_had_is_an_error(
    served: Served, client_of: Any, options: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        client_of(served, **options).connect()
    _, _, message = capsys.readouterr().out.partition("Message from Server: ")
    assert named in message


def test_who_comes_too_late_is_told_to_wait(client_of: Any) -> None:
    with serving(with_limits(sessions_per_address=1), dialects=DIALECTS) as served:
        first = client_of(served).connect()
        with pytest.raises(RuntimeError):
            client_of(served).connect()
        assert served.registry.errors["too_many_sessions"] == 1
        first.close()


def test_who_has_no_token_is_not_let_in(client_of: Any) -> None:
    with serving(access=Access(one_token("sesame-" * 3, "the test")), dialects=DIALECTS) as served:
        with pytest.raises(RuntimeError):
            client_of(served).connect()
        assert served.registry.errors["unauthorized"] == 1
