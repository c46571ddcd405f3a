"""Decoders that do what Whisper does at its worst: they loop, babble, look back far, and begin again."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, StopReason
from simul_whisper.alignatt import AlignAttPolicy, AlignedToken
from simul_whisper.decoders import Step
from simul_whisper.guarded_policy import GuardedPolicy
from tests.fakes import UNLIKELY, FakeDecoder
from tests.listener import MODEL, assert_heard, every, listen, listener, text_of
from tests.tones import GAP_SAMPLES, WORDS, ToneDecoder, ToneState, random_words, speech_of, tone_model

NO, YES, COMMA = range(3)


def test_a_decoder_stuck_in_a_loop_says_so_and_recovers() -> None:
    tokenizer, stuck = MODEL.tokenizer, 5
    before, after = [1, 2, 3, 4, stuck], random_words(80, 19)
    speech = speech_of([*before, *(word for word in after if word != stuck)])
    model = tone_model(decoder=ToneDecoder(tokenizer, "en", stutter=stuck))
    updates = listen(listener(model, audio_max_len=8, segment_length=1), every(1, speech.samples))
    assert StopReason.LOOP in {update.stop for update in updates}
    assert not any(update.draft.count(WORDS[stuck]) > 1 for update in updates)
    heard, said = text_of(updates).split(), speech.text.split()
    assert heard.count(WORDS[stuck].strip()) <= 1
    # One word may be lost where the window was cut.
    same = SequenceMatcher(None, heard, said, autojunk=False).get_matching_blocks()
    assert sum(block.size for block in same) >= len(said) - 2
    assert len(heard) <= len(said) + 1


def test_a_loop_that_began_in_the_text_before_is_not_written_again() -> None:
    stuck = 5
    model = tone_model(decoder=ToneDecoder(MODEL.tokenizer, "en", stutter=stuck))
    whisper = listener(model, init_prompt=WORDS[stuck] * 4, hold_probability=0)
    updates = listen(whisper, [speech_of([stuck, 1, 2, 3]).samples])
    assert StopReason.LOOP in {update.stop for update in updates}
    assert text_of(updates).split().count(WORDS[stuck].strip()) <= 1


@pytest.mark.parametrize("phrase", [[5], [5, 7], [1, 2, 3, 4, 5, 6]], ids=len)
def test_who_says_the_same_again_and_again_is_written_down(phrase: list[int]) -> None:
    speech = speech_of([1, 2, *phrase * 8, 4, 6, 7])
    updates = listen(listener(), every(1, speech.samples))
    assert text_of(updates) == speech.text
    assert StopReason.LOOP not in {update.stop for update in updates}


class _Describing(ToneDecoder):
    """Would rather describe one sound, as in "[music]", than take it for a word, and hardly knows for which."""

    SOUND = 2

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        sounds = step.logits.argmax(axis=-1) == self._tokens[self.SOUND][0]
        others = [self._tokenizer.encode(word)[0] for word in (" cat", " tree", " stone", " bread")]
        step.logits[..., others] = np.where(sounds[..., None], 0.0, step.logits[..., others])
        step.logits[..., self._tokenizer.encode(" [")[0]] = np.where(sounds, 4.0, UNLIKELY)
        return step


@pytest.mark.parametrize("before", [[], [1, 3, 4]], ids=["at the beginning", "after words"])
def test_what_would_be_described_is_not_taken_for_words(before: list[int]) -> None:
    model = tone_model(decoder=_Describing(MODEL.tokenizer, "en"))
    speech = speech_of([*before, *[_Describing.SOUND] * 3])
    updates = listen(listener(model), every(1, speech.samples))
    assert text_of(updates) == "".join(WORDS[word] for word in before)
    assert updates[-1].stop is StopReason.NO_SPEECH
    heedless = listen(listener(model, nonspeech_prob=1), every(1, speech.samples))
    assert len(text_of(heedless)) > len(text_of(updates))


def test_what_might_be_described_and_is_surely_said_is_written() -> None:
    """In "Health Organization (WHO)", a bracket is likely too."""

    class Sure(ToneDecoder):
        def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
            step = super().step(state, tokens, logits_at)
            step.logits[..., self._tokenizer.encode(" (")[0]] = 1.0
            return step

    speech = speech_of(random_words(12, 5))
    model = tone_model(decoder=Sure(MODEL.tokenizer, "en"))
    assert_heard(listen(listener(model), every(1, speech.samples)), speech)


def test_a_decoder_that_babbles_for_ever_is_held_to_the_length_of_its_context() -> None:
    tokenizer, prompts = MODEL.tokenizer, list[int]()
    allowed = [token for token in range(1000, 2000) if token not in tokenizer.non_speech_tokens]

    def babble(text: Sequence[int]) -> tuple[dict[int, float], int]:
        prompts.append(len(text))
        return {allowed[len(text) % len(allowed)]: 0.0}, 10

    model = tone_model(decoder=FakeDecoder(tokenizer.n_vocab, babble))
    whisper = listener(model, max_tokens_per_second=100, padding_len=0, audio_max_len=5)
    updates = listen(whisper, [np.zeros(SAMPLE_RATE, np.float32)] * 9)
    assert max(prompts) <= model.dims.n_text_ctx
    assert {update.stop for update in updates} <= {StopReason.LENGTH, StopReason.LOOP, StopReason.EDGE}
    calm = listen(listener(model, max_tokens_per_second=2, padding_len=0), [np.zeros(SAMPLE_RATE, np.float32)] * 5)
    assert all(len(tokenizer.encode(update.text)) <= 2 * 5 + 20 for update in calm)


class _Rewinding(ToneDecoder):
    """Looks back to the beginning, in the eighth window, after its first new token."""

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        if len(self.prompts) == 8 and len(tokens[0]) == 1:
            step.attention[..., 5:30] += 9
        return step


def test_attention_that_jumps_back_far_discards_the_pass_and_no_more() -> None:
    speech = speech_of(random_words(24, 20))
    tokenizer = MODEL.tokenizer
    model = tone_model(decoder=_Rewinding(tokenizer, "en"))
    updates = listen(listener(model, rewind_threshold=100), every(1, speech.samples))
    assert [n for n, update in enumerate(updates) if update.stop is StopReason.REWIND] == [7]
    assert updates[7].words == ()
    assert_heard(updates, speech)


class _Restarting(ToneDecoder):
    """Having said all, begins again: the first word is read from the silence at the end or, as the others, again."""

    reads_silence = True

    def _prediction(self, state: ToneState, text: Sequence[int]) -> tuple[tuple[int, ...], int]:
        likely, frame = super()._prediction(state, text)
        if likely[:1] != (self._tokenizer.eot,) or not state.said:
            return likely, frame
        n_again = (
            len(text)
            - text.index(self._tokenizer.sot)
            - len(self._tokenizer.sot_sequence(self._language, "transcribe"))
            - len(state.said)
        )
        if n_again >= len(state.said):
            return likely, frame
        token, frame = state.said[n_again]
        return (token,), state.said[-1][1] + 20 if n_again == 0 and self.reads_silence else frame


@pytest.mark.parametrize("silence_s", [0.2, 0.7, 1.5])
@pytest.mark.parametrize("chunk_s", [1.0, 10.0])
def test_a_decoder_that_begins_again_at_the_end_is_not_listened_to(silence_s: float, chunk_s: float) -> None:
    speech = speech_of([1, 2, 3, 4, 6, 7, 8], pauses=[GAP_SAMPLES] * 6 + [round(silence_s * SAMPLE_RATE)])
    model = tone_model(decoder=_Restarting(MODEL.tokenizer, "en"))
    updates = listen(listener(model, hold_probability=0), every(chunk_s, speech.samples))
    assert_heard(updates, speech)


def test_a_short_remark_is_not_read_twice() -> None:
    decoder = _Restarting(MODEL.tokenizer, "en")
    decoder.reads_silence = False
    speech = speech_of([1, 2, 3], pauses=[GAP_SAMPLES, GAP_SAMPLES, SAMPLE_RATE])
    assert_heard(listen(listener(tone_model(decoder=decoder), hold_probability=0), [speech.samples]), speech)


def test_a_word_said_again_at_once_is_no_beginning_anew_wherever_the_mark_between_is_read() -> None:
    rule = GuardedPolicy(
        AlignAttPolicy(300, 15, 200, 0, final=True), (), 99, lambda token: token == COMMA, lambda token: token != COMMA
    )
    for comma_frame in range(100, 200):
        tokens = [AlignedToken(NO, 100, 0.0), AlignedToken(COMMA, comma_frame, 0.0)]
        assert rule(tokens, NO, 109) is None
    # What was read from the end is said again from the beginning.
    earlier = [AlignedToken(NO, 10, 0.0), AlignedToken(YES, 75, 0.0)]
    again = replace(rule, earlier=earlier)
    assert again([AlignedToken(COMMA, 100, 0.0)], NO, 10) is StopReason.REWIND


def test_the_last_word_is_not_written_again_from_its_own_sound_nor_from_the_silence_at_the_end() -> None:
    rule = GuardedPolicy(
        AlignAttPolicy(300, 15, 200, 0, final=True), (), 99, lambda token: token == COMMA, lambda token: token != COMMA
    )
    said = [AlignedToken(YES, 270, 0.0), AlignedToken(COMMA, 280, 0.0)]
    assert {rule(said, YES, frame) for frame in (267, 270, 273, 295, 299)} == {StopReason.END_OF_TEXT}
    assert {rule(said, YES, frame) for frame in (274, 294)} == {None}
    assert {rule(said, NO, frame) for frame in (270, 299)} == {None}
    # Speech may go on, so the pass ends as it always does; and so does a text whose last word is far from the end.
    going_on = replace(rule, policy=replace(rule.policy, final=False))
    assert going_on(said, YES, 270) is None
    assert rule([AlignedToken(YES, 100, 0.0)], YES, 100) is None
    # A word may have twice the same part.
    parts = replace(rule, starts_word=lambda token: False)  # noqa: ARG005
    assert parts(said, YES, 270) is None
