"""Events in, text out; what others make of that text."""

import json
import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ttconv.imsc import reader as imsc_reader
from ttconv.model import Br, ContentDocument, ContentElement, P, Text

from simul_whisper import ConfigError, Word
from streaming.events import (
    Ended,
    Event,
    Failed,
    Language,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.output.cues import CaptionOptions
from streaming.output.formats import CAPTION_FORMATS, FORMATS, SUFFIXES, WORDS_SCHEMA, Format, open_format
from streaming.output.texts import TRANSCRIPT
from tests.streaming.output.words import translated, words_of
from tests.streaming.told import draft

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / f"{WORDS_SCHEMA}.json"
FLASHING = CaptionOptions(min_cue_s=0)


def said(*words: Word, heard_s: float = 0.0) -> Words:
    return Words(words, heard_s)


def fed(written: Format, events: Iterable[Event]) -> str:
    return "".join(written.feed(event) for event in events)


def text_of(name: str, events: Iterable[Event], **options: object) -> str:
    written = open_format(name, **options)  # type: ignore[arg-type]
    return fed(written, events) + written.end()


TALK: list[Event] = [
    Language("en"),
    said(*words_of("The tide is"), heard_s=1.0),
    draft(" a wafe"),
    said(*words_of("a wave. It", start_s=0.9), heard_s=3.0),
    said(*words_of("travels.", start_s=2.0), heard_s=4.0),
]
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


def test_srt() -> None:
    assert text_of("srt", TALK, captions=FLASHING) == (
        "1\n00:00:00,000 --> 00:00:01,500\nThe tide is a wave.\n\n2\n00:00:01,500 --> 00:00:02,300\nIt travels.\n\n"
    )


def test_vtt_is_escaped() -> None:
    talk: list[Event] = [said(*words_of("a<b --> c&d.", start_s=3661.5))]
    assert text_of("vtt", talk) == ("WEBVTT\n\n1\n01:01:01.500 --> 01:01:02.500\na&lt;b --&gt; c&amp;d.\n\n")


@pytest.mark.parametrize("name", CAPTION_FORMATS)
def test_a_caption_is_written_when_it_is_closed(name: str) -> None:
    written = open_format(name)
    told = written.feed(said(*words_of("It is rather late. And")))
    assert "It is rather late." in told
    assert "And" not in told
    assert "And" in written.feed(SpeechEnded(2.0))


@pytest.mark.parametrize(("name", "expected"), [("text", ""), ("jsonl", ""), ("srt", ""), ("vtt", "WEBVTT\n\n")])
def test_silence_leaves_no_words(name: str, expected: str) -> None:
    assert text_of(name, [said(), Ended(3.0)]) == expected


def test_unknown_format_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="text, jsonl, words-jsonl, srt, vtt, ttml"):
        open_format("docx")


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert len(set(SUFFIXES.values())) == len(FORMATS)


# What others read

SPEECH: list[Event] = [
    said(*words_of("Where the tide is a wave & travels far, nobody has to wait long for it. So")),
    said(*words_of("they say.", start_s=5.0)),
    SpeechEnded(5.6),
    said(*words_of("Yes.", start_s=3725.5)),
    Ended(3726.0),
]
CUES = [
    (0, 4800, ["Where the tide is a wave & travels far,", "nobody has to wait long for it."]),
    (4800, 5800, ["So they say."]),
    (3725500, 3726500, ["Yes."]),
]


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_pysubs2_reads_the_captions(name: str) -> None:
    read = pysubs2.SSAFile.from_string(text_of(name, SPEECH), format_=name)
    found = [(each.start, each.end, each.plaintext.split("\n")) for each in read]
    # It leaves WebVTT's escapes as they are.
    ampersand = "&amp;" if name == "vtt" else "&"
    assert found == [(start, end, [line.replace("&", ampersand) for line in lines]) for start, end, lines in CUES]


def ttml_of(text: str, caplog: pytest.LogCaptureFixture) -> ContentDocument:
    """What ttconv reads, without a word of complaint."""
    with caplog.at_level(logging.WARNING):
        document = imsc_reader.to_model(ElementTree.ElementTree(ElementTree.fromstring(text)))
    assert document is not None
    assert not caplog.records
    return document


def paragraphs(element: ContentElement) -> list[P]:
    return [each for each in element.dfs_iterator() if isinstance(each, P)]


def shown(paragraph: P) -> str:
    parts = (
        each.get_text() if isinstance(each, Text) else "\n" * isinstance(each, Br) for each in paragraph.dfs_iterator()
    )
    return "".join(parts)


