"""Words of whole characters, whose times only grow, whatever the size of the pieces."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.committed_tokens import CommittedToken
from simul_whisper.transcript import Transcript
from simul_whisper.word import Word
from tests.fakes import tokenizer_of
from tests.properties import examples

TOKENIZER = tokenizer_of("base")
TEXTS = {
    "en": " Hello there, my untranslatable friend 🙂 naïve café 👩‍👩‍👧. Yes?",
    "zh": "我们在北京。𠮷野家 Apple 手机很好，是吗？🙂",
    "ja": "東京タワーへ行きました。𠮷野さんは GitHub を使う。",
    "th": "สวัสดีครับ ผมชื่อสมชาย",
}


def timed(text: str, start: int = 0, apart: int = 3_200) -> list[CommittedToken]:
    return [CommittedToken(token, start + apart * n, -0.5) for n, token in enumerate(TOKENIZER.encode(text))]


def words_of(text: str, language: str) -> list[str]:
    transcript = Transcript(TOKENIZER)
    return [word.text for word in [*transcript.feed(timed(text), language, None), *transcript.end()]]


def test_words_have_their_leading_space_and_punctuation() -> None:
    assert words_of(" Hello there, my untranslatable friend.", "en") == [
        " Hello",
        " there,",
        " my",
        " untranslatable",
        " friend.",
    ]


def test_punctuation_that_is_decided_later_is_a_word_without_a_sound() -> None:
    transcript = Transcript(TOKENIZER)
    (*hello, dot) = timed(" Hello.")
    (first,) = transcript.feed(hello, "en", dot.sample)
    (later,) = [*transcript.feed([dot], "en", None), *transcript.end()]
    assert [(word.text, word.is_spoken) for word in (first, later)] == [(" Hello", True), (".", False)]
    assert later.start_s >= first.end_s


@pytest.mark.parametrize(
    ("text", "language"), [("我们在北京。", "zh"), ("東京へ行きました。", "ja"), ("我們喺香港。", "yue")]
)
def test_text_without_spaces_has_many_words(text: str, language: str) -> None:
    words = words_of(text, language)
    assert "".join(words) == text
    assert len(words) >= 3
    assert words[-1].endswith("。")
    assert words[-1] != "。"


def test_a_name_in_another_script_is_one_word() -> None:
    assert "Supercalifragilistic" in words_of("我Supercalifragilistic很好", "zh")


def test_a_name_after_a_space_is_one_word() -> None:
    assert any("Supercalifragilistic" in word for word in words_of("我 Supercalifragilistic 很好", "zh"))


def test_a_word_waits_for_the_next_to_begin() -> None:
    transcript = Transcript(TOKENIZER)
    assert transcript.feed(timed(" Hello"), "en", None) == []
    (word,) = transcript.feed(timed(" there", 6_400), "en", None)
    assert (word.text, word.start_s, word.end_s) == (" Hello", 0.0, 0.4)
    assert word.probability == pytest.approx(np.exp(-0.5))


def test_a_word_does_not_wait_when_its_end_is_known() -> None:
    (word,) = Transcript(TOKENIZER).feed(timed(" Hello", 1_600), "en", 8_000)
    assert word == Word(" Hello", 0.1, 0.5, word.probability, "en")


def test_a_word_without_a_next_one_does_not_last_for_ever() -> None:
    (word,) = Transcript(TOKENIZER).feed(timed(" Hello", 0), "en", 160_000)
    assert word.end_s == 0.5
    transcript = Transcript(TOKENIZER)
    transcript.feed(timed(" Hello", 0), "en", None)
    assert transcript.end()[0].end_s == 0.5


@pytest.mark.parametrize(("text", "longest_s"), [(" In", 0.5), (" 8", 0.5), (" 25", 0.7), (" 250", 1.05)])
def test_the_more_digits_a_token_has_the_longer_it_may_sound(text: str, longest_s: float) -> None:
    assert len(TOKENIZER.encode(text)) == 1
    (word,) = Transcript(TOKENIZER).feed(timed(text), "en", 160_000)
    assert word.end_s == pytest.approx(longest_s)
    (word,) = Transcript(TOKENIZER).feed(timed(text), "en", 6_400)
    assert word.end_s == 0.4


def read_at(*pairs: tuple[str, int]) -> list[CommittedToken]:
    return [CommittedToken(token, sample, -0.5) for text, sample in pairs for token in TOKENIZER.encode(text)]


def test_a_word_ends_where_its_sound_does_wherever_the_mark_behind_it_is_read() -> None:
    transcript = Transcript(TOKENIZER)
    assert transcript.feed(read_at((" book", 80_000), (".", 200_000)), "en", None) == []
    (word,) = transcript.end()
    assert (word.text, word.start_s, word.end_s) == (" book.", 5.0, 5.5)


@pytest.mark.parametrize(
    ("language", "word", "mark"), [("en", " book", '."'), ("zh", "书", "。"), ("hi", " किताब", "।")]
)
def test_a_mark_that_is_told_later_stands_at_the_end_of_its_word(language: str, word: str, mark: str) -> None:
    transcript = Transcript(TOKENIZER)
    words = transcript.feed(read_at((word, 80_000)), language, 83_200)
    words += transcript.feed(read_at((mark, 200_000)), language, 208_000)
    assert "".join(each.text for each in words) == word + mark
    assert words[0].start_s == 5.0
    assert {each.end_s for each in words} == {5.2}
    (after,) = transcript.feed(read_at((" later", 240_000)), language, 243_200)
    assert (after.start_s, after.end_s) == (15.0, 15.2)


def test_marks_that_are_read_aloud_and_dashes_before_words_have_their_own_time() -> None:
    transcript = Transcript(TOKENIZER)
    words = transcript.feed(read_at((" 50", 80_000)), "en", 83_200)
    words += transcript.feed(read_at(("%", 96_000), (" -", 200_000), (" No", 204_800)), "en", 208_000)
    assert [(each.text, each.start_s, each.end_s) for each in words] == [
        (" 50", 5.0, 5.2),
        ("%", 6.0, 6.5),
        (" -", 12.5, 12.8),
        (" No", 12.8, 13.0),
    ]


def test_half_a_character_waits_for_its_other_half() -> None:
    transcript = Transcript(TOKENIZER)
    tokens = timed("𠮷")
    assert len(tokens) > 2
    for token in tokens[:-1]:
        assert transcript.feed([token], "ja", token.sample + 3_200) == []
    assert [word.text for word in transcript.feed(tokens[-1:], "ja", None)] == ["𠮷"]


def test_half_a_character_at_the_end_is_left_out() -> None:
    transcript = Transcript(TOKENIZER)
    transcript.feed(timed(" Hello𠮷")[:-1], "en", None)
    assert [word.text for word in transcript.end()] == [" Hello"]
    assert transcript.end() == []


def test_half_a_character_alone_is_no_word() -> None:
    transcript = Transcript(TOKENIZER)
    transcript.feed(timed("𠮷")[:1], "ja", None)
    assert transcript.end() == []


pieces = st.lists(st.integers(0, 5), max_size=60)


@pytest.mark.parametrize("language", TEXTS)
@examples(40)
@given(sizes=pieces, steps=st.lists(st.integers(0, 20_000), min_size=60, max_size=60))
def test_any_grouping_gives_the_same_words(language: str, sizes: list[int], steps: list[int]) -> None:
    tokens = TOKENIZER.encode(TEXTS[language])
    samples = np.cumsum(steps).tolist()
    entries = [CommittedToken(token, sample, -0.5) for token, sample in zip(tokens, samples, strict=False)]
    assert len(entries) == len(tokens)
    transcript, words, start = Transcript(TOKENIZER), list[Word](), 0
    for size in [*sizes, len(entries)]:
        words += transcript.feed(entries[start : start + size], language, None)
        start += size
    words += transcript.end()
    assert "".join(word.text for word in words) == TEXTS[language]
    assert all("\ufffd" not in word.text for word in words)
    assert all(word.start_s <= word.end_s for word in words)
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))
    if language == "en":
        assert [word.text for word in words] == words_of(TEXTS["en"], "en")


@examples(40)
@given(samples=st.lists(st.integers(0, 400_000), min_size=30, max_size=30), ends=st.lists(st.booleans(), min_size=30))
def test_times_only_grow_even_when_attention_jumps(samples: list[int], ends: list[bool]) -> None:
    transcript, words = Transcript(TOKENIZER), list[Word]()
    for token, sample, ended in zip(TOKENIZER.encode(" one four five" * 10), samples, ends, strict=False):
        words += transcript.feed([CommittedToken(token, sample, -0.5)], "en", sample + 100 if ended else None)
    words += transcript.end()
    assert "".join(word.text for word in words) == " one four five" * 10
    assert all(word.start_s <= word.end_s for word in words)
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))


def test_the_language_may_become_known_between_tokens() -> None:
    transcript = Transcript(TOKENIZER)
    words = transcript.feed(timed(" Hello"), None, None)
    words += transcript.feed(timed("我们", 6_400), "zh", None)
    assert "".join(word.text for word in [*words, *transcript.end()]) == " Hello我们"


def test_a_word_keeps_the_language_it_began_in() -> None:
    transcript = Transcript(TOKENIZER)
    words = transcript.feed(timed(" Hello there"), "en", None)
    words += transcript.feed(timed(" schön und", 12_800), "de", None)
    words += transcript.end()
    assert [(word.text, word.language) for word in words] == [
        (" Hello", "en"),
        (" there", "en"),
        (" schön", "de"),
        (" und", "de"),
    ]


@pytest.mark.parametrize("language", ["ja", "zh"])
@pytest.mark.parametrize("number", ["1,250", "3.75", "10:45", "50%", "2024"])
def test_a_number_is_one_word_where_no_spaces_are_written(language: str, number: str) -> None:
    assert number in words_of(f"全部で{number}です", language)
