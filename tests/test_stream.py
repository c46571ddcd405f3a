"""The stream over a model that never mishears: what is lost, said twice or misplaced is the engine's doing."""

import gc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    AudioFormatError,
    ConfigError,
    Model,
    PaddedAlignAttWhisper,
    StopReason,
    Timing,
    Update,
    Word,
)
from simul_whisper.decoders import Step
from simul_whisper.search import LogitFilter
from simul_whisper.tokenizer import Tokenizer
from tests.fakes import FakeDecoder
from tests.tones import GAP_SAMPLES, WORDS, Speech, ToneDecoder, ToneState, random_words, speech_of, tone_model

MODEL = tone_model()
SECOND = SAMPLE_RATE


def listener(model: Model = MODEL, **settings: Any) -> PaddedAlignAttWhisper:
    return PaddedAlignAttWhisper(AlignAttConfig(**{"language": "en", **settings}), model)


def pieces(samples: Any, sizes: Iterable[int]) -> list[Any]:
    """Cut samples into pieces of these sizes, the rest in one."""
    ends = [min(int(end), len(samples)) for end in np.cumsum([0, *sizes])]
    return [samples[start:end] for start, end in pairwise([*ends, len(samples)])]


def listen(whisper: PaddedAlignAttWhisper, chunks: Iterable[Any]) -> list[Update]:
    """Insert and infer chunk by chunk, then to the end. Timings, which differ, are left out."""
    updates = []
    for chunk in chunks:
        whisper.insert_audio(chunk)
        updates.append(whisper.infer())
    return [replace(update, timing=Timing()) for update in [*updates, whisper.infer(is_last=True)]]


def every(seconds: float, speech: Speech) -> list[Any]:
    size = round(seconds * SECOND)
    return pieces(speech.samples, [size] * (len(speech.samples) // size))


def words_of(updates: Iterable[Update]) -> list[Word]:
    return [word for update in updates for word in update.words]


def text_of(updates: Iterable[Update]) -> str:
    return "".join(word.text for word in words_of(updates))


def assert_heard(updates: list[Update], speech: Speech) -> None:
    """Every word once, in order, where it was said; clocks that only go on."""
    words = words_of(updates)
    assert "".join(word.text for word in words) == speech.text
    assert len(words) == len(speech.words)
    for word, start in zip(words, speech.starts, strict=True):
        assert word.start_s == pytest.approx(start / SECOND, abs=0.3)
        assert word.start_s <= word.end_s <= word.start_s + 1
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))
    assert all(before.keep_from_sample <= after.keep_from_sample for before, after in pairwise(updates))
    assert all(before.audio_end_s <= after.audio_end_s for before, after in pairwise(updates))
    assert updates[-1].audio_end_s == pytest.approx(len(speech.samples) / SECOND)


policies = st.fixed_dictionaries(
    {
        "audio_max_len": st.sampled_from([5.0, 8.0, 15.0, 30.0]),
        "audio_min_len": st.sampled_from([0.0, 1.7]),
        "segment_length": st.sampled_from([0.3, 1.0]),
        "frame_threshold": st.sampled_from([10, 25, 50]),
        "last_word": st.sampled_from(["keep", "drop"]),
        "decoder_type": st.sampled_from(["greedy", "greedy", "beam"]),
        "beam_size": st.just(3),
        "padding_len": st.sampled_from([0.0, 1.0, 30.0]),
        "init_prompt": st.sampled_from(["", "Some words before."]),
    }
)
pauses = st.lists(st.integers(GAP_SAMPLES, 8_000), min_size=1, max_size=5)


@settings(max_examples=15, deadline=None)
@given(
    n_words=st.integers(1, 18),
    seed=st.integers(0, 1000),
    pauses=pauses,
    lead=st.sampled_from([0, 4_000, 100_000]),
    sizes=st.lists(st.sampled_from([1, 300, 8_000, 16_000, 40_000, 200_000]), max_size=16),
    policy=policies,
)
def test_any_schedule_hears_every_word_once(
    n_words: int, seed: int, pauses: list[int], lead: int, sizes: list[int], policy: dict[str, Any]
) -> None:
    speech = speech_of(random_words(n_words, seed), pauses, lead)
    assert_heard(listen(listener(**policy), pieces(speech.samples, sizes)), speech)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.lists(st.floats(0, 1), max_size=4), min_size=6, max_size=6), policy=policies)
