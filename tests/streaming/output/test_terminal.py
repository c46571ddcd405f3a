"""Captions as a terminal shows them, and as a pipe gets them."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
from rich.console import Console

from simul_whisper import Word
from streaming.events import (
    AudioDropped,
    CutShort,
    Ended,
    Failed,
    Language,
    Reason,
    SpeechEnded,
    SpeechStarted,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.output.formats import open_format
from streaming.output.terminal import PlainCaptions, ScreenCaptions, open_screen
from tests.streaming.output.words import translated
from tests.streaming.told import draft

WIDTH = 40
LOUD = np.full(1600, 0.5, np.float32)


def words(text: str, start_s: float = 0.0) -> Words:
    said = tuple(Word(" " + w, start_s + 0.2 * i, start_s + 0.2 * (i + 1), 0.9) for i, w in enumerate(text.split()))
    return Words(said, heard_s=said[-1].end_s)


@contextmanager
def screen(*targets: str) -> Iterator[tuple[ScreenCaptions, io.StringIO]]:
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, height=20, force_terminal=True, color_system="standard")
    with open_screen(console, clock=count().__next__, targets=targets) as captions:
        yield captions, stream


def left_on(stream: io.StringIO) -> list[str]:
    """What stays on the screen: the lines, each after the last time that it was wiped out."""
    lines = [""]
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", stream.getvalue()):
        if part == "\n":
            lines.append("")
        elif part == "\x1b[1A":
            lines.pop()
        elif part == "\x1b[2K":
            lines[-1] = ""
        elif part[0] not in "\x1b\r":
            lines[-1] += part
    return [line.rstrip() for line in lines if line.strip()]


def test_committed_text_is_firm_and_draft_is_dim() -> None:
    with screen() as (captions, stream):
        captions.show(words("The tide"))
        captions.show(draft(" is"))
        assert "\x1b[1mThe tide\x1b[0m\x1b[2m is\x1b[0m" in stream.getvalue()


def test_a_draft_is_gone_once_it_is_replaced() -> None:
    with screen() as (captions, stream):
        captions.show(draft(" The tied"))
        captions.show(words("The tide"))
        captions.show(draft(""))
        assert left_on(stream)[0] == "The tide"


def test_utterances_stay_on_the_screen_each_on_its_line() -> None:
    with screen() as (captions, stream):
        captions.show(words("The tide is rising."))
        captions.show(SpeechEnded(1.0))
        captions.show(words("So is the moon.", start_s=3.0))
    assert left_on(stream) == ["The tide is rising.", "So is the moon."]


def test_full_lines_scroll_away_whole() -> None:
    text = " ".join(f"word{i}" for i in range(40))
    with screen() as (captions, stream):
        for i in range(40):
            captions.show(words(f"word{i}", start_s=0.2 * i))
            captions.hear(LOUD)
    lines = left_on(stream)
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= WIDTH
    assert min(map(len, lines[:-1])) > WIDTH - 8


def test_the_state_shows_level_latency_language_and_time() -> None:
    with screen() as (captions, stream):
        captions.hear(np.zeros(16_000, np.float32))
        assert "▮" not in left_on(stream)[-1]
        captions.show(SpeechStarted(0.5))
        captions.show(Language("en"))
        for _ in range(620):
            captions.hear(LOUD)
        captions.show(words("late", start_s=61.3))
        captions.hear(LOUD)
        state = left_on(stream)[-1]
        assert re.fullmatch(r"● ▮{11}▯  01:03  1\.5 s behind  en", state)


def test_what_goes_wrong_is_told_above_the_captions() -> None:
    with screen() as (captions, stream):
        captions.show(words("The tide"))
        captions.show(AudioDropped(61.0, 63.5))
        captions.show(CutShort(70.0))
        captions.show(Failed(Reason.ENGINE, "the model is broken"))
    assert left_on(stream) == [
        "2.5 s of audio were dropped at 01:01:",
        "this machine is too slow",
        "words may be missing before 01:10:",
        "decoding took too long, and was ended",
        "early",
        "The tide",
        "the model is broken",
    ]


def test_in_a_pipe_there_are_plain_lines_and_notices_apart() -> None:
    out, err = io.StringIO(), io.StringIO()
    captions = PlainCaptions(open_format("text"), out, err)
    for event in (draft(" no"), words("The tide"), words("is rising."), SpeechEnded(1.0), words("Yes."), Ended(2.0)):
        captions.hear(LOUD)
        captions.show(event)
    captions.say("the microphone is lost")
    assert out.getvalue() == "The tide is rising.\nYes.\n"
    assert err.getvalue() == "simul-whisper: the microphone is lost\n"


def test_rows_of_what_another_machine_hears_say_when_it_was_heard() -> None:
    out = io.StringIO()
    captions = PlainCaptions(open_format("jsonl", texts=("", "es")), out, io.StringIO())
    captions.show(words("The tide is", 1.0))
    captions.show(translated("es", "La", 1.0))
    captions.show(words("rising.", 2.0))
    assert [json.loads(row)["emitted"] for row in out.getvalue().splitlines()] == [1.6, 1.6, 2.2]


def spanish_draft(text: str = "") -> TranslationDraft:
    return TranslationDraft("es", (Word(text, 1.0, 1.5, 0.5, "es"),) if text else ())


def test_each_language_has_a_line_that_is_firm_and_a_draft_that_is_dim() -> None:
    with screen("es", "de") as (captions, stream):
        captions.show(words("The tide is"))
        captions.show(draft(" a"))
        captions.show(translated("es", "La marea"))
        captions.show(spanish_draft(" es"))
        assert "La marea\x1b[0m\x1b[2m es\x1b[0m" in stream.getvalue()
        assert left_on(stream)[:-1] == ["The tide is a", "es: La marea es"]
        captions.show(translated("es", "está alta."))
        captions.show(spanish_draft())
        captions.show(words("rising. It"))
        captions.show(draft())
        captions.show(translated("de", "Die Flut"))
        assert left_on(stream)[:-1] == ["es: La marea está alta.", "The tide is rising.", "It"]
    assert left_on(stream) == ["es: La marea está alta.", "The tide is rising.", "It", "de: Die Flut"]


def test_the_end_of_speech_is_not_that_of_a_translation() -> None:
    with screen("es") as (captions, stream):
        captions.show(words("The tide"))
        captions.show(draft(" no"))
        captions.show(translated("es", "La"))
        captions.show(spanish_draft(" marrea"))
        captions.show(SpeechEnded(1.0))
        assert left_on(stream)[:-1] == ["The tide", "es: La marrea"]
        captions.show(translated("es", "marea"))
        captions.show(spanish_draft())
        captions.show(translated("es", "Sí", utterance=2))
        captions.show(Ended(1.0))
    assert left_on(stream) == ["The tide", "es: La marea", "es: Sí"]


def test_what_was_not_translated_is_told() -> None:
    out, err = io.StringIO(), io.StringIO()
    captions = PlainCaptions(open_format("text", texts=("", "es")), out, err)
    captions.show(TranslationSkipped("es", 61.2, 63.5, "the endpoint is down"))
    assert out.getvalue() == ""
    assert err.getvalue() == "simul-whisper: es: 01:01 to 01:03 is not translated: the endpoint is down\n"


@pytest.mark.parametrize("targets", [(), ("es",)])
@pytest.mark.parametrize("number", ["1 234 567", "135 000 €", "50 %", "1,250,000", "L-Y-V", "555-1234"])
def test_no_line_ends_inside_a_number(number: str, targets: tuple[str, ...]) -> None:
    for n_before in range(20, WIDTH):
        with screen(*targets) as (captions, stream):
            captions.show(words(f"{'x' * n_before} {number} euros and so on and so on."))
            captions.show(draft(""))
            while_said = left_on(stream)
        for lines in (while_said, left_on(stream)):
            assert any(number in line for line in lines)
            assert max(map(len, lines)) <= WIDTH
