"""Going on after told words: examples of rewordings, an edit distance by its definition, and what always holds."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.translators import TargetToken, reading
from simul_whisper.translators.agreement import _edits, bare, following, n_said, words_of
from tests.properties import examples

WORDS = st.sampled_from("el la gato gata casa casas se sentó sentado en y, de. «que» — 50% O'Neil ¿cómo?".split())
PHRASES = st.lists(WORDS, max_size=12)
# No two begin alike.
DISTINCT = st.permutations([f"{letter * 4}{letter}" for letter in "abcdefghijkl"])
CHARACTERS = st.text("我们去北京大学看书，。「」 iPhone15กินข้าวได้", max_size=20)


def rest(told: str, translation: str, language: str = "es") -> str:
    return "".join(token.text for token in following(told, translation, language))


@pytest.mark.parametrize(
    ("told", "translation", "language", "expected"),
    [
        ("", "El gato", "es", " El gato"),
        (" El gato", "", "es", ""),
        (" El gato", "El gato se sentó.", "es", " se sentó."),
        (" El gato", "el GATO, que duerme", "es", ", que duerme"),
        (" El gato.", "El gato, que duerme", "es", " que duerme"),
        (" El gato", "El gato.", "es", "."),
        (" El gato", "La gata se sentó", "es", " se sentó"),
        (" El gato sentado", "El gato se sentó en la estera", "es", " en la estera"),
        (" El gato negro", "El gato duerme negro y feliz", "es", " y feliz"),
        (" El perro grande", "El gran perro grande de la casa", "es", " de la casa"),
        (" the red house", "the house red", "en", ""),
        (" Fui a la", "Fui hacia la casa a la que", "es", " casa a la que"),
        (" El gato", "Un perro y el gato de la casa", "es", " de la casa"),
        (" no no", "no no no no", "es", " no no"),
        ("我们去", "我们去北京。", "zh", "北京。"),
        ("我们", "我们，去北京", "zh", "，去北京"),
        ("我们要去", "我们去北京大学", "zh", "北京大学"),
        ("我用", "我用 iPhone15 看书", "zh", " iPhone15 看书"),
        ("กิน", "กินข้าว", "th", "ข้าว"),
        ("ты видишь", "Ты видишь дом", "ru", " дом"),
    ],
)
def test_what_follows(told: str, translation: str, language: str, expected: str) -> None:
    assert rest(told, translation, language) == expected


@examples(200)
@given(PHRASES, PHRASES)
def test_after_a_prefix_comes_exactly_the_rest(told: list[str], more: list[str]) -> None:
    whole = "".join(f" {word}" for word in [*told, *more])
    assert rest(" ".join(told), whole) == "".join(f" {word}" for word in more)


@examples(200)
@given(CHARACTERS, st.integers(0, 20))
def test_after_a_prefix_of_characters_comes_exactly_the_rest(text: str, n: int) -> None:
    units = words_of(text, "ja")
    assert "".join(units) == " ".join(text.split())
    assert rest("".join(units[:n]), text, "ja") == "".join(units[n:])


@examples(200)
@given(DISTINCT, st.integers(1, 8), st.data())
def test_one_rewording_costs_nothing_that_follows(words: list[str], n: int, data: st.DataObject) -> None:
    """A told word changed, put in, left out, or exchanged with its neighbour: what was not told is said once."""
    told, others, more = words[:n], words[10:], words[n:10]
    at = data.draw(st.integers(0, n - 1))
    reworded = data.draw(
        st.sampled_from(
            [
                [*told[:at], others[0], *told[at + 1 :]],
                [*told[:at], others[0], *told[at:]],
                [*told[:at], *told[at + 1 :]] if at < n - 1 else told,
                [*told[:at], *told[at : at + 2][::-1], *told[at + 2 :]],
            ]
        )
    )
    assert rest(" ".join(told), " ".join([*reworded, *more])) == "".join(f" {word}" for word in more)


@examples(200)
@given(DISTINCT, DISTINCT, st.integers(1, 12), st.integers(0, 12))
def test_what_was_told_last_is_not_said_again(old: list[str], new: list[str], n_old: int, n_new: int) -> None:
    tokens = following(" ".join(old[:n_old]), " ".join(new[:n_new]), "es")
    assert not tokens or tokens[0].text.strip() != old[n_old - 1]


@examples(200)
@given(PHRASES, PHRASES)
def test_what_follows_is_an_end_of_the_translation_and_reads_as_text(told: list[str], new: list[str]) -> None:
    tokens = following(" ".join(told), " ".join(new), "es")
    text = "".join(token.text for token in tokens)
    assert " ".join(["", *new]).endswith(text)
    assert all(token.source_word is None and token.text.strip() for token in tokens)
    joined = "".join(f" {word}" for word in told) + text
    assert "  " not in joined
    assert joined == joined.rstrip()


@examples(200)
@given(PHRASES, PHRASES)
def test_the_edit_distance_is_that_of_its_definition(told: list[str], new: list[str]) -> None:
    old_bare, new_bare = [bare(word) for word in told], [bare(word) for word in new]

    @cache
    def edits(m: int, n: int) -> float:
        if m == 0 or n == 0:
            return m + n
        old, other = old_bare[m - 1], new_bare[n - 1]
        cost = 0 if old == other else 0.5 if old[:4] == other[:4] else 1
        found = min(edits(m - 1, n) + 1, edits(m, n - 1) + 1, edits(m - 1, n - 1) + cost)
        if old_bare[max(0, m - 2) : m] == new_bare[max(0, n - 2) : n][::-1] and min(m, n) > 1:
            found = min(found, edits(m - 2, n - 2) + 1)
        return found

    assert _edits(old_bare, new_bare).tolist() == [edits(len(told), n) for n in range(len(new) + 1)]


def test_long_texts_take_no_long_time() -> None:
    """A server that lies may send as much as is read of it; 2000 words by 2000 are 4 million comparisons."""
    assert n_said([f"a{n}" for n in range(2000)], [f"b{n}" for n in range(2000)]) == 2000


@pytest.mark.parametrize("number", ["1,250", "3.75", "10:45", "50%", "iPhone15"])
def test_a_number_is_one_word_where_no_spaces_are_written(number: str) -> None:
    assert number in words_of(f"全部で{number}です。", "ja")
    for tokens in ([f"全部で{number}です"], ["全部で", *re.findall(r"\d+|\D+", number), "です"]):
        pieces = reading.pieces_of([TargetToken(text) for text in tokens], "ja", 1)
        assert number in [word.text for word in reading.words_of(pieces, "ja", "")]
