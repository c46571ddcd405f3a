"""Sinks as text in, text out; cues as properties over any words."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import ConfigError, StopReason, Update, Word
from streaming.events import Ended, Event, Language, SpeechEnded, SpeechStarted, Words
from streaming.output.formats import (
    FORMATS,
    MAX_CUE_LINES,
    MAX_CUE_MS,
    MAX_LINE_COLUMNS,
    Cue,
    CueBuilder,
    EventSink,
    open_sink,
)
from tests.streaming.told import draft


def update(*words: Word, audio_end_s: float = 0.0, language: str | None = "en") -> Update:
    return Update(
        words=words,
        draft="",
        stop=StopReason.EDGE,
        language=language,
        audio_end_s=audio_end_s,
        keep_from_sample=0,
        is_last=False,
    )


def words_of(text: str, start_s: float = 0.0, word_s: float = 0.3) -> list[Word]:
    """The words of an English text, one after the other."""
    return [Word(" " + w, start_s + i * word_s, start_s + (i + 1) * word_s, 0.9) for i, w in enumerate(text.split())]


def written(name: str, updates: list[Update], *, with_times: bool = False) -> str:
    stream = io.StringIO()
    sink = open_sink(name, stream, with_times=with_times)
    for each in updates:
        sink.feed(each)
    sink.end()
    return stream.getvalue()


TALK = [
    update(*words_of("The tide is"), audio_end_s=1.0),
    update(audio_end_s=2.0),
    update(*words_of("a wave. It", start_s=0.9), audio_end_s=3.0),
    update(*words_of("travels.", start_s=2.0), audio_end_s=4.0),
]


def test_text_flows() -> None:
    assert written("text", TALK) == "The tide is a wave. It travels.\n"


def test_text_with_times_has_a_line_for_each_update_with_words() -> None:
    assert written("text", TALK, with_times=True).splitlines() == [
        "[   0.00 -    0.90] The tide is",
        "[   0.90 -    1.80] a wave. It",
        "[   2.00 -    2.30] travels.",
    ]


def test_punctuation_that_comes_later_stands_on_the_line_of_its_word() -> None:
    talk = [
        update(*words_of("The tide")),
        update(Word(",", 0.6, 0.6, 0.9)),
        update(Word(".", 0.6, 0.6, 0.9), *words_of("It")),
    ]
    assert written("text", talk, with_times=True) == "[   0.00 -    0.60] The tide,.\n[   0.00 -    0.30] It\n"


def test_jsonl_keeps_words_times_and_language() -> None:
    word = Word(" schön", 1.23456, 1.5, 0.87654, "de")
    rows = written("jsonl", [update(word, audio_end_s=2.0, language="de"), update(audio_end_s=3.0)])
    assert "schön" in rows
    assert [json.loads(row) for row in rows.splitlines()] == [
        {
            "emitted": 2.0,
            "language": "de",
            "text": " schön",
            "words": [{"word": " schön", "start": 1.235, "end": 1.5, "probability": 0.877, "language": "de"}],
        }
    ]


def test_jsonl_takes_the_time_of_emission() -> None:
    stream = io.StringIO()
    open_sink("jsonl", stream).feed(update(*words_of("late"), audio_end_s=2.0), emitted_s=2.75)
    assert json.loads(stream.getvalue())["emitted"] == 2.75


def test_srt() -> None:
    assert written("srt", TALK) == (
        "1\n00:00:00,000 --> 00:00:01,500\nThe tide is a wave.\n\n2\n00:00:01,500 --> 00:00:02,300\nIt travels.\n\n"
    )


def test_vtt_is_escaped() -> None:
    updates = [update(*words_of("a<b --> c&d.", start_s=3661.5))]
    assert written("vtt", updates) == ("WEBVTT\n\n1\n01:01:01.500 --> 01:01:02.400\na&lt;b --&gt; c&amp;d.\n\n")


@pytest.mark.parametrize(("name", "expected"), [("text", ""), ("jsonl", ""), ("srt", ""), ("vtt", "WEBVTT\n\n")])
def test_silence_leaves_no_words(name: str, expected: str) -> None:
    assert written(name, [update()]) == expected


def test_captions_are_written_when_they_close() -> None:
    stream = io.StringIO()
    sink = open_sink("srt", stream)
    sink.feed(update(*words_of("It is late. And")))
    assert "It is late." in stream.getvalue()
    assert "And" not in stream.getvalue()


def test_unknown_format_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="text, jsonl, srt, vtt"):
        open_sink("docx", io.StringIO())


def cues_of(words: list[Word]) -> list[Cue]:
    builder = CueBuilder()
    return [*builder.feed(words), *builder.end()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (words_of("“Stop!” he said."), ["“Stop!”", "he said."]),
        ([*words_of("before"), *words_of("after", start_s=1.2)], ["before", "after"]),
        ([*words_of("before"), *words_of("after", start_s=1.1)], ["before after"]),
        ([Word(" home", 0, 1, 1), Word(".", 3, 3.1, 1), Word(" Next", 3.1, 4, 1)], ["home.", "Next"]),
        (words_of("slow " * 4, word_s=2.0), ["slow slow slow", "slow"]),
        (
            [Word("潮", 0, 1, 1), Word("は", 1, 1.2, 1), Word("引く。", 1.2, 2, 1), Word("また", 2, 3, 1)],
            ["潮は引く。", "また"],
        ),
    ],
)
def test_where_cues_break(words: list[Word], expected: list[str]) -> None:
    assert ["".join(cue.lines) for cue in cues_of(words)] == expected


def test_long_sentences_fill_two_lines() -> None:
    first, *_ = cues_of(words_of("the quick brown fox " * 10, word_s=0.1))
    assert first.lines == ("the quick brown fox the quick brown fox", "the quick brown fox the quick brown fox")


def test_east_asian_characters_take_two_columns() -> None:
    cues = cues_of([Word("字", i / 10, (i + 1) / 10, 1) for i in range(50)])
    assert [[len(line) for line in cue.lines] for cue in cues] == [[21, 21], [8]]


texts = st.sampled_from([" a", " word", " sentence.", ",", "字", "。", " ", " <i>", " unbelievably-long-" + "x" * 40])
times = st.floats(0, 30, allow_nan=False)
any_words = st.lists(st.builds(Word, texts, times, times, st.just(0.5)), max_size=30)


@given(any_words)
def test_cues_keep_every_word_and_never_overlap(words: list[Word]) -> None:
    cues = cues_of(words)
    shown = "".join("".join(cue.lines) for cue in cues)
    assert "".join(shown.split()) == "".join("".join(word.text for word in words).split())
    edges = [ms for cue in cues for ms in (cue.start_ms, cue.end_ms)]
    assert edges == sorted(edges)
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert all(line for cue in cues for line in cue.lines)


@given(st.lists(st.sampled_from(["a", "brown", "fox", "jumps", "extraordinarily"]), max_size=60))
def test_cues_of_steady_speech_fit_the_screen(texts: list[str]) -> None:
    for cue in cues_of(words_of(" ".join(texts))):
        assert len(cue.lines) <= MAX_CUE_LINES
        assert all(len(line) <= MAX_LINE_COLUMNS for line in cue.lines)
        assert cue.end_ms - cue.start_ms <= MAX_CUE_MS


@given(any_words, st.integers(0, 30), st.sampled_from(FORMATS[:1] + FORMATS[2:]))
def test_the_size_of_the_pieces_never_changes_the_sum(words: list[Word], cut: int, name: str) -> None:
    assert written(name, [update(*words[:cut]), update(*words[cut:])]) == written(name, [update(*words)])


SESSION: list[Event] = [
    SpeechStarted(0.0),
    Language("en"),
    draft(" The tied"),
    Words(tuple(words_of("The tide is")), heard_s=1.0),
    Words(tuple(words_of("rising", start_s=0.9)), heard_s=2.0),
    SpeechEnded(1.5),
    Words(tuple(words_of("So is", start_s=4.0)), heard_s=5.0),
    Ended(6.0),
]


def written_events(name: str, events: list[Event]) -> str:
    stream = io.StringIO()
    sink = EventSink(open_sink(name, stream))
    for event in events:
        sink.feed(event)
    return stream.getvalue()


def test_a_session_has_a_line_for_each_utterance() -> None:
    assert written_events("text", SESSION) == "The tide is rising\nSo is\n"


def test_a_caption_closes_when_speech_ends() -> None:
    cues = written_events("srt", SESSION[:6])
    assert cues.splitlines()[2] == "The tide is rising"
    assert written_events("srt", SESSION).startswith(cues)


def test_a_session_has_rows_with_the_language_heard() -> None:
    rows = [json.loads(line) for line in written_events("jsonl", SESSION).splitlines()]
    assert [(row["text"], row["language"], row["emitted"]) for row in rows] == [
        (" The tide is", "en", 1.0),
        (" rising", "en", 2.0),
        (" So is", "en", 5.0),
    ]
