"""Several sessions answered together: the words of each are those it gets alone, whatever the others do."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, load_model
from simul_whisper.decoders import Step
from streaming.events import CutShort, Ended, Event, Failed, Reason
from streaming.sessions.fair_queue import FairQueue, Share, Standing
from streaming.sessions.session import Session
from streaming.sessions.worker import Worker
from tests.conftest import Recording
from tests.properties import examples
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, text_of
from tests.streaming.sessions.test_fair_queue import Asking
from tests.streaming.working import MODEL, HandClock, collected, ended, made, running, said
from tests.tones import Speech, ToneBatches, random_words, speech_of, tone_model


def batching() -> tuple[Model, ToneBatches]:
    decoder = ToneBatches(MODEL.tokenizer, "en")
    return tone_model(decoder=decoder), decoder


def alone(speech: Speech) -> list[Event]:
    session = Session(CONFIG, MODEL, OFF)
    return ended(session.feed(speech.samples) + session.end())


@examples(30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    started=st.booleans(),
    n_pieces=st.integers(1, 8),
)
def test_each_session_hears_what_it_hears_alone(lengths: list[int], started: bool, n_pieces: int) -> None:
    """However many there are, whenever their audio comes, and wherever each ends."""
    model, _ = batching()
    speeches = [speech_of(random_words(n, seed)) for seed, n in enumerate(lengths)]
    worker = made(model)
    if started:
        worker.start()
    handles = [worker.open(voice=OFF) for _ in speeches]
    cut = [np.array_split(speech.samples, n_pieces) for speech in speeches]
    for pieces in zip(*cut, strict=True):
        for handle, piece in zip(handles, pieces, strict=True):
            handle.submit(piece)
    for handle in handles:
        handle.end()
    if not started:
        worker.start()
    found = [collected(handle) for handle in handles]
    worker.stop(PATIENCE_S)
    assert found == [alone(speech) for speech in speeches]


def test_those_that_are_due_together_are_read_together() -> None:
    model, decoder = batching()
    worker = made(model)
    handles = [said(worker.open(voice=OFF)) for _ in range(6)]
    with running(worker):
        assert len({text_of(collected(handle)) for handle in handles}) == 1
    # All say the same, so they go on together to the end.
    assert set(decoder.sizes) == {4, 2}


def test_one_is_not_read_with_others_where_that_does_not_pay() -> None:
    model, decoder = batching()
    decoder.most_together = 1
    worker = made(model)
    handles = [said(worker.open(voice=OFF)) for _ in range(3)]
    with running(worker):
        assert len({text_of(collected(handle)) for handle in handles}) == 1
    assert not decoder.sizes


class Trapped(ToneBatches):
    """Cannot read windows in which a word is said."""

    TRAP = 7

    def step(self, state: Any, *args: Any, **options: Any) -> Step:
        if any(token == self._tokens[self.TRAP][0] for token, _ in state.said):
            raise RuntimeError("trapped")
        return super().step(state, *args, **options)

    def step_together(self, states: Any, *args: Any) -> list[Step] | None:
        for state in states:
            if any(token == self._tokens[self.TRAP][0] for token, _ in state.said):
                raise RuntimeError("trapped")
        return super().step_together(states, *args)


def test_what_fails_in_a_batch_ends_its_own_session_and_no_other() -> None:
    safe = speech_of([word for word in random_words(12, 2) if word != Trapped.TRAP])
    decoder = Trapped(MODEL.tokenizer, "en")
    worker = made(tone_model(decoder=decoder))
    handles = [said(worker.open(voice=OFF), safe.samples) for _ in range(2)]
    trapped = said(worker.open(voice=OFF), speech_of([1, 2, Trapped.TRAP, 3]).samples)
    with running(worker):
        assert collected(trapped)[-1] == Failed(Reason.INTERNAL, "RuntimeError: trapped")
        assert [text_of(collected(handle)) for handle in handles] == [safe.text] * 2
    assert max(decoder.sizes) >= 2


class Costly(ToneBatches):
    """Each step takes a second by a clock that is turned by hand, for however many."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(MODEL.tokenizer, "en")
        self._clock = clock

    def step_together(self, states: Any, *args: Any) -> list[Step] | None:
        self._clock.now_s += 1.0
        return super().step_together(states, *args)


@pytest.mark.parametrize(("pass_s", "is_cut"), [(2.5, False), (0.6, True)])
def test_a_pass_is_cut_short_by_its_share_of_a_batch(pass_s: float, is_cut: bool) -> None:
    """Of four, each has a quarter of a second in a step, and four words take five steps."""
    clock = HandClock()
    worker = made(tone_model(decoder=Costly(clock)), clock, pass_s=pass_s)
    config = replace(CONFIG, segment_length=5.0, audio_min_len=5.0)
    speech = speech_of(random_words(4, 3))
    handles = [said(worker.open(config, OFF), speech.samples) for _ in range(4)]
    with running(worker):
        for handle in handles:
            events = collected(handle)
            assert any(isinstance(event, CutShort) for event in events) == is_cut
            assert isinstance(events[-1], Ended)


def waiting(standing: Standing, **settings: Any) -> Asking:
    """One that has waited before, whatever it has had since."""
    return Asking(1.0, share=Share(0.0, 0.0, standing), left_s=1.0, **settings)


def queue_of(*sessions: Asking) -> FairQueue[Asking]:
    """A queue that has welcomed these, and knows how they stand."""
    queue, standings = FairQueue[Asking](), [each.share.standing for each in sessions]
    queue.next(sessions)
    for each, standing in zip(sessions, standings, strict=True):
        each.share.standing = standing
    return queue


def test_who_would_be_next_rides_along_unless_that_is_of_another_kind_or_beyond_its_share() -> None:
    first, second = waiting(Standing.WITHIN, due_since=1.0), waiting(Standing.WITHIN, due_since=2.0)
    sessions = [
        waiting(Standing.BEYOND),
        waiting(Standing.NEW),
        waiting(Standing.WITHIN, is_backlog=True),
        waiting(Standing.WITHIN, is_draft=True),
        second,
        first,
    ]
    queue = queue_of(*sessions)
    assert queue.next(sessions) is first
    assert queue.beside(first) == [second]


def test_nobody_rides_along_with_who_is_beyond_their_share() -> None:
    both = [waiting(Standing.BEYOND), waiting(Standing.BEYOND)]
    queue = queue_of(*both)
    first = queue.next(both)
    assert first is not None
    assert queue.beside(first) == []


def test_real_speech_of_several_is_what_each_says_alone(captions: Recording, kettle: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", decoder_backend="mlx", padding_len=1.0, segment_length=2.0)
    model = load_model(config)
    spoken = [
        captions.samples[: 4 * SAMPLE_RATE],
        kettle.samples[: 5 * SAMPLE_RATE],
        captions.samples[: 3 * SAMPLE_RATE],
    ]
    worker = Worker(lambda: model, config, clock=HandClock())
    handles = [said(worker.open(), samples) for samples in spoken]
    with running(worker):
        found = [text_of(collected(handle)) for handle in handles]
    for text, samples in zip(found, spoken, strict=True):
        session = Session(config, model)
        assert text == text_of(session.feed(samples) + session.end())
