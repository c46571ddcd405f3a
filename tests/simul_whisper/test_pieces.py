"""A pass in pieces: others may have their turn in between, and it may be cut short."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, Answer, Ask, PaddedAlignAttWhisper, StopReason, Update, finished
from simul_whisper.audio import Samples
from tests.listener import cut_short, every, listen, listener, untimed
from tests.properties import examples
from tests.tones import random_words, speech_of


def in_turns(*runs: Iterator[Update | None]) -> list[list[Update]]:
    """Run each in pieces, one piece of each in turn."""
    found: list[list[Update]] = [[] for _ in runs]
    waiting = dict(enumerate(runs))
    while waiting:
        for number, run in list(waiting.items()):
            try:
                update = next(run)
            except StopIteration:
                del waiting[number]
            else:
                found[number] += [update] if update else []
    return found


def by_pieces(whisper: PaddedAlignAttWhisper, samples: Samples) -> Iterator[Update | None]:
    """As `listen`; None after each piece of the work that is not over."""
    for n, chunk in enumerate([*every(1.0, samples), samples[:0]]):
        whisper.insert_audio(chunk)
        work = whisper.inference(is_last=n * SAMPLE_RATE >= len(samples))
        try:
            ask = next(work)
            while True:
                yield None
                ask = work.send(whisper.model.answer(ask))
        except StopIteration as done:
            yield untimed(done.value)


@pytest.mark.parametrize("language", ["en", "auto"])
def test_listeners_who_take_turns_piece_by_piece_hear_what_each_hears_alone(language: str) -> None:
    speeches = [speech_of(random_words(8, seed)) for seed in range(3)]
    alone = [listen(listener(language=language), every(1.0, speech.samples)) for speech in speeches]
    assert in_turns(*(by_pieces(listener(language=language), speech.samples) for speech in speeches)) == alone


@examples(20)
@given(n_pieces=st.integers(1, 30), beam_size=st.integers(1, 3))
def test_a_pass_cut_short_tells_how_far_it_came_and_loses_nothing(n_pieces: int, beam_size: int) -> None:
    speech = speech_of(random_words(8, 5))
    whisper = listener(decoder_type="beam", beam_size=beam_size, hold_probability=0.0)
    whisper.insert_audio(speech.samples)
    first, n_cut = cut_short(whisper.inference(), whisper.model.answer, n_pieces)
    rest = whisper.infer(is_last=True)
    # What was asked for before anything was read, and the step that was under way.
    assert n_cut <= max(1, 3 - n_pieces)
    assert n_cut or first.stop is not StopReason.CUT_SHORT
    assert speech.text.startswith(first.text)
    assert first.text + rest.text == speech.text


def test_a_pass_of_several_windows_tells_that_one_was_cut_short() -> None:
    whisper = listener(audio_max_len=5.0)
    whisper.insert_audio(speech_of(random_words(20, 5)).samples)
    n_answered = 0

    def answer(ask: Ask) -> Answer:
        nonlocal n_answered
        n_answered += 1
        return replace(whisper.model.answer(ask), is_cut_short=n_answered == 3)

    assert finished(whisper.inference(is_last=True), answer).stop is StopReason.CUT_SHORT
    assert n_answered > 3


def test_the_time_spent_on_answers_is_counted_and_that_of_others_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, n_answered = 0.0, 0
    monkeypatch.setattr("time.perf_counter", lambda: now_s)
    whisper = listener()
    whisper.insert_audio(speech_of([1, 2, 3]).samples)

    def answer(ask: Ask) -> Answer:
        nonlocal now_s, n_answered
        value = whisper.model.answer(ask).value
        now_s, n_answered = now_s + 10.0, n_answered + 1
        return Answer(value, spent_s=0.25)

    timing = finished(whisper.inference(is_last=True), answer).timing
    assert timing.total_s == 0.25 * n_answered
    assert timing.encode_s == 0.5
    assert timing.prefill_s == 0.25
    assert set(timing.step_s) == {0.25}
