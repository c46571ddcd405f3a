"""The stream over a model that never mishears: what is lost, said twice or misplaced is the engine's doing."""

import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import (
    SAMPLE_RATE,
    AudioFormatError,
    ConfigError,
    Model,
    PaddedAlignAttWhisper,
    StopReason,
    Update,
)
from simul_whisper.encoders import Features
from simul_whisper.mel import Mel
from simul_whisper.search import LogitFilter
from simul_whisper.tokenizer import Tokenizer
from tests.fakes import tokenizer_of
from tests.listener import assert_heard, every, listen, listener, pieces, text_of, untimed, words_of
from tests.properties import examples
from tests.tones import GAP_SAMPLES, WORDS, ToneDecoder, ToneEncoder, random_words, speech_of, tone_model

SECOND = SAMPLE_RATE

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
        "window_min_len": st.sampled_from([0.0, 9.5]),
        "init_prompt": st.sampled_from(["", "Some words before."]),
        "terms": st.sampled_from([(), ("four five", "red light", "house", "supercalifragilistic")]),
    }
)
pauses = st.lists(st.integers(GAP_SAMPLES, 8_000), min_size=1, max_size=5)


@examples(15)
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


@examples(8)
@given(cuts=st.lists(st.lists(st.floats(0, 1), max_size=4), min_size=6, max_size=6), policy=policies)
def test_cutting_the_audio_differently_changes_nothing(cuts: list[list[float]], policy: dict[str, Any]) -> None:
    speech = speech_of(random_words(16, 7))
    expected = listen(listener(**policy), every(1.7, speech.samples))
    other, updates = listener(**policy), []
    for chunk, fractions in zip(every(1.7, speech.samples), [*cuts, *cuts], strict=False):
        sizes = np.diff([0, *(int(fraction * len(chunk)) for fraction in sorted(fractions))])
        for piece in pieces(chunk, sizes):
            other.insert_audio(piece)
        updates.append(untimed(other.infer()))
    updates.append(untimed(other.infer(is_last=True)))
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
    for chunk in every(1, speech.samples):
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
    for chunk in every(10, speech_of(random_words(100, 3)).samples):
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
    updates = listen(listener(), every(0.3, speech.samples))
    assert any(update.draft for update in updates)
    for n, update in enumerate(updates):
        assert text_of(updates[n + 1 :]).startswith(update.draft)


def test_an_utterance_continues_the_clock_and_remembers_the_text() -> None:
    first, second = speech_of(random_words(5, 8)), speech_of(random_words(5, 9))
    model = tone_model()
    whisper = listener(model)
    heard_first = listen(whisper, every(1, first.samples))
    whisper.refresh_segment()
    heard_second = listen(whisper, every(1, second.samples))
    shift = len(first.samples)
    moved = replace(second, starts=tuple(start + shift for start in second.starts))
    assert text_of(heard_first) == first.text
    assert [word.start_s for word in words_of(heard_second)] == pytest.approx(
        [start / SECOND for start in moved.starts], abs=0.3
    )
    assert heard_second[0].keep_from_sample == shift
    assert text_of(heard_second) == second.text
    decoder = model.decoder.load()
    assert isinstance(decoder, ToneDecoder)
    prompt = decoder.prompts[-1]
    context = prompt[: prompt.index(tokenizer_of("base").sot)]
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
        listen(whisper, every(1, first.samples))
    near.refresh_segment()
    far.refresh_segment(len(first.samples) + later)
    updates, moved = listen(near, every(1, second.samples)), listen(far, every(1, second.samples))
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
    whisper = listener(model, static_init_prompt="Ada", init_prompt="Hello", max_context_tokens=30)
    updates = listen(whisper, every(1, speech.samples))
    assert text_of(updates) == speech.text
    decoder = model.decoder.load()
    assert isinstance(decoder, ToneDecoder)
    sot, decode = tokenizer_of("base").sot, model.tokenizer.decode
    contexts = [decode(prompt[: prompt.index(sot)]) for prompt in decoder.prompts]
    texts = [decode(prompt[prompt.index(sot) :]) for prompt in decoder.prompts]
    assert contexts[0] == " Ada Hello"
    assert all(context.startswith(" Ada") for context in contexts)
    assert contexts[-1] != contexts[0]
    for context, text in zip(contexts, texts, strict=True):
        # The oldest token may be a part of a character, and so may the newest, which is guessed.
        older = context.removeprefix(" Ada").lstrip("\ufffd")
        assert older + text.rstrip("\ufffd") in " Hello" + speech.text
    assert max(len(prompt) for prompt in decoder.prompts) < 448


def test_silence_is_no_text_and_no_cost_to_what_follows() -> None:
    speech = speech_of(random_words(5, 11), lead_samples=40 * SECOND)
    updates = listen(listener(), every(5, speech.samples))
    assert {update.stop for update in updates[:7]} == {StopReason.NO_SPEECH}
    assert_heard(updates, speech)


