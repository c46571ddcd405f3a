"""What several listeners ask for, answered together: each has its own answer, or its own error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from simul_whisper.answering import answer_all
from simul_whisper.decoders import Limits, Step
from simul_whisper.decoders.fallback import FallbackDecoder
from simul_whisper.encoders import Features
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel, log_mel
from simul_whisper.pieces import Answer, Ask, Begin, Encode, Read, Selection
from tests.fakes import DeafEncoder, answering, tokenizer_of
from tests.simul_whisper.test_fallback_decoder import (
    FEATURES,
    MLX,
    Breaking,
    Prepared,
    assert_same,
    fallback,
    in_coreml,
)
from tests.tones import N_MELS, ToneBatches, ToneEncoder, speech_of

TOKENIZER = tokenizer_of("base")
START = TOKENIZER.sot_sequence("en", "transcribe")


class Trapped(ToneBatches):
    """Does not read the trap: neither alone, nor in a batch, of which it then reads nothing."""

    TRAP = 7

    def step(self, state: Any, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        self._check([tokens])
        return super().step(state, tokens, logits_at)

    def step_together(self, states: Any, tokens: Any, logits_at: Any) -> list[Step] | None:
        self._check(tokens)
        return super().step_together(states, tokens, logits_at)

    def _check(self, texts: Sequence[Sequence[Sequence[int]]]) -> None:
        if any(self.TRAP in beam for text in texts for beam in text):
            raise RuntimeError("trapped")


class Pairs(ToneEncoder):
    """Encodes two windows of a length together; notes their lengths, in frames."""

    most_together = 2

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def encode_together(self, mels: Sequence[Mel]) -> list[Features]:
        self.batches.append([mel.n_frames for mel in mels])
        return list(np.stack([self.encode(mel) for mel in mels]))


def decoder_over(*inner: ToneBatches) -> FallbackDecoder:
    (only,) = inner
    decoder = FallbackDecoder(BackendStatus("tones"), lambda: only)
    decoder.load()
    return decoder


def texts(decoder: FallbackDecoder, n: int) -> list[Any]:
    features = ToneEncoder().encode(log_mel(speech_of([1, 2, 3]).samples, N_MELS, 0))
    return [decoder.begin(features) for _ in range(n)]


def steps_of(answers: Sequence[Answer | Exception]) -> list[Step]:
    assert all(isinstance(each, Answer) for each in answers)
    return [each.value for each in answers if isinstance(each, Answer)]


def test_what_is_read_together_is_what_each_reads_alone() -> None:
    decoder = decoder_over(inner := ToneBatches(TOKENIZER, "en"))
    asks: list[Ask] = [Read(state, [[*START, n]]) for n, state in enumerate(texts(decoder, 6))]
    alone = [answering(decoder)(Read(state, [[*START, n]])).value for n, state in enumerate(texts(decoder, 6))]
    assert_same(steps_of(answer_all(DeafEncoder(), decoder, asks)), alone)
    assert inner.sizes == [4, 2]


def test_the_time_of_a_batch_is_shared_by_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter([10.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times_s))
    decoder = decoder_over(ToneBatches(TOKENIZER, "en"))
    first, second = texts(decoder, 2)
    found = answer_all(DeafEncoder(), decoder, [Read(first, [START[:1]]), Read(second, [[*START, 5][:2]])])
    assert [each.spent_s for each in found if isinstance(each, Answer)] == [2.0, 4.0]


def test_an_error_is_the_answer_to_its_own_ask_and_the_others_are_read_once() -> None:
    decoder = decoder_over(Trapped(TOKENIZER, "en"))
    states = texts(decoder, 3)
    first, trapped, third = answer_all(
        DeafEncoder(),
        decoder,
        [Read(state, [[*START, n]]) for state, n in zip(states, (5, Trapped.TRAP, 6), strict=True)],
    )
    assert isinstance(trapped, RuntimeError)
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert [state.beams for state in states] == [[[*START, 5]], [], [[*START, 6]]]
    assert states[0].inner.beams == states[0].beams


def test_what_goes_on_is_selected_once_though_the_batch_fails() -> None:
    decoder = decoder_over(Trapped(TOKENIZER, "en"))
    chosen, trapped = texts(decoder, 2)
    decoder.step(chosen, [[*START, 1], [*START, 2], [*START, 3]])
    swap = Selection([2, 0, 1], len(START) + 1)
    answer_all(DeafEncoder(), decoder, [Read(chosen, [[4], [5], [6]], selection=swap), Read(trapped, [[Trapped.TRAP]])])
    assert [beam[-2:] for beam in chosen.inner.beams] == [[3, 4], [1, 5], [2, 6]]


def test_a_selection_that_cannot_be_made_is_the_error_of_its_own_ask() -> None:
    decoder = decoder_over(ToneBatches(TOKENIZER, "en"))
    first, second = texts(decoder, 2)
    wrong, right = answer_all(
        DeafEncoder(), decoder, [Read(first, [[1]], selection=Selection([9], 0)), Read(second, [START])]
    )
    assert isinstance(wrong, IndexError)
    assert isinstance(right, Answer)


def test_windows_of_one_length_are_encoded_together() -> None:
    encoder, decoder = Pairs(), decoder_over(ToneBatches(TOKENIZER, "en"))
    lengths = (1, 2, 1, 1, 2)
    mels = [log_mel(speech_of([n]).samples, N_MELS, 16_000 * length) for n, length in enumerate(lengths)]
    found = answer_all(encoder, decoder, [Encode(mel) for mel in mels])
    for answered, mel in zip(found, mels, strict=True):
        assert isinstance(answered, Answer)
        np.testing.assert_array_equal(answered.value, ToneEncoder().encode(mel))
        assert answered.value.base is None, "it keeps what others asked for"
    assert sorted(map(len, encoder.batches)) == [2, 2]


# The probe has taken three calls, and two windows are begun.
@pytest.mark.parametrize("n_calls", range(3 + 2, 3 + 2 + 5))
def test_core_ml_may_fail_on_any_call_of_a_batch(n_calls: int) -> None:
    decoder = in_coreml(Breaking(n_calls))
    states = [decoder.begin(FEATURES) for _ in range(2)]
    reads = [([[1, 2]], None), ([[3]], None), ([[4], [5]], Selection([0, 0], 2))]
    for tokens, selection in reads:
        found = answer_all(DeafEncoder(), decoder, [Read(state, tokens, selection=selection) for state in states])
        one, other = steps_of(found)
        assert_same([one], [other])
    state, answer = MLX.begin(FEATURES), answering(MLX)
    alone = [answer(Read(state, tokens, selection=selection)).value for tokens, selection in reads]
    assert_same([one], alone[-1:])


def test_texts_of_different_decoders_are_read_one_by_one() -> None:
    """Those that were begun before Core ML took over are read to their end by the other one."""
    prepared = Prepared(Breaking(1000))
    prepared.may_go_on.clear()
    decoder = fallback(prepared)
    decoder.get_ready(waits=False, in_background=True)
    before = decoder.begin(FEATURES)
    prepared.finish()
    states = [before, decoder.begin(FEATURES)]
    assert [state.in_coreml for state in states] == [False, True]
    found = answer_all(DeafEncoder(), decoder, [Read(state, [[1, 2, 3]]) for state in states])
    one, other = steps_of(found)
    assert_same([one], [other])


def test_a_window_for_another_decoder_is_not_begun() -> None:
    decoder = decoder_over(ToneBatches(TOKENIZER, "en"))
    found = answer_all(
        DeafEncoder(), decoder, [Begin(np.zeros((9, 1), np.float32), each) for each in (Limits(), Limits(9))]
    )
    assert [isinstance(each, Answer) and each.value is not None for each in found] == [True, False]
