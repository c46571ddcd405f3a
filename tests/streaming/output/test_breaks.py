"""Where text may be parted: never inside a number, nor between a word and the rest of it that came later."""

import pytest

from simul_whisper import Word
from streaming.output.breaks import continues_number_after_space, continues_word, ends_sentence
from streaming.output.cues import CaptionOptions, CueBuilder
from streaming.output.formats import open_format
from streaming.output.texts import TRANSCRIPT, Lines
from streaming.protocols.segments import Segments
from tests.streaming.output.words import said, words_of

PARTED = [
    (" 1", ",250"),
    (" 1,", "250"),
    (" 3.", "7"),
    (" 10:", "45"),
    (" 555-", "1234"),
    (" $", "49"),
    (" 50", "%"),
    (" 50", "€"),
    (" L", "-Y"),
    (" L-", "Y"),
    (" John", "'s"),
    (" un", "likely"),
    (" 8", "th"),
    (" word", "."),
]


@pytest.mark.parametrize(("before", "text"), PARTED)
def test_the_rest_of_a_word_continues_it(before: str, text: str) -> None:
    assert continues_word(text, before)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (" 1", " 250"),
        (" sentence.", "Next"),
        ("引く。", "また"),
        ("在", "GitHub"),
        ("12", "月"),
        ("", "1"),
    ],
)
def test_other_words_do_not(before: str, text: str) -> None:
    assert not continues_word(text, before)


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        (" 135", " 000", True),
        (" 1 234", " 567.", True),
        (" 50", " %", True),
        (" 5", " €", True),
        (" 2024", " 100", False),
        (" 135", " 0000", False),
        (" 1 234 567 890", " 123", False),
        (" 3,5", " 100", False),
        (" about", " %", False),
    ],
)
def test_groups_of_digits_and_units_continue_a_number(before: str, text: str, expected: bool) -> None:
    assert continues_number_after_space(text, before) is expected


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (" 3.", "de", False),
        (" am 19.", "da", False),
        (" 3.", "en", True),
        (" 3.", None, True),
        (" 1987.", "de", True),
        (" 1.3.", "de", True),
        (" Ende.", "de", True),
    ],
)
def test_a_day_of_the_month_ends_no_sentence_where_it_is_written_so(
    text: str, language: str | None, expected: bool
) -> None:
    assert ends_sentence(text, language) is expected


@pytest.mark.parametrize("number", [[" 1", ",250"], [" 135", " 000"], [" 50", " %"], [" L", "-Y", "-V"]])
def test_no_cue_and_no_line_of_one_parts_a_number(number: list[str]) -> None:
    for n_before in range(1, 45):
        texts = [f" {'x' * n_before}", " yz", *number, " wide", " open"]
        words = [Word(text, i / 4, (i + 1) / 4, 1.0) for i, text in enumerate(texts)]
        builder = CueBuilder(CaptionOptions(max_line=14, max_lines=2, min_cue_s=0))
        cues = [*builder.feed(words), *builder.end()]
        assert any("".join(number).strip() in line for cue in cues for line in cue.lines)


def test_a_day_and_its_month_stay_in_one_caption() -> None:
    words = [
        Word(each.text, each.start_s, each.end_s, 1.0, "de") for each in words_of("Er kam schon am 3. Oktober an.")
    ]
    assert open_format("srt").feed(said(*words)).count("-->") == 1


def test_a_pause_parts_what_may_be_two_numbers_and_never_a_word() -> None:
    def n_cues(before: str, after: str) -> int:
        builder = CueBuilder()
        return len([*builder.feed([Word(before, 0, 1, 1.0), Word(after, 2, 3, 1.0)]), *builder.end()])

    assert (n_cues(" 1", ",250"), n_cues(" 100", " 200")) == (1, 2)


def test_a_line_that_is_full_takes_the_rest_of_a_number() -> None:
    lines = Lines(TRANSCRIPT)
    words = [Word(text, 0, 1, 1.0) for text in [*[" word"] * 39, " 135", " 000", " euros"]]
    (line,) = lines.feed(said(*words))
    assert [word.text for word in line[-2:]] == [" 135", " 000"]
    assert [word.text for word in lines.open] == [" euros"]


def test_a_segment_takes_the_rest_of_a_number() -> None:
    segments = Segments()
    touched = segments.feed(
        [Word(" It rose by 3.", 0, 14, 1.0), Word("7", 15, 16, 1.0), Word(" percent", 16, 17, 1.0)], 1
    )
    assert [segment.text for segment in touched] == [" It rose by 3.7", " percent"]