def test_ttconv_reads_the_captions(caplog: pytest.LogCaptureFixture) -> None:
    document = ttml_of(text_of("ttml", SPEECH, language="en"), caplog)
    body = document.get_body()
    assert body is not None
    assert document.get_lang() == "en"
    assert [region.get_id() for region in document.iter_regions()] == ["bottom"]
    found = [(each.get_begin() or 0, each.get_end(), shown(each).split("\n")) for each in paragraphs(body)]
    assert found == [(Fraction(start, 1000), Fraction(end, 1000), lines) for start, end, lines in CUES]


def test_ttml_of_silence_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    body = ttml_of(text_of("ttml", [said(), Ended(3.0)]), caplog).get_body()
    assert body is not None
    assert not paragraphs(body)


def test_ttml_is_in_the_language_of_the_text(caplog: pytest.LogCaptureFixture) -> None:
    translated = said(Word(" Tide.", 0.0, 1.5, 0.9, "en"))
    assert ttml_of(text_of("ttml", [Language("de"), translated], language="de"), caplog).get_lang() == "en"


def test_ttml_is_whole_with_its_tail_at_any_time(caplog: pytest.LogCaptureFixture) -> None:
    written, text = open_format("ttml"), ""
    for event in SPEECH:
        text += written.feed(event)
        if text:
            ttml_of(text + written.tail, caplog)
    assert written.tail == written.end() == ""


# Any words

texts = st.sampled_from([" a", " word", " sentence.", ",", "字", "。", " ", " <i>", " unbelievably-long-" + "x" * 40])
times = st.floats(0, 30, allow_nan=False)
any_words = st.lists(st.builds(Word, texts, times, times, st.just(0.5)), max_size=30)


@given(any_words, st.integers(0, 30), st.sampled_from([name for name in FORMATS if name != "jsonl"]))
def test_the_size_of_the_pieces_never_changes_the_sum(words: list[Word], cut: int, name: str) -> None:
    assert text_of(name, [said(*words[:cut]), said(*words[cut:])]) == text_of(name, [said(*words)])


@given(any_words, st.sampled_from(FORMATS), st.sampled_from([Ended(9.0), Failed(Reason.ENGINE, "it is broken")]))
def test_the_last_event_leaves_nothing_open(words: list[Word], name: str, last: Event) -> None:
    written = open_format(name)
    text = fed(written, [said(*words), last])
    assert written.end() == written.tail == ""
    assert text_of(name, [said(*words)]) == text


# Translations

INTERPRETED: list[Event] = [
    Language("en"),
    said(*words_of("The tide is a wave. It")),
    translated("es", "La marea es"),
    TranslationDraft("es", (Word(" un", 1.0, 1.2, 0.5, "es"),)),
    translated("de", "Die Flut ist eine Welle."),
    said(*words_of("travels far", 1.8)),
    translated("es", "una ola. Viaja", 0.9),
    SpeechEnded(2.4),
    translated("es", "lejos", 1.8),
    TranslationSkipped("de", 1.5, 2.4, "it is down"),
    said(*words_of("Yes.", 5.0)),
    translated("fr", "Oui.", 5.0),
    Recognised(6.0),
    translated("es", "Sí", 5.0, utterance=2),
    Ended(6.0),
]


def interpreted(name: str, *texts: str, **options: object) -> str:
    return fed(open_format(name, texts=texts, **options), INTERPRETED)  # type: ignore[arg-type]


def test_text_of_several_languages_has_a_line_for_each_sentence() -> None:
    assert interpreted("text", TRANSCRIPT, "es", "de").splitlines() == [
        "The tide is a wave.",
        "de: Die Flut ist eine Welle.",
        "es: La marea es una ola.",
        "It travels far",
        "Yes.",
        "es: Viaja lejos",
        "es: Sí",
    ]


def test_text_of_several_languages_with_times() -> None:
    assert interpreted("text", TRANSCRIPT, "de", times=True).splitlines() == [
        "[   0.00 -    1.50] The tide is a wave.",
        "[   0.00 -    1.50] de: Die Flut ist eine Welle.",
        "[   1.50 -    2.40] It travels far",
        "[   5.00 -    5.30] Yes.",
    ]


def test_a_line_without_an_end_is_cut_before_it_is_too_long() -> None:
    talk = [said(*words_of("word " * 30)), said(*words_of("word " * 30))]
    lines = text_of("text", talk, texts=(TRANSCRIPT, "es")).splitlines()
    assert " ".join(lines) == " ".join(["word"] * 60)
    assert [len(line) for line in lines] == [199, 99]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "text"])
def test_the_transcript_is_written_as_without_translations(name: str) -> None:
    alone = [
        event for event in INTERPRETED if not isinstance(event, Translation | TranslationDraft | TranslationSkipped)
    ]
    assert interpreted(name, TRANSCRIPT) == text_of(name, alone)


