"""Cues as properties over any words, and as captioners want them over those that people say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import ConfigError, Word
from streaming.output.cues import CaptionOptions, Cue, CueBuilder
from tests.streaming.output.words import words_of

DEFAULT = CaptionOptions()
# So that every sentence has its own cue.
FLASHING = CaptionOptions(min_cue_s=0)


def cues_of(words: list[Word], options: CaptionOptions = DEFAULT) -> list[Cue]:
    builder = CueBuilder(options)
    return [*builder.feed(words), *builder.end()]


def texts_of(words: list[Word], options: CaptionOptions = DEFAULT) -> list[str]:
    return ["".join(cue.lines) for cue in cues_of(words, options)]


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
def test_where_cues_end(words: list[Word], expected: list[str]) -> None:
    assert texts_of(words, FLASHING) == expected


def test_a_short_sentence_goes_on_into_the_next_one() -> None:
    assert texts_of(words_of("Yes. I do. It is late.", word_s=0.4)) == ["Yes. I do.", "It is late."]


def test_a_short_cue_is_shown_longer_where_silence_follows_and_no_longer_than_that() -> None:
    yes, no = Word(" Yes.", 1.0, 1.2, 1), Word(" No.", 2.1, 2.3, 1)
    assert [(cue.start_ms, cue.end_ms) for cue in cues_of([yes, no])] == [(1000, 2000), (2100, 3100)]
    soon = Word(" No.", 2.05, 2.3, 1)
    slow = CaptionOptions(min_cue_s=1.5)
    assert [(cue.start_ms, cue.end_ms) for cue in cues_of([yes, soon], slow)] == [(1000, 2050), (2050, 3550)]


def test_a_cue_that_was_shown_longer_before_speech_went_on_pushes_the_next_one() -> None:
    builder = CueBuilder()
    builder.feed([Word(" Yes.", 1.0, 1.2, 1)])
    (yes,) = builder.end()
    builder.feed([Word(" No.", 1.8, 2.5, 1)])
    (no,) = builder.end()
    assert (yes.end_ms, no.start_ms) == (2000, 2000)


def test_a_cue_is_closed_with_its_sentence() -> None:
    (cue,) = CueBuilder().feed(words_of("It is rather late. And"))
    assert cue == Cue(0, 1200, ("It is rather late.",))


def test_a_word_that_lasts_too_long_is_not_shown_all_the_time() -> None:
    assert cues_of([Word(" hm", 1.0, 9.5, 1)]) == [Cue(1000, 8000, ("hm",))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # After punctuation, although the lines are uneven.
        (
            "He cut it into rings, and kept the part that counted",
            ("He cut it into rings,", "and kept the part that counted"),
        ),
        # Not after an article or a preposition.
        (
            "nobody had ever looked for the missing anchor again",
            ("nobody had ever looked", "for the missing anchor again"),
        ),
        (
            "niemand hatte jemals vorher nach dem Anker gesucht",
            ("niemand hatte jemals vorher", "nach dem Anker gesucht"),
        ),
        # Before a conjunction.
        (
            "keepers burned seasoned timber and wrote everything down",
            ("keepers burned seasoned timber", "and wrote everything down"),
        ),
        ("it fits on one line", ("it fits on one line",)),
    ],
)
def test_lines_are_even_and_broken_at_phrases(text: str, expected: tuple[str, ...]) -> None:
    (cue,) = cues_of(words_of(text, word_s=0.2))
    assert cue.lines == expected


def test_a_sentence_that_is_too_long_is_cut_after_a_phrase() -> None:
    text = "When the keepers had filled the lamp and trimmed it for the night, they wrote down the hour of the tide"
    first, second = cues_of(words_of(text, word_s=0.3))
    assert first.lines == ("When the keepers had filled the lamp", "and trimmed it for the night,")
    assert second.lines == ("they wrote down the hour of the tide",)
    assert first.end_ms == second.start_ms


def test_long_text_without_a_phrase_fills_two_lines() -> None:
    first, *_ = cues_of(words_of("quick brown foxes " * 10, word_s=0.1))
    assert first.lines == ("quick brown foxes quick brown foxes quick", "brown foxes quick brown foxes quick brown")


def test_east_asian_characters_take_two_columns() -> None:
    cues = cues_of([Word("字", i / 10, (i + 1) / 10, 1) for i in range(50)])
    assert [[len(line) for line in cue.lines] for cue in cues] == [[21, 21], [8]]


def test_late_punctuation_that_has_no_room_takes_its_word_along() -> None:
    options = CaptionOptions(max_line=10, max_lines=1)
    words = [*words_of("12345 1234", word_s=0.6), Word(",", 1.2, 1.3, 1), *words_of("x", start_s=1.3)]
    assert texts_of(words, options) == ["12345", "1234, x"]


@pytest.mark.parametrize(
    "changes", [{"max_line": 5}, {"max_lines": 0}, {"min_cue_s": -1}, {"max_cue_s": 2, "min_cue_s": 3}]
)
def test_impossible_options_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=[*changes][-1]):
        CaptionOptions(**changes)  # type: ignore[arg-type]


texts = st.sampled_from(
    [" a", " word", " sentence.", ",", "字", "。", " ", " <i>", " unbelievably-long-" + "x" * 40, " of", " and"]
)
times = st.floats(0, 30, allow_nan=False)
any_words = st.lists(st.builds(Word, texts, times, times, st.just(0.5)), max_size=30)
any_options = st.builds(
    CaptionOptions,
    max_line=st.integers(10, 50),
    max_lines=st.integers(1, 4),
    max_cue_s=st.floats(2, 8),
    min_cue_s=st.floats(0, 2),
)


@given(any_words, any_options)
def test_cues_keep_every_word_and_never_overlap(words: list[Word], options: CaptionOptions) -> None:
    cues = cues_of(words, options)
    shown = "".join("".join(cue.lines) for cue in cues)
    assert "".join(shown.split()) == "".join("".join(word.text for word in words).split())
    edges = [ms for cue in cues for ms in (cue.start_ms, cue.end_ms)]
    assert edges == sorted(edges)
    assert all(0 < cue.end_ms - cue.start_ms <= round(1000 * options.max_cue_s) for cue in cues)
    assert all(line and len(cue.lines) <= options.max_lines for cue in cues for line in cue.lines)


@given(any_words, any_options, st.integers(0, 30))
def test_the_size_of_the_pieces_never_changes_the_cues(words: list[Word], options: CaptionOptions, cut: int) -> None:
    builder = CueBuilder(options)
    assert [*builder.feed(words[:cut]), *builder.feed(words[cut:]), *builder.end()] == cues_of(words, options)


steady_texts = st.lists(
    st.sampled_from(["a", "brown", "fox", "jumps,", "of", "extraordinarily.", "Yes."]), min_size=1, max_size=60
)


@given(steady_texts, any_options)
def test_lines_of_steady_speech_fit_the_screen(texts: list[str], options: CaptionOptions) -> None:
    longest = max(options.max_line, *map(len, texts))
    assert all(len(line) <= longest for cue in cues_of(words_of(" ".join(texts)), options) for line in cue.lines)


@given(steady_texts)
def test_nothing_flashes_in_steady_speech(texts: list[str]) -> None:
    assert all(cue.end_ms - cue.start_ms >= 1000 for cue in cues_of(words_of(" ".join(texts))))
