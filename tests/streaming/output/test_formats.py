"""Events in, text out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from simul_whisper import ConfigError, Word
from streaming.events import Ended, Event, Failed, Language, Reason, SpeechEnded, SpeechStarted
from streaming.output.formats import FORMATS, SUFFIXES, open_format
from tests.streaming.output.words import ANY_WORD, TALK, said, words_of
from tests.streaming.output.written import SCHEMA, fed, text_of
from tests.streaming.told import draft

SESSION: list[Event] = [
    SpeechStarted(0.0),
    Language("en"),
    draft(" The tied"),
    said(*words_of("The tide is"), heard_s=1.0),
    said(*words_of("rising", start_s=0.9), heard_s=2.0),
    SpeechEnded(1.5),
    said(*words_of("So is", start_s=4.0), heard_s=5.0),
    Ended(6.0),
]


def test_text_flows() -> None:
    assert text_of("text", TALK) == "The tide is a wave. It travels.\n"


def test_text_has_a_line_for_each_utterance() -> None:
    assert fed(open_format("text"), SESSION) == "The tide is rising\nSo is\n"


def test_text_with_times_has_a_line_for_each_passage() -> None:
    assert text_of("text", TALK, times=True).splitlines() == [
        "[   0.00 -    0.90] The tide is",
        "[   0.90 -    1.80] a wave. It",
        "[   2.00 -    2.30] travels.",
    ]


def test_punctuation_that_comes_later_stands_on_the_line_of_its_word() -> None:
    talk: list[Event] = [
        said(*words_of("The tide")),
        said(Word(",", 0.6, 0.6, 0.9)),
        said(Word(".", 0.6, 0.6, 0.9), *words_of("It")),
    ]
    assert text_of("text", talk, times=True) == "[   0.00 -    0.60] The tide,.\n[   0.00 -    0.30] It\n"


def test_rows_have_words_times_and_the_language_heard() -> None:
    word = Word(" schön", 1.23456, 1.5, 0.87654, "de")
    rows = text_of("jsonl", [Language("de"), said(word, heard_s=2.0), draft(" ja")])
    assert "schön" in rows
    assert [json.loads(row) for row in rows.splitlines()] == [
        {
            "emitted": 2.0,
            "language": "de",
            "text": " schön",
            "words": [{"word": " schön", "start": 1.235, "end": 1.5, "probability": 0.877, "language": "de"}],
        }
    ]


def test_rows_of_words_have_one_for_each_and_keep_to_their_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    talk: list[Event] = [
        *SESSION[:-1],
        said(Word(" déjà", 5, 5.5, 0.5, "fr"), Word(".", 5.5, 5.5, 1.0), heard_s=6.0),
        Failed(Reason.ENGINE, "it is broken"),
    ]
    for fields in ({}, {"file": "talk.wav"}, {"file": "talk.wav", "channel": "left"}):
        rows = [json.loads(line) for line in text_of("words-jsonl", talk, fields=fields).splitlines()]
        assert not [error.message for row in rows for error in Draft202012Validator(schema).iter_errors(row)]
        assert "".join(row["word"] for row in rows) == " The tide is rising So is déjà."
        assert [row["language"] for row in rows] == ["en"] * 6 + ["fr", "en"]
        assert all(row.items() >= fields.items() and len(row) == 7 + len(fields) for row in rows)
    bad = rows[0] | {"start": "0"}
    assert not Draft202012Validator(schema).is_valid(bad)


@pytest.mark.parametrize("name", ["jsonl", "words-jsonl"])
def test_rows_take_the_time_of_emission_and_the_file(name: str) -> None:
    written = open_format(name, language="fr", fields={"file": "a.wav"})
    row = json.loads(written.feed(said(*words_of("late"), heard_s=2.0), emitted_s=2.75))
    assert (row["emitted"], row["language"], row["file"]) == (2.75, "fr", "a.wav")


@pytest.mark.parametrize(("name", "expected"), [("text", ""), ("jsonl", ""), ("srt", ""), ("vtt", "WEBVTT\n\n")])
def test_silence_leaves_no_words(name: str, expected: str) -> None:
    assert text_of(name, [said(), Ended(3.0)]) == expected


def test_unknown_format_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="text, jsonl, words-jsonl, srt, vtt, ttml"):
        open_format("docx")


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert len(set(SUFFIXES.values())) == len(FORMATS)


# Any words

any_words = st.lists(ANY_WORD, max_size=30)


@given(any_words, st.integers(0, 30), st.sampled_from([name for name in FORMATS if name != "jsonl"]))
def test_the_size_of_the_pieces_never_changes_the_sum(words: list[Word], cut: int, name: str) -> None:
    assert text_of(name, [said(*words[:cut]), said(*words[cut:])]) == text_of(name, [said(*words)])


@given(any_words, st.sampled_from(FORMATS), st.sampled_from([Ended(9.0), Failed(Reason.ENGINE, "it is broken")]))
def test_the_last_event_leaves_nothing_open(words: list[Word], name: str, last: Event) -> None:
    written = open_format(name)
    text = fed(written, [said(*words), last])
    assert written.end() == written.tail == ""
    assert text_of(name, [said(*words)]) == text