def test_cutting_the_audio_differently_changes_nothing(cuts: list[list[float]], policy: dict[str, Any]) -> None:
    speech = speech_of(random_words(16, 7))
    expected = listen(listener(**policy), every(1.7, speech))
    other, updates = listener(**policy), []
    for chunk, fractions in zip(every(1.7, speech), [*cuts, *cuts], strict=False):
        sizes = np.diff([0, *(int(fraction * len(chunk)) for fraction in sorted(fractions))])
        for piece in pieces(chunk, sizes):
            other.insert_audio(piece)
        updates.append(replace(other.infer(), timing=Timing()))
    updates.append(replace(other.infer(is_last=True), timing=Timing()))
    assert updates == expected


def test_one_sample_at_a_time_is_only_slower() -> None:
    speech = speech_of([1, 2, 3])
    whisper = listener()
    for sample in speech.samples:
        whisper.insert_audio(sample[None])
    assert text_of([whisper.infer(is_last=True)]) == speech.text


def test_minutes_at_once_are_heard_to_the_end() -> None:
    speech = speech_of(random_words(600, 1))
    assert len(speech.samples) == 300 * SECOND
    assert_heard(listen(listener(segment_length=4, padding_len=1), [speech.samples]), speech)


@pytest.mark.parametrize("settings", [{}, {"audio_max_len": 6}, {"decoder_type": "beam", "beam_size": 2}])
def test_a_long_stream_neither_drifts_nor_grows(settings: dict[str, Any]) -> None:
    speech = speech_of(random_words(160, 2), [3_200, 4_111, 3_200, 9_999])
    whisper, updates, sizes = listener(padding_len=1, **settings), list[Update](), list[int]()
    for chunk in every(1, speech):
        whisper.insert_audio(chunk)
        updates.append(whisper.infer())
        sizes.append(retained_bytes(whisper))
    updates.append(whisper.infer(is_last=True))
    assert_heard(updates, speech)
    assert max(sizes[40:]) <= 1.1 * max(sizes[:40])


def retained_bytes(whisper: PaddedAlignAttWhisper) -> int:
    """Bytes of all arrays that a listener keeps, and 8 for each of its other objects; the model's are not its own."""
    shared = (type, Model, Tokenizer, LogitFilter, ToneDecoder)
    seen, found, stack = set[int](), 0, list[Any]([whisper])
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, shared):
            continue
        seen.add(id(each))
        found += each.nbytes if isinstance(each, np.ndarray) else 8
        if isinstance(each, dict | list | tuple) or type(each).__module__.startswith("simul_whisper."):
            stack += gc.get_referents(each)
    return found


@pytest.mark.parametrize("audio_max_len", [4, 15, 30])
def test_audio_kept_is_never_more_than_the_limit(audio_max_len: float) -> None:
    limit_bytes = 4 * SECOND * audio_max_len
    whisper = listener(audio_max_len=audio_max_len)
    for chunk in every(10, speech_of(random_words(100, 3))):
        whisper.insert_audio(chunk)
        whisper.infer()
        assert retained_bytes(whisper) <= limit_bytes + 20_000


@pytest.mark.parametrize("last_s", [0.001, 0.02, 0.3])
def test_a_last_piece_shorter_than_the_minimum_is_heard(last_s: float) -> None:
    speech = speech_of(random_words(6, 4), [GAP_SAMPLES], 3_000)
    size = len(speech.samples) - round(last_s * SECOND)
    updates = listen(listener(audio_min_len=2.9), pieces(speech.samples, [size]))
    assert_heard(updates, speech)


def test_audio_shorter_than_the_minimum_alone_is_heard_at_the_end() -> None:
    speech = speech_of([5])
    whisper = listener(audio_min_len=10)
    whisper.insert_audio(speech.samples)
    waiting = whisper.infer()
    assert (waiting.words, waiting.stop) == ((), StopReason.WAITING)
    assert text_of([whisper.infer(is_last=True)]) == speech.text


def test_the_end_comes_once() -> None:
    whisper = listener()
    whisper.insert_audio(speech_of([5, 6]).samples)
    assert whisper.infer(is_last=True).text == WORDS[5] + WORDS[6]
    again = whisper.infer(is_last=True)
    assert (again.words, again.draft, again.is_last) == ((), "", True)


def test_nothing_inserted_is_nothing_heard() -> None:
    whisper = listener()
    for update in (whisper.infer(), whisper.infer(is_last=True), whisper.infer(is_last=True)):
        assert (update.words, update.stop, update.audio_end_s, update.keep_from_sample) == (
            (),
            StopReason.WAITING,
            0,
            0,
        )
    whisper.insert_audio(np.zeros(0, np.float32))
    assert whisper.infer(is_last=True).words == ()


