"""A server that speaks: what a session asks for, at first and later, what is refused, and what a client hears."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import VoiceError
from streaming.audio.files import read_audio
from streaming.audio.pcm import resampled
from streaming.cli import main
from streaming.client import Client, ClientEvent
from streaming.events import Cleared, Ended, Reason, SpeechSkipped, Spoken
from streaming.protocols.dialect import Clear, Speech, Targets
from streaming.protocols.native import Numbered, Refused, Resume, client_text
from streaming.server.speech import Speech as ServerSpeech
from streaming.server.translations import Translations
from streaming.sessions.request import SessionRequest
from tests.speaking import LoudVoice, ToneVoices, heard_again
from tests.streaming.server.uploading import wav_of
from tests.streaming.serving import Served, Talker, s16, serving
from tests.streaming.shouting import Shouting
from tests.streaming.talk import END, FLUSH, HELLO, get, told
from tests.tones import random_words, speech_of

# Three seconds, which are spoken sooner than a listener hears them.
SPEECH = speech_of(random_words(6, 1))
AUDIO = s16(SPEECH.samples)


def hello(*speech: str, targets: tuple[str, ...] = (), **changes: Any) -> str:
    return client_text(SessionRequest(targets=targets, speech=speech, **changes))


def speak(*speech: str) -> str:
    return client_text(Speech(speech))


def sounds(messages: list[Any], target: str) -> list[Spoken]:
    events = [each.event if isinstance(each, Numbered) else each for each in messages]
    return [each for each in events if isinstance(each, Spoken) and each.target == target]


def heard(spoken: list[Spoken]) -> str:
    """What the tone model hears of it."""
    pcm = b"".join(resampled(each.pcm, each.rate, 16_000) for each in spoken)
    return " ".join(["", *heard_again(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768))])


@pytest.fixture
def voice() -> LoudVoice:
    return LoudVoice()


@pytest.fixture
def served(voice: LoudVoice) -> Iterator[Served]:
    translations = Translations(translator=Shouting(), first=["ar"])
    with serving(translations=translations, speech=ServerSpeech(voices=ToneVoices(voice))) as served:
        yield served


def test_a_translation_is_spoken_and_every_word_is_heard_again(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(hello("es", targets=("es", "de")), AUDIO, END)
        assert talker.ready().voices == ("en", "es", "de")
        messages = talker.rest()
    assert heard(sounds(messages, "es")) == SPEECH.text
    assert sounds(messages, "de") == sounds(messages, "") == []
    assert [each.seq for each in messages if isinstance(each, Numbered)] == list(range(1, len(messages) + 1))
    assert isinstance(messages[-1], Numbered)
    assert isinstance(messages[-1].event, Ended)


def test_the_transcript_is_spoken_where_it_is_asked_for(served: Served) -> None:
    messages, code = told(served, hello(""), AUDIO, END)
    assert heard(sounds(messages, "")) == SPEECH.text
    assert code == 1000


def test_who_asks_for_no_speech_gets_none(served: Served, voice: LoudVoice) -> None:
    with Talker(served) as talker:
        talker.say(client_text(SessionRequest(targets=("es",))), AUDIO, END)
        assert all(isinstance(message, str) for message in talker.socket)
    assert voice.asked == []


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([hello("es")], "not among the targets"),
        ([hello("ar", targets=("ar",))], "no voice for Arabic, but for English, Spanish, German"),
        ([hello("es", "de", targets=("es", "de"))], "1 at most"),
        ([HELLO, speak("es")], "not among the targets"),
        ([hello("es", targets=("es",)), client_text(Targets(())), speak("es")], "not among the targets"),
    ],
)
def test_what_cannot_be_spoken_is_refused_in_plain_words(served: Served, messages: list[str], why: str) -> None:
    (refused,), code = told(served, *messages)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.CONFIG
    assert why in refused.message
    assert code == 1008


def test_a_server_without_a_voice_says_so() -> None:
    with serving() as served:
        (refused,), _ = told(served, hello(""))
        assert isinstance(refused, Refused)
        assert "this server has no voice" in refused.message
        assert '"voices":[]' in get(served, "/v1/model")[1]


def test_the_voices_are_told_before_a_session(served: Served) -> None:
    assert '"voices":[{"code":"en","name":"English"}' in get(served, "/v1/model")[1]


def test_speech_is_chosen_and_ended_at_any_time(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(hello(targets=("es",)))
        talker.ready()
        talker.say(speak("es"), AUDIO, FLUSH)
        first = until_sound(talker)
        talker.say(speak(), END)
        rest = sounds(talker.rest(), "es")
    assert SPEECH.text.startswith(heard([first, *rest]))
    assert first.target == "es"


def until_sound(talker: Talker) -> Spoken:
    while True:
        message = talker.next()
        assert not isinstance(message, Refused), message
        if isinstance(message, Numbered) and isinstance(message.event, Spoken):
            return message.event


def test_what_is_no_target_any_more_is_not_spoken(served: Served, voice: LoudVoice) -> None:
    with Talker(served) as talker:
        talker.say(hello("es", targets=("es",)), client_text(Targets(("de",))), AUDIO, END)
        assert sounds(talker.rest(), "es") == []
    assert voice.asked == []


def test_a_connection_that_is_lost_loses_no_sound_and_repeats_none(served: Served) -> None:
    messages = list[Any]()
    with Talker(served) as talker:
        talker.say(hello("es", targets=("es",)))
        name = talker.ready().session
        talker.say(AUDIO, FLUSH)
        while not sounds(messages, "es"):
            messages.append(talker.next())
        talker.cut()
    seen = max(each.seq for each in messages if isinstance(each, Numbered))
    with Talker(served) as talker:
        talker.say(client_text(Resume(name, len(AUDIO), seen)))
        talker.ready()
        talker.say(END)
        messages += talker.rest()
    numbers = [each.seq for each in messages if isinstance(each, Numbered)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert heard(sounds(messages, "es")) == SPEECH.text


def test_who_comes_back_to_a_session_that_is_over_may_say_again_what_is_to_be_spoken(served: Served) -> None:
    """As a client does whose last choice may have been lost; the last events are still to be read."""
    with Talker(served) as talker:
        talker.say(hello("es", targets=("es",)), END)
        talker.ready()
        (hosted,) = served.registry._sessions
        while not isinstance(getattr(talker.next(), "event", None), Ended):
            pass
        hosted.settle()
        served.registry.choose_speech(hosted, ("es",))


def test_what_cannot_be_spoken_is_told_and_the_captions_go_on(served: Served, voice: LoudVoice) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        raise VoiceError("the voice is hoarse")
        yield

    voice.speak = fail  # type: ignore[method-assign, assignment]
    messages, _ = told(served, hello(""), AUDIO, END)
    skipped = [each.event for each in messages if isinstance(each.event, SpeechSkipped)]
    assert "hoarse" in skipped[0].why
    assert isinstance(messages[-1].event, Ended)


def test_a_clear_comes_behind_the_last_sound_of_before(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(hello(""), AUDIO, FLUSH)
        talker.ready()
        until_sound(talker)
        talker.say(client_text(Clear()), END)
        events = [each.event for each in talker.rest() if isinstance(each, Numbered)]
    (cleared,) = [n for n, each in enumerate(events) if isinstance(each, Cleared)]
    assert not [each for each in events[cleared:] if isinstance(each, Spoken)]


def test_the_client_hears_every_sound_once(served: Served) -> None:
    async def listen() -> list[ClientEvent]:
        async with Client(served.url, targets=["Spanish"], speech=["es"], drafts=False) as client:
            await client.send(SPEECH.samples)
            client.end()
            return [event async for event in client]

    assert heard(sounds(asyncio.run(listen()), "es")) == SPEECH.text


def test_connect_writes_what_is_spoken_to_a_file(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, spoken = tmp_path / "said.wav", tmp_path / "spoken.wav"
    said.write_bytes(wav_of(SPEECH))
    assert main(["connect", served.url, str(said), "--to", "es", "--speak", str(spoken)]) == 0
    assert heard_again(read_audio(spoken)) == SPEECH.text.split()
    assert SPEECH.text.upper().split()[0] in capsys.readouterr().out


def test_connect_does_not_write_over_what_it_sends(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, link = tmp_path / "said.wav", tmp_path / "link.wav"
    said.write_bytes(wav_of(SPEECH))
    link.symlink_to(said)
    assert main(["connect", served.url, str(said), "--speak", str(link)]) == 2
    assert "link.wav: speech needs a file of its own" in capsys.readouterr().err
    assert said.read_bytes() == wav_of(SPEECH)


@pytest.mark.parametrize("was", [b"of last week", None])
def test_a_file_of_speech_stays_as_it_was_when_the_server_refuses(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], was: bytes | None
) -> None:
    said, spoken = tmp_path / "said.wav", tmp_path / "spoken.wav"
    said.write_bytes(wav_of(SPEECH))
    if was is not None:
        spoken.write_bytes(was)
    command = ["connect", served.url, str(said), "--to", "ar", "--speak", str(spoken)]
    assert main(command) == 2
    assert "no voice for Arabic" in capsys.readouterr().err
    assert (spoken.read_bytes() if spoken.exists() else None) == was


def test_a_file_of_speech_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    said, folder = tmp_path / "said.wav", tmp_path / "folder.wav"
    said.write_bytes(wav_of(SPEECH))
    folder.mkdir()
    command = [sys.executable, "-m", "streaming.cli", "connect", "ws://127.0.0.1:1", str(said), "--speak", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"simul-whisper: {folder}: cannot be written: Is a directory\n"
