"""How late speech is heard, and what it costs: of voices that take a known time."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import Progress, SpeechConfig, Voice, Word
from streaming.cli import main
from streaming.evaluation.replay import AudioClock, Emission, replay
from streaming.evaluation.speaking import Speaking, speak, speech_figures
from streaming.events import Spoken, Words
from streaming.sessions.session import Session
from tests.speaking import WORD_S, ToneVoices, heard_again, sound_of
from tests.streaming.serving import CONFIG, OFF, counted
from tests.tones import random_words, speech_of, tone_model

RECORDINGS = Path(__file__).parents[3] / "demos" / "recordings"


def told(text: str, ready_s: float) -> Emission:
    words = tuple(Word(f" {each}", 0.0, ready_s, 1.0, "en") for each in text.split())
    return Emission((Words(words, ready_s),), ready_s, ready_s, 0.0, stages_ready_s=ready_s)


def test_the_figures_are_those_of_a_listener() -> None:
    speaking = Speaking(ToneVoices(), SpeechConfig(pause=0, most_speed=1), ("",))
    # The second is known one second after the first, which takes one and a half; the third after a silence.
    emissions = [told("one four five.", 1.0), told("seven nine.", 2.0), told("red.", 9.0)]
    events = speak(emissions, speaking)
    assert heard_again(sound_of(events)) == "one four five seven nine red".split()
    figures = speech_figures(speaking.metrics)["transcript"]
    assert figures["sentences"] == 3
    assert figures["left_out"] == 0
    assert figures["sound_s"] == 6 * WORD_S
    assert figures["heard_after_s"] - figures["first_sound_s"] == pytest.approx((0 + 0.5 + 0) / 3, abs=0.002)
    took_s = counted(speaking.metrics.read())["speech_seconds_total"]
    assert took_s > 0
    assert figures["voice_per_audio_s"] == round(took_s / (6 * WORD_S), 3)


def test_the_clock_of_a_replay_goes_with_the_audio() -> None:
    clock, samples = AudioClock(), speech_of(random_words(6)).samples
    chunks = iter(np.array_split(samples, 5))
    times = [(each.audio_s, clock()) for each in replay(Session(CONFIG, tone_model(), OFF), chunks, clock=clock)]
    assert len(times) == 5
    assert all(audio_s == now_s for audio_s, now_s in times)


class Beeping(ToneVoices):
    """Any text, a tenth of a second for each word."""

    description, rate = "beeps", 16_000

    def voice(self, language: str) -> Voice:  # noqa: ARG002
        return self

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:  # noqa: ARG002
        yield np.zeros(1_600 * len(text.split()), np.float32)


def test_bench_speaks_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_voices(config: SpeechConfig, progress: Callable[[Progress], None]) -> ToneVoices:  # noqa: ARG001
        return Beeping()

    monkeypatch.setattr("simul_whisper.open_voices", open_voices)
    kept, manifest = tmp_path / "bench.json", str(RECORDINGS)
    flags = ["--model", "tiny.en", "--padding-len", "1", "--only-lang", "en", "--only-kind", "short", "--no-offline"]
    assert main(["bench", manifest, *flags, "--voice", "joe"]) == 2
    assert "--voice needs --speech" in capsys.readouterr().err
    assert main(["bench", manifest, *flags, "--speech", "--json", str(kept)]) == 0
    figures = json.loads(kept.read_text())["speech"]["transcript"]
    assert figures["sentences"] > 1
    assert "heard after s" in capsys.readouterr().out


def test_what_speaks_live_goes_by_the_time_of_day() -> None:
    stage = Speaking(ToneVoices(), SpeechConfig(), ("",)).live_stage()
    events = [*stage.feed(told("one four.", 1.0).events), *stage.flush()]
    assert [each.text for each in events if isinstance(each, Spoken) and each.text] == ["one four."]