def test_an_inserted_array_may_be_used_again() -> None:
    speech = speech_of(random_words(8, 5))
    whisper, buffer, updates = listener(), np.zeros(SECOND, np.float32), []
    for start in range(0, len(speech.samples), SECOND):
        buffer[:] = speech.samples[start : start + SECOND]
        whisper.insert_audio(buffer)
        buffer[:] = 0.5
        updates.append(whisper.infer())
    assert text_of([*updates, whisper.infer(is_last=True)]) == speech.text


def test_refused_audio_changes_nothing() -> None:
    speech = speech_of(random_words(8, 6))
    whisper = listener()
    whisper.insert_audio(speech.samples[:40_000])
    with pytest.raises(AudioFormatError):
        whisper.insert_audio(np.full(100, np.nan, np.float32))
    whisper.insert_audio(speech.samples[40_000:])
    assert whisper.infer(is_last=True).text == speech.text


def test_the_draft_becomes_the_next_words() -> None:
    speech = speech_of([20, 19, 20, 19])
    updates = listen(listener(), every(0.3, speech))
    assert any(update.draft for update in updates)
    for n, update in enumerate(updates):
        assert text_of(updates[n + 1 :]).startswith(update.draft)


def test_an_utterance_continues_the_clock_and_remembers_the_text() -> None:
    first, second = speech_of(random_words(5, 8)), speech_of(random_words(5, 9))
    model = tone_model()
    whisper = listener(model)
    heard_first = listen(whisper, every(1, first))
    whisper.refresh_segment()
    heard_second = listen(whisper, every(1, second))
    shift = len(first.samples)
    moved = replace(second, starts=tuple(start + shift for start in second.starts))
    assert text_of(heard_first) == first.text
    assert [word.start_s for word in words_of(heard_second)] == pytest.approx(
        [start / SECOND for start in moved.starts], abs=0.3
    )
    assert heard_second[0].keep_from_sample == shift
    assert text_of(heard_second) == second.text
    assert isinstance(model.decoder, ToneDecoder)
    prompt = model.decoder.prompts[-1]
    context = prompt[: prompt.index(model.tokenizer.sot)]
    assert context[0] == model.tokenizer.sot_prev
    assert model.tokenizer.decode(context) == first.text


def test_a_new_utterance_gives_up_what_was_not_decoded() -> None:
    whisper = listener()
    whisper.insert_audio(speech_of([1, 2]).samples)
    whisper.refresh_segment()
    whisper.insert_audio(speech_of([3]).samples)
    update = whisper.infer(is_last=True)
    assert update.text == WORDS[3]
    assert update.words[0].start_s == pytest.approx(1.0, abs=0.3)


def test_an_utterance_may_begin_later_on_the_clock() -> None:
    first, second, later = speech_of(random_words(12, 8)), speech_of(random_words(12, 9)), 10**9
    near, far = listener(), listener()
    for whisper in (near, far):
        listen(whisper, every(1, first))
    near.refresh_segment()
    far.refresh_segment(len(first.samples) + later)
    updates, moved = listen(near, every(1, second)), listen(far, every(1, second))
    assert text_of(moved) == second.text
    for update, there in zip(updates, moved, strict=True):
        assert there.keep_from_sample == update.keep_from_sample + later
        assert there.audio_end_s == pytest.approx(update.audio_end_s + later / SECOND)
        times = [time + later / SECOND for word in update.words for time in (word.start_s, word.end_s)]
        assert [time for word in there.words for time in (word.start_s, word.end_s)] == pytest.approx(times)


def test_the_clock_never_goes_back() -> None:
    whisper = listener()
    whisper.insert_audio(np.zeros(100, np.float32))
    with pytest.raises(AudioFormatError, match="got start_sample 99, expected at least 100"):
        whisper.refresh_segment(99)
    assert whisper.infer(is_last=True).audio_end_s == pytest.approx(100 / SECOND)


def test_context_and_prompts_stand_in_front_of_the_words() -> None:
    model = tone_model()
    speech = speech_of(random_words(60, 10))
    # A beam's prompts hold no guess.
    whisper = listener(model, static_init_prompt="Ada", init_prompt="Hello", max_context_tokens=30, decoder_type="beam")
    updates = listen(whisper, every(1, speech))
    assert text_of(updates) == speech.text
    assert isinstance(model.decoder, ToneDecoder)
    sot, decode = model.tokenizer.sot, model.tokenizer.decode
    contexts = [decode(prompt[: prompt.index(sot)]) for prompt in model.decoder.prompts]
    texts = [decode(prompt[prompt.index(sot) :]) for prompt in model.decoder.prompts]
    assert contexts[0] == " Ada Hello"
    assert all(context.startswith(" Ada ") for context in contexts)
    assert contexts[-1] != contexts[0]
    for context, text in zip(contexts, texts, strict=True):
        assert (" Hello" + speech.text).find(context.removeprefix(" Ada") + text) >= 0
    assert max(len(prompt) for prompt in model.decoder.prompts) < 448


