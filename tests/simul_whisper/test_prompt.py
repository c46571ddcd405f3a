"""What stands in front of the transcript: its order, its limits, and that it can never silence the stream."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.errors import ConfigError
from simul_whisper.prompt import MAX_PROMPT_TOKENS, Context
from tests.fakes import tokenizer_of

TOKENIZER = tokenizer_of("base")
PLENTY = 1000


def context(static: str = "", init: str = "", max_tokens: int = 60) -> Context:
    return Context(TOKENIZER, static, init, max_tokens)


@pytest.mark.parametrize(
    ("static", "init"),
    [("Names: Ada", "Hello there"), (" Names: Ada ", "\nHello there\n"), ("Names: Ada", " Hello there")],
)
def test_texts_are_joined_by_one_space(static: str, init: str) -> None:
    both = context(static, init)
    both.scroll(TOKENIZER.encode(" my friend"))
    assert both.prompt(PLENTY)[0] == TOKENIZER.sot_prev
    assert TOKENIZER.decode(both.prompt(PLENTY)) == " Names: Ada Hello there my friend"


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_no_text_is_no_prompt(empty: str) -> None:
    assert context(empty, empty).prompt(PLENTY) == []


@settings(deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 50_000), max_size=40), max_size=8),
    max_tokens=st.integers(0, 220),
    room=st.integers(-50, 300),
)
def test_the_newest_text_is_kept(texts: list[list[int]], max_tokens: int, room: int) -> None:
    static = TOKENIZER.encode(" Ada Lovelace")
    given_context = context("Ada Lovelace", "", max_tokens)
    for text in texts:
        given_context.scroll(text)
    everything = [token for text in texts for token in text]
    assert len(given_context.scrolled) == min(len(everything), max_tokens)
    prompt = given_context.prompt(room)
    if room < 1 + len(static):
        assert prompt == []
        return
    n_kept = min(len(everything), max_tokens, room - 1 - len(static))
    assert prompt == [TOKENIZER.sot_prev, *static, *everything[len(everything) - n_kept :]]
    assert len(prompt) <= room


def test_an_initial_prompt_scrolls_away() -> None:
    scrolling = context(init="old words", max_tokens=3)
    scrolling.scroll([7, 8, 9])
    assert scrolling.prompt(PLENTY) == [TOKENIZER.sot_prev, 7, 8, 9]


def test_room_for_a_tag_alone_is_no_room() -> None:
    scrolled = context(init="words")
    assert scrolled.prompt(2) != []
    assert scrolled.prompt(1) == []
    assert scrolled.prompt(0) == []
    assert scrolled.prompt(-5) == []


def test_a_static_prompt_may_fill_the_room_but_not_exceed_it() -> None:
    assert len(context(" a" * MAX_PROMPT_TOKENS, "b").prompt(PLENTY)) == 1 + MAX_PROMPT_TOKENS
    with pytest.raises(ConfigError, match="static_init_prompt of 224 tokens, expected at most 223"):
        context(" a" * (MAX_PROMPT_TOKENS + 1))


def test_a_long_static_prompt_leaves_less_for_the_rest() -> None:
    full = context(" a" * 200, " b" * 200, 220)
    assert len(full.prompt(PLENTY)) == 1 + MAX_PROMPT_TOKENS
    assert len(full.scrolled) == MAX_PROMPT_TOKENS - 200


def test_forgetting_keeps_the_static_prompt() -> None:
    forgetful = context("Ada", "old words")
    forgetful.forget()
    assert TOKENIZER.decode(forgetful.prompt(PLENTY)) == " Ada"
    assert forgetful.scrolled == []


def test_a_prompt_cannot_smuggle_special_tokens() -> None:
    tokens = context("<|endoftext|>", "<|nospeech|> <|en|>").prompt(PLENTY)
    assert [token for token in tokens if token >= TOKENIZER.eot] == [TOKENIZER.sot_prev]


def test_what_is_read_does_not_change_what_is_kept() -> None:
    kept = context(init="words")
    kept.scrolled.clear()
    kept.prompt(PLENTY).clear()
    assert TOKENIZER.decode(kept.prompt(PLENTY)) == " words"
