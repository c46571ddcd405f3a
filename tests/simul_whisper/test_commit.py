"""How much of a pass is committed: what is likely, what is read twice, what has waited; and whole words."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.alignatt import AlignedToken
from simul_whisper.commit import CommitRule
from simul_whisper.config import AlignAttConfig
from tests.fakes import tokenizer_of

TOKENIZER = tokenizer_of("base")
CONTENT_FRAMES = 500
SURE, UNSURE, GUESS = math.log(0.99), math.log(0.5), math.log(0.05)


def rule(**settings: Any) -> CommitRule:
    config = AlignAttConfig(**{"hold_probability": 0.7, "hold_len": 3.0, **settings}).validated()
    return CommitRule(config, TOKENIZER)


def read(text: str, logprob: float = SURE, frame: int = 450) -> list[AlignedToken]:
    return [aligned(token, logprob, frame) for token in TOKENIZER.encode(text)]


def aligned(token: int, logprob: float = SURE, frame: int = 450) -> AlignedToken:
    """A token whose end of the word before it is as clear as the token says."""
    return AlignedToken(token, frame, logprob, 0.0 if TOKENIZER.continues_word(token) else 1.0)


def committed(
    commit: CommitRule,
    accepted: list[AlignedToken],
    following: list[AlignedToken],
    language: str = "en",
    *,
    at_pause: bool = False,
) -> str:
    n = commit.n_committed(accepted, following[0] if following else None, language, CONTENT_FRAMES, at_pause=at_pause)
    return TOKENIZER.decode([token.token for token in accepted[:n]])


@pytest.mark.parametrize(
    ("last_word", "following", "expected"),
    [
        ("drop", " house", " blue untranslatable"),
        ("drop", "house", " blue"),
        ("drop", "", " blue"),
        ("keep", " house", " blue untranslatable"),
        ("keep", "house", " blue untranslatable"),
        ("keep", "", " blue untranslatable"),
    ],
)
def test_the_last_word_waits_until_the_next_begins(last_word: str, following: str, expected: str) -> None:
    accepted = read(" blue untranslatable")
    assert committed(rule(last_word=last_word), accepted, read(following)) == expected


def test_the_end_of_text_ends_the_last_word() -> None:
    assert committed(rule(), read(" blue"), [AlignedToken(TOKENIZER.eot, 499, SURE)]) == " blue"


def test_at_a_pause_the_last_word_has_ended_whatever_might_go_on() -> None:
    perhaps_a_longer_word = AlignedToken(TOKENIZER.eot, 499, SURE, word_ended=0.5)
    assert committed(rule(), read(" red blue"), [perhaps_a_longer_word]) == " red"
    assert committed(rule(), read(" red blue"), [perhaps_a_longer_word], at_pause=True) == " red blue"


def test_at_a_pause_the_mark_of_the_last_word_waits_and_so_does_an_unlikely_word() -> None:
    end = [AlignedToken(TOKENIZER.eot, 499, SURE)]
    assert committed(rule(), read(" red, blue."), end, at_pause=True) == " red, blue"
    assert committed(rule(), [*read(" red"), *read(" blue", UNSURE)], end, at_pause=True) == " red"


def test_a_last_word_that_began_in_an_earlier_pass_waits_too() -> None:
    rest = read(" untranslatable")[1:]
    assert committed(rule(), rest, []) == ""
    assert committed(rule(), rest, read(" house")) == TOKENIZER.decode([token.token for token in rest])


@pytest.mark.parametrize("language", ["zh", "ja", "th", "lo", "my", "yue"])
def test_without_spaces_there_are_no_last_words(language: str) -> None:
    assert committed(rule(), read("我们在"), read("北"), language) == "我们在"


def test_an_unlikely_word_waits_for_a_second_reading() -> None:
    commit = rule()
    accepted = [*read(" red blue"), *read(" house", UNSURE), *read(" river")]
    assert committed(commit, accepted, read(" stone")) == " red blue"
    assert committed(commit, accepted[2:], read(" stone")) == " house river"


def test_a_word_is_whole_when_no_likely_token_goes_on_with_it() -> None:
    any_of_many_words = AlignedToken(TOKENIZER.encode(" house")[0], 480, GUESS, word_ended=0.99)
    perhaps_a_longer_word = replace(any_of_many_words, word_ended=0.9)
    assert committed(rule(), read(" red blue"), [any_of_many_words]) == " red blue"
    assert committed(rule(), read(" red blue"), [perhaps_a_longer_word]) == " red"


def test_a_word_does_not_wait_for_its_punctuation() -> None:
    commit = rule()
    sentence = [*read(" red blue"), *read(".", UNSURE)]
    assert committed(commit, sentence, read(" House")) == " red blue"
    assert committed(commit, sentence[2:], read(" House")) == "."


def test_a_guess_waits_however_often_it_is_read() -> None:
    commit = rule()
    for _ in range(4):
        assert committed(commit, read(" house", GUESS), read(" stone")) == ""


def test_another_reading_is_no_second_reading() -> None:
    commit = rule()
    assert committed(commit, read(" house", UNSURE), read(" stone")) == ""
    assert committed(commit, read(" river", UNSURE), read(" stone")) == ""
    assert committed(commit, read(" house", UNSURE), read(" stone")) == ""


def test_a_new_utterance_has_read_nothing_before() -> None:
    commit = rule()
    assert committed(commit, read(" house", UNSURE), read(" stone")) == ""
    commit.forget()
    assert committed(commit, read(" house", UNSURE), read(" stone")) == ""


def test_nothing_waits_for_ever() -> None:
    assert committed(rule(hold_len=3), read(" house", GUESS, frame=350), read(" stone")) == ""
    assert committed(rule(hold_len=3), read(" house", GUESS, frame=349), read(" stone")) == " house"


def test_a_probability_of_zero_holds_nothing() -> None:
    assert committed(rule(hold_probability=0), read(" house", GUESS), read(" stone")) == " house"


@settings(deadline=None)
@given(
    logprobs=st.lists(st.floats(-5, 0), min_size=1, max_size=12),
    last_word=st.sampled_from(["keep", "drop"]),
    following=st.sampled_from(["", " house", "house"]),
)
def test_whole_words_are_committed_up_to_the_first_that_waits(
    logprobs: list[float], last_word: str, following: str
) -> None:
    tokens = TOKENIZER.encode(" untranslatable house supercalifragilistic river")
    accepted = [aligned(token, logprob) for token, logprob in zip(tokens, logprobs, strict=False)]
    following_tokens = read(following)
    n = rule(last_word=last_word).n_committed(
        accepted, following_tokens[0] if following else None, "en", CONTENT_FRAMES
    )
    n_sure = next((i for i, each in enumerate(accepted) if each.logprob < math.log(0.7)), len(accepted))
    assert 0 <= n <= n_sure
    if last_word == "drop" and n < len(accepted):
        assert n == 0 or TOKENIZER.starts_word(accepted[n].token)
    if n_sure == len(accepted) and following == " house":
        assert n == n_sure


# Behind it the audio goes on for 0.4 s or for 1 s, which is before the edge where AlignAtt stops.
AT_EDGE, BEFORE_EDGE = 480, 450


@pytest.mark.parametrize(
    "number",
    [" 1", " 1,", " 1,200", " $49", " 3.7%", " 10:", " 10.45", " 10h", " 1,2", " L-Y", " L-", " p.", " U.S", " z.B."],
)
def test_a_number_waits_until_another_word_is_read_before_the_edge(number: str) -> None:
    accepted = read(" about") + read(number, frame=BEFORE_EDGE)
    for following in ([], read(" people", frame=AT_EDGE), [AlignedToken(TOKENIZER.eot, 499, SURE)]):
        assert committed(rule(), accepted, following) == " about"
    assert committed(rule(), [*accepted, *read(" people")], read(" came")) == f" about{number} people"


def test_a_number_waits_for_the_number_behind_it() -> None:
    assert committed(rule(), read(" about 1.200 50"), read(" euros", frame=AT_EDGE)) == " about"
    assert committed(rule(), read(" about 1.200 50 euros"), read(" en")) == " about 1.200 50 euros"


def test_a_number_is_committed_as_a_whole() -> None:
    unsure = [*read(" about 3."), *read("7", UNSURE), *read(" percent in")]
    assert committed(rule(), unsure, read(" May")) == " about"


def test_the_mark_behind_a_number_that_is_over_may_wait_alone() -> None:
    assert committed(rule(), [*read(" in 1987"), *read(",", UNSURE), *read(" we")], read(" met")) == " in 1987"


def test_no_number_waits_for_ever() -> None:
    for following, last in ((" people", 350), (".", 200)):
        for frame, expected in ((last, " about"), (last - 1, " about 1,200")):
            accepted = read(" about") + read(" 1,200", frame=frame)
            assert committed(rule(), accepted, read(following, frame=AT_EDGE)) == expected


def test_a_number_waits_at_a_pause_and_its_last_word_does_not() -> None:
    end = AlignedToken(TOKENIZER.eot, 499, SURE)
    for text, expected in ((" about 1,200", " about"), (" about fifty", " about fifty")):
        accepted = read(text)
        assert rule().n_committed(accepted, end, "en", CONTENT_FRAMES, at_pause=True) == len(TOKENIZER.encode(expected))


def test_nothing_waits_where_unfinished_words_are_kept() -> None:
    assert committed(rule(last_word="keep"), read(" about 1,200"), []) == " about 1,200"


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_without_spaces_a_number_waits_and_the_words_before_it_do_not(language: str) -> None:
    assert committed(rule(), read("我们有1,2"), read("5", frame=AT_EDGE), language) == "我们有"
    assert committed(rule(), read("我们有1,250年"), read("了"), language) == "我们有1,250年"


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(" 1,250 3.7% about 49 people L-Y-V in 10.45 and p.m.".split(" ")[1:]), min_size=1),
    n_accepted=st.integers(0, 40),
    unsure=st.sets(st.integers(0, 40)),
)
def test_no_number_is_ever_parted(words: list[str], n_accepted: int, unsure: set[int]) -> None:
    """Whatever is unsure, and wherever the edge is; all that was read is then committed up to the end of a word."""
    tokens = TOKENIZER.encode("".join(f" {word}" for word in words))
    all_read = [aligned(token, UNSURE if n in unsure else SURE) for n, token in enumerate(tokens)]
    accepted, following = all_read[:n_accepted], all_read[n_accepted : n_accepted + 1]
    text = committed(rule(), accepted, following).strip()
    told = text.split()
    assert all(word == said or word == said.strip(".") for word, said in zip(told, words, strict=False))


def of_term(text: str, frame: int) -> list[AlignedToken]:
    return [replace(token, is_of_term=True) for token in read(text, GUESS, frame)]


@pytest.mark.parametrize(("frame", "expected"), [(199, " blue"), (201, "")])
def test_an_unlikely_term_waits_twice_as_long_unless_it_is_read_twice(frame: int, expected: str) -> None:
    commit, following = rule(), read(" house")
    assert committed(commit, of_term(" blue", frame), following) == expected
    assert committed(rule(), of_term(" blue", 450), following) == ""
    commit = rule()
    commit.held = tuple(token.token for token in [*of_term(" blue", 450), *following])
    assert committed(commit, of_term(" blue", 480), following) == " blue"
