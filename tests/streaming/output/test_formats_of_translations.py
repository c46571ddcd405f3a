"""Words and their translations in, text of one or several languages out; what others make of that text."""

import json

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ttconv.model import ContentDocument

from simul_whisper import Word
from streaming.events import (
    Ended,
    Event,
    Language,
    Recognised,
    SpeechEnded,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.output.formats import FORMATS, open_format
from streaming.output.texts import TRANSCRIPT
from tests.streaming.output.words import ANY_WORD, said, translated, words_of
from tests.streaming.output.written import SCHEMA, fed, paragraphs, shown, text_of, ttml_of

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
        ANY_WORD,
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