def test_silence_is_no_text_and_no_cost_to_what_follows() -> None:
    speech = speech_of(random_words(5, 11), lead_samples=40 * SECOND)
    updates = listen(listener(), every(5, speech))
    assert {update.stop for update in updates[:7]} == {StopReason.NO_SPEECH}
    assert_heard(updates, speech)


def test_a_language_is_detected_once_there_is_enough_to_hear() -> None:
    speech = speech_of(random_words(10, 12))
    updates = listen(listener(tone_model("de"), language="auto", language_min_len=2.5), every(1, speech))
    assert [update.language for update in updates[:3]] == [None, None, "de"]
    assert [update.stop for update in updates[:2]] == [StopReason.WAITING] * 2
    assert {update.language for update in updates[2:]} == {"de"}
    assert_heard(updates, speech)


def test_a_language_is_detected_in_whatever_there_is_at_the_end() -> None:
    whisper = listener(tone_model("de"), language="auto")
    whisper.insert_audio(speech_of([4]).samples)
    assert whisper.infer(is_last=True).text == WORDS[4]
    assert whisper.language == "de"


class _Unsure(ToneDecoder):
    """Takes whatever begins with one word for German, and all else for English, and never is quite sure."""

    TELLING = 4

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        if tokens[0][-1] == self._tokenizer.sot:
            languages = self._tokenizer.languages
            likely = "de" if state.said[0][0] == self._tokens[self.TELLING][0] else "en"
            for language in languages:
                step.logits[..., self._tokenizer.language_tokens[languages.index(language)]] = 0.0
            step.logits[..., self._tokenizer.language_tokens[languages.index(likely)]] = 4.0
        return step


@pytest.mark.parametrize("n_words", [1, 12])
def test_a_language_guessed_from_a_short_utterance_holds_no_longer(n_words: int) -> None:
    whisper = listener(tone_model(decoder=_Unsure(MODEL.tokenizer, "en")), language="auto")
    first = speech_of([_Unsure.TELLING, *range(5, 4 + n_words)])
    updates = listen(whisper, [first.samples])
    assert updates[-1].language == whisper.language == "de"
    assert text_of(updates) == first.text
    whisper.refresh_segment()
    # Five seconds of speech decide for good.
    expected = "en" if n_words == 1 else "de"
    assert listen(whisper, every(1, speech_of(range(5, 20))))[-1].language == expected


def test_listeners_do_not_hear_each_other() -> None:
    speeches = [speech_of(random_words(20, seed)) for seed in (13, 14, 15)]
    alone = [listen(listener(), every(1, speech)) for speech in speeches]
    together = [listener() for _ in speeches]
    updates: list[list[Update]] = [[] for _ in speeches]
    for chunks in zip(*(every(1, speech) for speech in speeches), strict=True):
        for whisper, chunk, own in zip(together, chunks, updates, strict=True):
            whisper.insert_audio(chunk)
            own.append(replace(whisper.infer(), timing=Timing()))
    for whisper, own, expected in zip(together, updates, alone, strict=True):
        assert [*own, replace(whisper.infer(is_last=True), timing=Timing())] == expected


