"""The transcript and its English translation from one encoding: each as if it were alone, whatever the other does."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, ConfigError, Model, PaddedAlignAttWhisper, StopReason, Update
from simul_whisper.committed_tokens import CommittedToken
from simul_whisper.decoding import Decoding, TextUpdate
from simul_whisper.encoders import Features
from simul_whisper.mel import Mel
from tests.listener import assert_heard, cut_short, every, listen, listener, pieces, words_of
from tests.properties import examples
from tests.tones import (
    GAP_SAMPLES,
    WORDS,
    Speech,
    ToneDecoder,
    ToneEncoder,
    english,
    in_english,
    random_words,
    speech_of,
    tone_model,
)

GERMAN = tone_model("de")

policies = st.fixed_dictionaries(
    {
        "audio_max_len": st.sampled_from([5.0, 8.0, 15.0, 30.0]),
        "segment_length": st.sampled_from([0.3, 1.0]),
        "frame_threshold": st.sampled_from([10, 25, 50]),
        "last_word": st.sampled_from(["keep", "drop"]),
        "decoder_type": st.sampled_from(["greedy", "greedy", "beam"]),
        "beam_size": st.just(3),
        "padding_len": st.sampled_from([0.0, 1.0]),
        "window_min_len": st.sampled_from([0.0, 9.5]),
        "init_prompt": st.sampled_from(["", "Some words before."]),
        "terms": st.sampled_from([(), ("four five", "red light", "house", "supercalifragilistic")]),
    }
)
sizes = st.lists(st.sampled_from([1, 300, 8_000, 16_000, 40_000, 200_000]), max_size=16)


def translator(model: Model = GERMAN, **settings: Any) -> PaddedAlignAttWhisper:
    return listener(model, **{"language": "de", "targets": ["en"], **settings})


def translated(updates: list[Update]) -> str:
    return "".join(word.text for update in updates for word in update.translation)


def as_text(updates: list[Update]) -> list[Update]:
    """The translation where the transcript stands, so that it can be looked at as one."""
    return [replace(update, words=update.translation, draft_words=update.draft_translation) for update in updates]


@examples(15)
@given(n_words=st.integers(1, 18), seed=st.integers(0, 1000), sizes=sizes, policy=policies)
def test_every_word_is_told_and_translated_once(
    n_words: int, seed: int, sizes: list[int], policy: dict[str, Any]
) -> None:
    speech = speech_of(random_words(n_words, seed), [GAP_SAMPLES, 6_000])
    updates = listen(translator(**policy), pieces(speech.samples, sizes))
    assert_heard(updates, speech)
    assert_heard(as_text(updates), english(speech))
    assert {word.language for update in updates for word in update.translation} == {"en"}


@examples(8)
@given(seed=st.integers(0, 1000), sizes=sizes, policy=policies)
def test_the_transcript_is_the_same_with_a_translation_beside_it(
    seed: int, sizes: list[int], policy: dict[str, Any]
) -> None:
    """In one window; in a longer stream, windows may be cut elsewhere."""
    speech = speech_of(random_words(8, seed))
    policy |= {"audio_max_len": 30.0}
    alone = listen(translator(targets=[], **policy), pieces(speech.samples, sizes))
    beside = listen(translator(**policy), pieces(speech.samples, sizes))
    assert [replace(each, translation=(), draft_translation=()) for each in beside] == alone


class CountingEncoder(ToneEncoder):
    n_windows = 0

    def encode(self, mel: Mel) -> Features:
        self.n_windows += 1
        return super().encode(mel)


class CountingDecoder(ToneDecoder):
    n_windows = 0

    def begin(self, features: NDArray[np.float32]) -> Any:
        self.n_windows += 1
        return super().begin(features)


def test_a_window_is_encoded_and_projected_once_for_both_texts() -> None:
    encoder, decoder = CountingEncoder(), CountingDecoder(GERMAN.tokenizer, "de")
    model = GERMAN.using(encoder, decoder)
    updates = listen(translator(model), every(1.0, speech_of(random_words(9)).samples))
    n_passes = sum(bool(update.audio_end_s) for update in updates[:-1]) + 1
    assert encoder.n_windows == decoder.n_windows == n_passes


class Untranslating(ToneDecoder):
    def begin(self, features: NDArray[np.float32]) -> Any:
        return replace(super().begin(features), translated=[])


def test_a_translation_that_stays_behind_costs_the_transcript_no_word() -> None:
    """However little is translated, windows are cut between words."""
    model = GERMAN.using(decoder=Untranslating(GERMAN.tokenizer, "de"))
    for lead_samples in range(0, 8_000, 1_600):
        speech = speech_of(random_words(24), [4_000], lead_samples)
        whisper = translator(model, audio_max_len=5.0, segment_length=0.5)
        assert_heard(listen(whisper, every(0.5, speech.samples)), speech)


def test_english_is_its_own_translation() -> None:
    speech = speech_of(random_words(12), [GAP_SAMPLES, 5_000])
    updates = listen(listener(targets=["en"]), every(1.0, speech.samples))
    assert [update.translation for update in updates] == [update.words for update in updates]
    assert [update.draft_translation for update in updates] == [update.draft_words for update in updates]


def test_a_language_that_becomes_english_is_not_translated_from_its_beginning() -> None:
    """What was copied is what the decoder goes on from."""
    speech = speech_of(random_words(12))
    whisper = listener(targets=["en"], language="auto", language_min_len=0.5)
    updates = listen(whisper, every(1.0, speech.samples))
    assert translated(updates) == speech.text


def test_a_target_may_be_chosen_later_and_given_up() -> None:
    words = random_words(24)
    speech = speech_of(words, [8_000])
    first, second, third = np.array_split(speech.samples, 3)
    whisper = translator(targets=[], audio_max_len=5.0, segment_length=0.5)
    before = listen_on(whisper, first)
    whisper.choose_targets(["English"])
    during = listen_on(whisper, second)
    whisper.choose_targets([])
    after = [*listen_on(whisper, third), whisper.infer(is_last=True)]
    assert not translated(before)
    assert not translated(after)
    in_order = "".join(WORDS[in_english(word)] for word in words)
    assert len(translated(during)) > 50
    assert translated(during) in in_order
    assert "".join(word.text for word in words_of([*before, *during, *after])) == speech.text


def listen_on(whisper: PaddedAlignAttWhisper, samples: NDArray[np.float32]) -> list[Update]:
    updates = []
    for chunk in every(0.5, samples):
        whisper.insert_audio(chunk)
        updates.append(whisper.infer())
    return updates


def test_words_of_both_texts_survive_when_the_rest_is_given_up() -> None:
    speech = speech_of(random_words(10))
    whisper = translator(last_word="keep", hold_probability=0.0)
    updates = listen_on(whisper, speech.samples)
    last = whisper.refresh_segment()
    whisper.insert_audio(np.zeros(SAMPLE_RATE, np.float32))
    updates.append(whisper.infer(is_last=True))
    told = [*words_of(updates[:-1]), *last, *words_of(updates[-1:])]
    assert speech.text.startswith("".join(word.text for word in told))
    assert english(speech).text.startswith(translated(updates))
    assert len(told) - 2 <= translated(updates).count(" ") <= len(told)


@pytest.mark.parametrize("targets", [["es"], ["en", "de"]])
def test_other_languages_need_a_translator(targets: list[str]) -> None:
    with pytest.raises(ConfigError, match="into English only; other languages need a translator"):
        translator(targets=targets)


def test_what_was_said_before_a_long_pause_is_translated_during_it() -> None:
    speech = speech_of(random_words(4))
    pause = np.zeros(6 * SAMPLE_RATE, np.float32)
    whisper = translator(audio_max_len=5.0)
    assert translated(listen_on(whisper, np.concatenate([speech.samples, pause]))) == english(speech).text


def test_a_target_given_up_and_chosen_again_is_not_translated_twice() -> None:
    speech = speech_of(random_words(24), [8_000])
    whisper, updates = translator(), list[Update]()
    for targets, samples in zip([["en"], [], ["en"]], np.array_split(speech.samples, 3), strict=True):
        whisper.choose_targets(targets)
        updates += listen_on(whisper, samples)
    updates.append(whisper.infer(is_last=True))
    assert translated(updates) == english(speech).text


def test_english_beside_english_is_refused_whenever_it_is_chosen() -> None:
    whisper = listener(GERMAN, language="de", task="translate")
    with pytest.raises(ConfigError, match="writes English already"):
        whisper.choose_targets(["en"])


def test_a_translation_that_is_cut_short_is_told() -> None:
    """Also when the transcript had come to its end."""
    speech = speech_of(random_words(5))
    updates = [ended_early(speech, n_pieces) for n_pieces in range(1, 50)]
    assert {(update.text == speech.text, update.stop) for update in updates} == {
        (False, StopReason.CUT_SHORT),
        (True, StopReason.CUT_SHORT),
        (True, StopReason.END_OF_TEXT),
    }
    whole = [update for update in updates if update.stop is StopReason.END_OF_TEXT]
    assert {translated([update]) for update in whole} == {english(speech).text}


def ended_early(speech: Speech, n_pieces: int) -> Update:
    """The end of the stream, cut short after so many pieces."""
    whisper = translator()
    whisper.insert_audio(speech.samples)
    update, _ = cut_short(whisper.inference(is_last=True), whisper.model.answer, n_pieces)
    return cast(Update, update)


def test_the_draft_of_a_text_that_is_adopted_replaces_an_older_one() -> None:
    decoding, draft = Decoding(GERMAN, AlignAttConfig()), (CommittedToken(7, 0, 0.0),)
    decoding.adopt(TextUpdate((), StopReason.EDGE, draft))
    assert decoding.draft == draft