def test_listeners_do_not_hear_each_other() -> None:
    speeches = [speech_of(random_words(20, seed)) for seed in (13, 14, 15)]
    alone = [listen(listener(), every(1, speech.samples)) for speech in speeches]
    together = [listener() for _ in speeches]
    updates: list[list[Update]] = [[] for _ in speeches]
    for chunks in zip(*(every(1, speech.samples) for speech in speeches), strict=True):
        for whisper, chunk, own in zip(together, chunks, updates, strict=True):
            whisper.insert_audio(chunk)
            own.append(untimed(whisper.infer()))
    for whisper, own, expected in zip(together, updates, alone, strict=True):
        assert [*own, untimed(whisper.infer(is_last=True))] == expected


@pytest.mark.parametrize(
    ("model", "settings", "complaint"),
    [
        ("base", {"language": "xx"}, "got language 'xx'"),
        ("base", {"language": "yue"}, "does not know Cantonese"),
        ("tiny.en", {"language": "de"}, "can only transcribe English"),
        ("tiny.en", {"task": "translate"}, "can only transcribe English"),
        ("base", {"static_init_prompt": "word " * 300}, "static_init_prompt of"),
        ("base", {"frame_threshold": 0}, "got frame_threshold = 0"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(model: str, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        listener(tone_model(name=model), **settings)


@pytest.mark.parametrize(("audio_max_len", "pause_s"), [(6, 10), (15, 20)])
def test_a_word_before_a_long_pause_is_not_cut_in_two(audio_max_len: float, pause_s: int) -> None:
    speech = speech_of(random_words(9, 16), [GAP_SAMPLES, pause_s * SECOND, GAP_SAMPLES])
    assert_heard(listen(listener(audio_max_len=audio_max_len), every(1, speech.samples)), speech)


@pytest.mark.parametrize("segment_length", [5, 10])
def test_a_window_that_a_segment_fills_is_refused_or_heard(segment_length: float) -> None:
    speech = speech_of(random_words(20, 17))
    try:
        whisper = listener(audio_max_len=5, segment_length=segment_length)
    except ConfigError:
        return
    assert_heard(listen(whisper, every(segment_length, speech.samples)), speech)


def test_at_a_pause_all_is_committed_and_nothing_is_left_to_read() -> None:
    speech = speech_of(random_words(6, 4), [GAP_SAMPLES] * 5 + [0])
    whisper = listener()
    whisper.insert_audio(np.concatenate([speech.samples, np.zeros(3_200, np.float32)]))
    assert whisper.infer(at_pause=True).text == speech.text
    last = whisper.infer(is_last=True)
    assert (last.text, last.timing.windows) == ("", 0)
    whisper.insert_audio(speech.samples)
    assert whisper.infer(is_last=True).text == speech.text


def test_what_comes_after_a_pause_is_read_at_the_end() -> None:
    speech = speech_of(random_words(6, 4))
    whisper = listener()
    cut = speech.starts[3]
    whisper.insert_audio(speech.samples[:cut])
    first = whisper.infer(at_pause=True)
    whisper.insert_audio(speech.samples[cut:])
    last = whisper.infer(is_last=True)
    assert (first.text + last.text, last.timing.windows) == (speech.text, 1)


def test_what_waits_at_a_pause_is_committed_at_the_end() -> None:
    speech = speech_of(random_words(6, 4))
    whisper = listener(hold_probability=1.0, hold_len=30.0)
    whisper.insert_audio(speech.samples)
    first = whisper.infer(at_pause=True)
    last = whisper.infer(is_last=True)
    assert (first.text, last.text, last.timing.windows) == ("", speech.text, 0)


class _CountingEncoder(ToneEncoder):
    n_windows = 0

    def encode(self, mel: Mel) -> Features:
        self.n_windows += 1
        return super().encode(mel)


@pytest.mark.parametrize("pause_samples", [0, 3_200, 8_000])
def test_a_pause_right_after_a_pass_is_read_from_what_that_has_encoded(pause_samples: int) -> None:
    speech = speech_of(random_words(6, 4), [GAP_SAMPLES] * 5 + [0])
    encoder = _CountingEncoder()
    whisper = listener(tone_model().using(encoder=encoder))
    whisper.insert_audio(speech.samples)
    told = whisper.infer().text
    n_before = encoder.n_windows
    whisper.insert_audio(np.zeros(pause_samples + 1, np.float32))
    told += whisper.infer(at_pause=True).text
    assert encoder.n_windows - n_before == (pause_samples > 4_000)
    assert told == speech.text
    whisper.insert_audio(speech.samples)
    assert whisper.infer(is_last=True).text == speech.text
