"""Drafts: what is shown of words that may not be committed yet, and that they change nothing of those that may."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper
from simul_whisper.alignatt import AlignedToken
from simul_whisper.draft import WorthReading, n_worth_showing
from tests.conftest import Recording
from tests.fakes import tokenizer_of
from tests.listener import every, listen, pieces, text_of
from tests.properties import examples
from tests.tones import random_words, speech_of, tone_model

MODEL = tone_model()
TOKENIZER = tokenizer_of("base")

policies = st.fixed_dictionaries(
    {
        "language": st.sampled_from(["en", "auto"]),
        "audio_max_len": st.sampled_from([5.0, 12.0]),
        "frame_threshold": st.sampled_from([10, 25, 50]),
        "hold_probability": st.sampled_from([0.6, 1.0]),
        "last_word": st.sampled_from(["keep", "drop"]),
        "decoder_type": st.sampled_from(["greedy", "greedy", "beam"]),
        "padding_len": st.sampled_from([0.0, 1.0]),
        "targets": st.sampled_from([(), (), ("en",)]),
    }
)


def whisper(model: Model, settings: dict[str, Any], *, drafts: bool) -> PaddedAlignAttWhisper:
    return PaddedAlignAttWhisper(AlignAttConfig(**settings), model, drafts=drafts)


@examples(15)
@given(
    seed=st.integers(0, 1000),
    language=st.sampled_from(["en", "de"]),
    sizes=st.lists(st.sampled_from([300, 8_000, 16_000, 40_000]), max_size=16),
    policy=policies,
)
def test_the_committed_words_are_the_same_with_drafts_and_without(
    seed: int, language: str, sizes: list[int], policy: dict[str, Any]
) -> None:
    model = tone_model(language)
    policy["language"] = language if policy["language"] != "auto" else "auto"
    chunks = pieces(speech_of(random_words(12, seed)).samples, sizes)
    with_drafts, without = (listen(whisper(model, policy, drafts=drafts), chunks) for drafts in (True, False))
    assert [update.words for update in with_drafts] == [update.words for update in without]
    assert [update.translation for update in with_drafts] == [update.translation for update in without]
    assert [update.stop for update in with_drafts] == [update.stop for update in without]


def test_nothing_that_was_said_changes_with_real_weights(base: Model, lighthouse: Recording) -> None:
    settings = {"padding_len": 1.0, "window_min_len": 0.0}
    chunks = every(0.7, lighthouse.samples[: 5 * SAMPLE_RATE])
    with_drafts, without = (listen(whisper(base, settings, drafts=drafts), chunks) for drafts in (True, False))
    assert [update.words for update in with_drafts] == [update.words for update in without]
    assert sum(bool(update.draft) for update in with_drafts) > sum(bool(update.draft) for update in without)


def test_a_word_is_drafted_before_it_may_be_committed() -> None:
    speech = speech_of(random_words(10, 3))
    drafting = whisper(MODEL, {"language": "en", "frame_threshold": 25}, drafts=True)
    updates = listen(drafting, every(0.5, speech.samples))
    shown_s = [text_of(updates[: n + 1]).count(" ") + update.draft.count(" ") for n, update in enumerate(updates)]
    told_s = [text_of(updates[: n + 1]).count(" ") for n in range(len(updates))]
    assert all(text_of(updates).startswith(text_of(updates[: n + 1]) + each.draft) for n, each in enumerate(updates))
    assert np.mean(np.subtract(shown_s, told_s)) >= 0.5


@pytest.mark.parametrize("spoken", ["de", "en"])
def test_a_draft_is_read_before_the_language_is_sure(spoken: str) -> None:
    speech = speech_of(random_words(10, 3))
    updates = listen(whisper(tone_model(spoken), {}, drafts=True), every(0.5, speech.samples))
    early = [update for update in updates if update.language is None]
    assert any(update.draft for update in early)
    assert not any(update.words for update in early)
    assert {word.language for update in early for word in update.draft_words} == {spoken}
    assert text_of(updates) == speech.text


def read(text: str, probability: float = 1.0, word_ended: float = 1.0) -> AlignedToken:
    (token,) = TOKENIZER.encode(text)
    return AlignedToken(token, 0, math.log(probability), word_ended)


def shown(*tokens: AlignedToken, ends: bool = True, language: str = "en") -> str:
    """What is shown of tokens; not ends: the last one is what ended the reading."""
    n = n_worth_showing(tokens, len(tokens) - (not ends), language, TOKENIZER)
    return TOKENIZER.decode([token.token for token in tokens[:n]])


def test_an_unlikely_tail_is_left_out() -> None:
    assert shown(read(" the"), read(" house", 0.9)) == " the house"
    assert shown(read(" the"), read(" house", 0.1), read(" is")) == " the"
    assert shown(read(" the", 0.4), read(" house", 0.4)) == " the"


def test_words_are_shown_whole_and_without_the_marks_of_the_edge() -> None:
    assert shown(read(" house"), read("hold"), ends=False) == ""
    assert shown(read(" the"), read(" house"), read(" is", word_ended=0.3), ends=False) == " the"
    assert shown(read(" house"), read(".")) == " house"
    assert shown(read(" house"), read("."), read(" It"), read(" is"), ends=False) == " house. It"
    assert shown(read("今"), read("日"), ends=False, language="ja") == "今"


@pytest.mark.parametrize("n_before", [0, 4])
def test_no_draft_is_read_on_that_is_too_unlikely_to_be_shown(n_before: int) -> None:
    """Each token has half of a chance, so two may be shown; what stands before them is no draft."""
    rule = WorthReading(lambda tokens, token, frame: None, n_before)  # noqa: ARG005
    read = list[AlignedToken]()
    while rule(read, 0, 0) is None:
        read.append(AlignedToken(0, 0, math.log(0.5)))
    assert len(read) == n_before + 3
