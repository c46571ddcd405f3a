"""A pass in pieces: others may have their turn in between, and it may be cut short."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, PaddedAlignAttWhisper, Pieces, StopReason, Update, finished
from simul_whisper.audio import Samples
from tests.listener import every, listen, listener, untimed
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
            while True:
                yield next(work)
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
    first, n_sent = cut_short(whisper.inference(), n_pieces)
    rest = finished(whisper.inference(is_last=True))
    assert (first.stop is StopReason.CUT_SHORT) == (n_sent > 0)
    assert speech.text.startswith(first.text)
    assert first.text + rest.text == speech.text


def test_a_pass_of_several_windows_tells_that_one_was_cut_short() -> None:
    whisper = listener(audio_max_len=5.0)
    whisper.insert_audio(speech_of(random_words(20, 5)).samples)
    work = whisper.inference(is_last=True)
    next(work)
    next(work)
    work.send(True)
    assert finished(work).stop is StopReason.CUT_SHORT


def cut_short(work: Pieces[Update], n_pieces: int) -> tuple[Update, int]:
    """The result of work that is cut short after so many pieces, and how often it had to be told."""
    n_sent = 0
    try:
        for _ in range(n_pieces):
            next(work)
        while True:
            n_sent += 1
            work.send(True)
    except StopIteration as done:
        return done.value, n_sent


def test_the_time_of_others_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now_s)
    whisper = listener()
    whisper.insert_audio(speech_of([1, 2, 3]).samples)
    work = whisper.inference(is_last=True)
    for _ in range(3):
        next(work)
        now_s += 1.0
    assert finished(work).timing.total_s == 0.0