@pytest.mark.parametrize(
    ("model", "settings", "complaint"),
    [
        ("base", {"language": "xx"}, "got language xx, expected auto or one of en, zh"),
        ("tiny.en", {"language": "de"}, "can only transcribe English"),
        ("tiny.en", {"task": "translate"}, "can only transcribe English"),
        ("base", {"static_init_prompt": "word " * 300}, "static_init_prompt of"),
        ("base", {"frame_threshold": 0}, "got frame_threshold = 0"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(model: str, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        listener(tone_model(name=model), **settings)


def test_an_english_model_needs_no_language() -> None:
    whisper = listener(tone_model(name="tiny.en"), language="auto")
    assert whisper.language == "en"


@pytest.mark.parametrize(("audio_max_len", "pause_s"), [(6, 10), (15, 20)])
def test_a_word_before_a_long_pause_is_not_cut_in_two(audio_max_len: float, pause_s: int) -> None:
    speech = speech_of(random_words(9, 16), [GAP_SAMPLES, pause_s * SECOND, GAP_SAMPLES])
    assert_heard(listen(listener(audio_max_len=audio_max_len), every(1, speech)), speech)


@pytest.mark.parametrize("segment_length", [5, 10])
def test_a_window_that_a_segment_fills_is_refused_or_heard(segment_length: float) -> None:
    speech = speech_of(random_words(20, 17))
    try:
        whisper = listener(audio_max_len=5, segment_length=segment_length)
    except ConfigError:
        return
    assert_heard(listen(whisper, every(segment_length, speech)), speech)


@pytest.mark.parametrize("language", ["de", "ja"])
def test_a_translation_is_english_whatever_is_spoken(language: str) -> None:
    speech = speech_of(random_words(20, 18))
    whisper = listener(tone_model(language), language=language, task="translate")
    assert_heard(listen(whisper, every(1, speech)), speech)


def test_a_decoder_stuck_in_a_loop_says_so_and_recovers() -> None:
    tokenizer, stuck = MODEL.tokenizer, 5
    before, after = [1, 2, 3, 4, stuck], random_words(80, 19)
    speech = speech_of([*before, *(word for word in after if word != stuck)])
    model = tone_model(decoder=ToneDecoder(tokenizer, "en", stutter=stuck))
    updates = listen(listener(model, audio_max_len=8), every(1, speech))
    assert StopReason.LOOP in {update.stop for update in updates}
    assert not any(update.draft.count(WORDS[stuck]) > 1 for update in updates)
    heard, said = text_of(updates).split(), speech.text.split()
    assert heard.count(WORDS[stuck].strip()) <= 1
    # One word may be lost where the window was cut.
    same = SequenceMatcher(None, heard, said, autojunk=False).get_matching_blocks()
    assert sum(block.size for block in same) >= len(said) - 2
    assert len(heard) <= len(said) + 1


def test_a_decoder_that_babbles_for_ever_is_held_to_the_length_of_its_context() -> None:
    tokenizer, prompts = MODEL.tokenizer, list[int]()
    allowed = [token for token in range(1000, 2000) if token not in tokenizer.non_speech_tokens]

    def babble(text: Sequence[int]) -> tuple[dict[int, float], int]:
        prompts.append(len(text))
        return {allowed[len(text) % len(allowed)]: 0.0}, 10

    model = tone_model(decoder=FakeDecoder(tokenizer.n_vocab, babble))
    whisper = listener(model, max_tokens_per_second=100, padding_len=0, audio_max_len=5)
    updates = listen(whisper, [np.zeros(SECOND, np.float32)] * 9)
    assert max(prompts) <= model.dims.n_text_ctx
    assert {update.stop for update in updates} <= {StopReason.LENGTH, StopReason.LOOP, StopReason.EDGE}
    calm = listen(listener(model, max_tokens_per_second=2, padding_len=0), [np.zeros(SECOND, np.float32)] * 5)
    assert all(len(tokenizer.encode(update.text)) <= 2 * 5 + 20 for update in calm)


def test_attention_that_jumps_back_far_discards_the_pass_and_no_more() -> None:
    speech = speech_of(random_words(24, 20))
    tokenizer = MODEL.tokenizer
    model = tone_model(decoder=_Rewinding(tokenizer, "en"))
    updates = listen(listener(model, rewind_threshold=100), every(1, speech))
    assert [n for n, update in enumerate(updates) if update.stop is StopReason.REWIND] == [7]
    assert updates[7].words == ()
    assert_heard(updates, speech)


class _Rewinding(ToneDecoder):
    """Looks back to the beginning, in the eighth window, after its first new token."""

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        if len(self.prompts) == 8 and len(tokens[0]) == 1:
            step.attention[..., 5:30] += 9
        return step


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
    speech = speech_of([1, 2, 3, 4, 6, 7, 8], pauses=[GAP_SAMPLES] * 6 + [round(silence_s * SECOND)])
    model = tone_model(decoder=_Restarting(MODEL.tokenizer, "en"))
    updates = listen(listener(model, hold_probability=0), every(chunk_s, speech))
    assert_heard(updates, speech)


def test_a_short_remark_is_not_read_twice() -> None:
    decoder = _Restarting(MODEL.tokenizer, "en")
    decoder.reads_silence = False
    speech = speech_of([1, 2, 3], pauses=[GAP_SAMPLES, GAP_SAMPLES, SECOND])
    assert_heard(listen(listener(tone_model(decoder=decoder), hold_probability=0), [speech.samples]), speech)
