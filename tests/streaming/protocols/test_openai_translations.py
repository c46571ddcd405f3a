"""OpenAI's Realtime translations: what is set, the text in two languages, and an end that comes after all of it."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from openai.types.realtime import RealtimeTranslationOutputAudioDeltaEvent

from simul_whisper import Word
from streaming.audio.pcm import resampled
from streaming.events import Ended, Event, Translation, TranslationSkipped, Words
from streaming.protocols.dialect import Audio, Command, End, Handshake, Hangup, Open, Say, Served, Targets
from streaming.protocols.dialect import Speech as SpeechChosen
from streaming.protocols.openai_translations import OpenAITranslations
from streaming.protocols.reading import ProtocolError
from streaming.server.speech import Speech
from streaming.server.translations import Translations
from tests.dialects import openai_translations as driver
from tests.dialects.openai_realtime import append
from tests.dialects.openai_translations import CLOSE, INPUT, OUTPUT, update
from tests.speaking import LoudVoice, ToneVoices, heard_again
from tests.streaming.serving import CONFIG, s16, serving
from tests.streaming.serving import Served as Running
from tests.streaming.shouting import Shouting
from tests.tones import english, random_words, speech_of, tone_model

SECOND = append(bytes(48_000), "session.input_audio_buffer.append")
SOUND = "session.output_audio.delta"
SPEECH = speech_of(random_words(8, 3))
WORD = (Word(" one", 0.3, 0.5, 1.0),)


def dialect(*targets: str) -> OpenAITranslations:
    served = Served("base", ("gpt-realtime-whisper",), ("en",), ("transcribe",), targets or ("de", "es"), "1")
    return OpenAITranslations(Handshake("me", 1_000.0), served)


def hear(spoken: OpenAITranslations, *messages: str) -> list[Command]:
    return [command for message in messages for command in spoken.hear(message, 0.0)]


def tell(spoken: OpenAITranslations, *events: Event) -> list[Any]:
    replies = [reply for event in events for reply in spoken.tell(event, 0.0)]
    return [json.loads(each) if isinstance(each, str) else each for each in replies]


def test_a_language_may_change_and_be_cleared_at_any_time() -> None:
    spoken = dialect()
    opened = hear(spoken, update("de"), SECOND)
    assert [type(each) for each in opened] == [Say, Open, Audio]
    assert isinstance(opened[1], Open)
    assert opened[1].request.targets == ("de",)
    assert hear(spoken, update("es"))[0] == Targets(("es",))
    assert [type(each) for each in hear(spoken, update("es"))] == [Say]
    assert hear(spoken, update(None))[0] == Targets(())
    assert [type(each) for each in hear(spoken, SECOND)] == [Audio]


def test_the_only_language_there_is_needs_no_choice() -> None:
    assert [type(each) for each in hear(dialect("en"), SECOND)] == [Open, Audio]
    with pytest.raises(ProtocolError, match="language"):
        hear(dialect(), SECOND)


def test_what_is_said_is_told_where_it_is_asked_for() -> None:
    spoken = dialect()
    hear(spoken, update("de", noise_reduction=None), SECOND)
    translation = Translation("de", (Word(" eins", 0.3, 0.5, 1.0), Word(" zwei", 0.5, 0.9, 1.0)), 0.3, 0.95)
    (output,) = tell(spoken, Words(WORD, 0.6), translation)
    assert (output["type"], output["delta"], output["elapsed_ms"]) == (OUTPUT, "eins zwei", 800)
    hear(spoken, update("de"))
    first, second, output = tell(spoken, Words(WORD, 0.6), Words(WORD, 0.6), translation)
    assert [first["type"], first["delta"], second["delta"], output["delta"]] == [INPUT, "one", " one", " eins zwei"]


def test_the_end_is_told_last_and_nothing_follows_it() -> None:
    spoken = dialect()
    hear(spoken, update("de"), SECOND)
    assert hear(spoken, CLOSE, CLOSE) == [End()]
    with pytest.raises(ProtocolError):
        hear(spoken, SECOND)
    closed, hangup = tell(spoken, Ended(1.0))
    assert (closed["type"], hangup) == ("session.closed", Hangup())
    (said,) = hear(dialect(), CLOSE)
    assert isinstance(said, Say)
    assert said.replies[-1] == Hangup()


def test_what_could_not_be_translated_is_an_error_after_which_it_goes_on() -> None:
    spoken = dialect()
    hear(spoken, update("de"), SECOND)
    (error,) = tell(spoken, TranslationSkipped("de", 1.0, 2.0, "too slow"))
    assert (error["type"], error["error"]["type"]) == ("error", "server_error")


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {"output": {"language": "xx"}}}, "session.audio.output.language"),
        ({"audio": {"output": {"language": 3}}}, "session.audio.output.language"),
        ({"audio": {"output": {"voice": "alloy"}}}, "session.audio.output.voice"),
        ({"audio": {"input": {"transcription": {"model": "gpt-nothing"}}}}, "session.audio.input.transcription.model"),
        ({"model": "other"}, "session.model"),
        ({"type": "transcription"}, "session.type"),
    ],
)
def test_what_cannot_be_set_changes_nothing(session: dict[str, Any], param: str) -> None:
    spoken = dialect()
    with pytest.raises(ProtocolError) as caught:
        hear(spoken, json.dumps({"type": "session.update", "session": session}))
    (told,) = [json.loads(each) for each in spoken.refuse(caught.value) if isinstance(each, str)]
    assert told["error"]["param"] == param


def text_of(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(each["delta"] for each in events if each["type"] == kind)


def translated(running: Running, language: str) -> list[dict[str, Any]]:
    with driver.TranslationsCall(running.port, language=language) as call:
        call.send(driver.SPEAKER.encoded(s16(SPEECH.samples)))
        call.end()
        return list(call.events())


@pytest.fixture(scope="module")
def german() -> Iterator[Running]:
    with serving(model=tone_model("de"), config=replace(CONFIG, language="de")) as running:
        yield running


def test_both_texts_are_told_to_their_ends(german: Running) -> None:
    events = translated(german, "en")
    assert text_of(events, INPUT) == SPEECH.text.strip()
    assert text_of(events, OUTPUT) == english(SPEECH).text.strip()
    assert events[-1]["type"] == "session.closed"
    assert events[0]["session"]["output_modalities"] == ["text"]


def test_a_translator_of_text_does_the_same() -> None:
    with serving(translations=Translations(translator=Shouting())) as running:
        events = translated(running, "de")
    assert text_of(events, OUTPUT) == SPEECH.text.strip().upper()
    assert events[-1]["type"] == "session.closed"


def test_what_is_translated_is_spoken_where_there_is_a_voice() -> None:
    translations, voices = Translations(translator=Shouting()), ToneVoices(LoudVoice())
    with serving(translations=translations, speech=Speech(voices=voices)) as running:
        events = translated(running, "de")
    assert events[0]["session"]["output_modalities"] == ["text"]
    updated = next(each for each in events if each["type"] == "session.updated")
    assert updated["session"]["output_modalities"] == ["text", "audio"]
    deltas = [RealtimeTranslationOutputAudioDeltaEvent.model_validate(each) for each in events if each["type"] == SOUND]
    assert {(each.format, each.sample_rate, each.channels) for each in deltas} == {("pcm16", 24_000, 1)}
    pcm = resampled(b"".join(base64.b64decode(each.delta) for each in deltas), 24_000, 16_000)
    assert heard_again(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)) == SPEECH.text.split()
    times = [each.elapsed_ms for each in deltas if each.elapsed_ms is not None]
    assert times == sorted(times)
    assert all(each % 200 == 0 for each in times)


def test_what_is_spoken_follows_the_language() -> None:
    served = Served("base", ("gpt-realtime-whisper",), ("en",), ("transcribe",), ("de", "es"), "1", voices=("de",))
    spoken = OpenAITranslations(Handshake("me", 1_000.0), served)
    opened = hear(spoken, update("de"), SECOND)[1]
    assert isinstance(opened, Open)
    assert opened.request.speech == ("de",)
    assert hear(spoken, update("es"))[:2] == [Targets(("es",)), SpeechChosen(())]
    assert hear(spoken, update("de"))[:2] == [Targets(("de",)), SpeechChosen(("de",))]