@pytest.mark.parametrize("texts", [(TRANSCRIPT, "es"), ("de", "es")])
def test_rows_of_translations_name_their_language_and_what_they_are_of(texts: tuple[str, ...]) -> None:
    rows = [json.loads(line) for line in interpreted("jsonl", *texts).splitlines()]
    assert {row.get("target", TRANSCRIPT) for row in rows} == set(texts)
    spanish = [row for row in rows if row.get("target") == "es"]
    assert "".join(row["text"] for row in spanish) == " La marea es una ola. Viaja lejos Sí"
    assert spanish[1] == {
        "emitted": 1.8,
        "language": "en",
        "target": "es",
        "source_start": 0.9,
        "source_end": 1.8,
        "text": " una ola. Viaja",
        "words": [
            {"word": " una", "start": 0.9, "end": 1.2, "probability": 1.0, "language": "es"},
            {"word": " ola.", "start": 1.2, "end": 1.5, "probability": 1.0, "language": "es"},
            {"word": " Viaja", "start": 1.5, "end": 1.8, "probability": 1.0, "language": "es"},
        ],
    }


def test_a_row_says_what_was_not_translated() -> None:
    rows = [json.loads(line) for line in interpreted("jsonl", "de").splitlines()]
    assert rows[-1] == {
        "emitted": 2.4,
        "language": "en",
        "target": "de",
        "source_start": 1.5,
        "source_end": 2.4,
        "text": "",
        "words": [],
        "skipped": "it is down",
    }


def test_rows_of_translated_words_keep_to_the_schema() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    rows = [json.loads(line) for line in interpreted("words-jsonl", TRANSCRIPT, "es", "de").splitlines()]
    assert not [error.message for row in rows for error in validator.iter_errors(row)]
    texts = {text: "".join(row["word"] for row in rows if row.get("target", "") == text) for text in ("", "es", "de")}
    assert texts[""] == " The tide is a wave. It travels far Yes."
    assert texts["es"] == " La marea es una ola. Viaja lejos Sí"
    assert {row["language"] for row in rows if "target" in row} == {"es", "de"}
    assert all(row["language"] == row.get("target", "en") for row in rows)


def test_captions_of_a_translation_go_on_where_speech_ends_and_end_with_the_session() -> None:
    read = pysubs2.SSAFile.from_string(interpreted("srt", "es"), format_="srt")
    assert [(each.start, each.end, each.plaintext) for each in read] == [
        (0, 1500, "La marea es una ola."),
        (1500, 2500, "Viaja lejos"),
        (5000, 6000, "Sí"),
    ]


def test_ttml_of_a_translation_is_in_its_language_and_whole(caplog: pytest.LogCaptureFixture) -> None:
    written = open_format("ttml", language="en", texts=("es",))
    text = fed(written, INTERPRETED[:-2])
    assert paragraphs_of(ttml_of(text + written.tail, caplog)) == ["La marea es una ola."]
    document = ttml_of(text + fed(written, INTERPRETED[-2:]), caplog)
    assert document.get_lang() == "es"
    assert paragraphs_of(document) == ["La marea es una ola.", "Viaja lejos", "Sí"]


def paragraphs_of(document: ContentDocument) -> list[str]:
    body = document.get_body()
    assert body is not None
    return [shown(each) for each in paragraphs(body)]


in_any_language = st.lists(
    st.builds(
        lambda target, word, utterance: (
            Translation(target, (word,), word.start_s, word.end_s, utterance) if target else said(word)
        ),
        st.sampled_from([TRANSCRIPT, "es", "de"]),
        st.builds(Word, texts, times, times, st.just(0.5)),
        st.integers(1, 3),
    ),
    max_size=40,
)


@given(in_any_language, st.booleans())
def test_of_several_languages_nothing_is_lost_and_a_file_is_whole_at_any_time(events: list[Event], timed: bool) -> None:
    written, text = open_format("text", texts=(TRANSCRIPT, "es"), times=timed), ""
    for event in events:
        text += written.feed(event)
        assert not text or text.endswith("\n")
    whole = text + written.tail
    assert text + written.end() == whole
    assert written.tail == written.end() == ""
    lines = [line.partition("] ")[2] if timed else line for line in whole.splitlines()]
    spanish = [line.removeprefix("es: ") for line in lines if line.startswith("es: ")]
    others = [line for line in lines if not line.startswith("es: ")]
    assert letters("".join(spanish)) == letters(
        "".join(event.text for event in events if isinstance(event, Translation) and event.target == "es")
    )
    assert letters("".join(others)) == letters("".join(event.text for event in events if isinstance(event, Words)))


def letters(text: str) -> str:
    return "".join(text.split())
