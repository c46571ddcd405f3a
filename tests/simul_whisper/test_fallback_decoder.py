"""A decoder that is replaced while it reads: whatever the call on which Core ML fails, the answers are the same."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.coreml.preparation import Preparation, Ready
from simul_whisper.decoders import Limits, Step, TextDecoder
from simul_whisper.decoders.fallback import FallbackDecoder, Probe, agreement_db, first_answer
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.encoders import Features
from simul_whisper.errors import CoreMLInferenceError
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import Progress, Stage
from simul_whisper.weights import Dims, Weights
from tests.simul_whisper.weights import build

DIMS = Dims(80, 20, 32, 2, 1, 40, 64, 32, 2, 2)
WEIGHTS = Weights("small", DIMS, build.random_tensors(DIMS), ((0, 1), (1, 0)), Path("t"), (Path("w"),))
FEATURES = np.random.default_rng(0).standard_normal((20, 32)).astype(np.float32)
MLX = MlxDecoder(WEIGHTS, "cpu", "float32")
PROBE = Probe(FEATURES, [1, 2, 3])


@dataclass
class Breaking:
    """A decoder that fails after so many calls, for good."""

    n_left: int
    decoder: TextDecoder = MLX
    limits: Limits = Limits()  # noqa: RUF009
    description = "breaking"

    def _count(self) -> None:
        self.n_left -= 1
        if self.n_left < 0:
            raise CoreMLInferenceError("it broke")

    def begin(self, features: Features) -> Any:
        self._count()
        return self.decoder.begin(features)

    def step(self, state: Any, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        self._count()
        return self.decoder.step(state, tokens, logits_at)

    def select(self, state: Any, beams: Sequence[int], length: int | None = None) -> None:
        self._count()
        self.decoder.select(state, beams, length)


class Prepared:
    """In place of a preparation: the decoder is ready as soon as it may be."""

    compute_units, timeout_s = "CPU_AND_NE", 60.0
    kind = SimpleNamespace(trial=lambda: partial(first_answer, probe=PROBE))

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        # Those of other tests may hang for ever, as some devices do.
        self._others = set(threading.enumerate())
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def finish(self) -> None:
        """Let a preparation in the background come to its end."""
        self.may_go_on.set()
        for thread in set(threading.enumerate()) - self._others:
            if thread.name == "coreml-preparation":
                thread.join()

    def check_possible(self) -> None: ...

    def check_compiled(self) -> None: ...

    def run(self, first_answer: Callable[[TextDecoder], Step], *_: object) -> Ready[TextDecoder, Step]:
        self.may_go_on.wait()
        package = cast(Any, SimpleNamespace(digest="0"))
        return Ready(self._decoder, (package,), Path("model"), first_answer(self._decoder), is_known=True)


def fallback(prepared: Prepared, reports: list[Progress] | None = None) -> FallbackDecoder:
    preparation = cast(Preparation[TextDecoder, Step], prepared)
    handler = (reports if reports is not None else []).append
    return FallbackDecoder(BackendStatus("mlx", "coreml"), lambda: MLX, preparation, handler)


def in_coreml(decoder: TextDecoder, reports: list[Progress] | None = None) -> FallbackDecoder:
    """Return a decoder that Core ML runs."""
    found = fallback(Prepared(decoder), reports)
    found.get_ready(waits=True, in_background=False)
    assert found.status.backend == "coreml"
    return found


Call = tuple[str, Any]
CALLS: list[Call] = [
    ("step", [[5, 6, 7]]),
    ("select", ([0, 0, 0], None)),
    ("step", [[8], [9], [10]]),
    ("select", ([2, 0], 3)),
    ("step", [[11, 12], [13, 14]]),
    ("select", ([1], 0)),
    ("step", [[15, 16]]),
    ("step", [[17]]),
]


def answers(decoder: TextDecoder, calls: Sequence[Call]) -> list[Step]:
    """Begin a window, make these calls, and return what was answered."""
    state, steps = decoder.begin(FEATURES), []
    for name, argument in calls:
        if name == "step":
            steps.append(decoder.step(state, argument, range(len(argument[0]))))
        else:
            decoder.select(state, *argument)
    return steps


def assert_same(steps: Sequence[Step], expected: Sequence[Step]) -> None:
    for found, each in zip(steps, expected, strict=True):
        np.testing.assert_allclose(found.logits, each.logits, atol=1e-3)
        np.testing.assert_allclose(found.attention, each.attention, atol=1e-5)


# The probe has taken three.
@pytest.mark.parametrize("n_calls", range(3, 3 + len(CALLS) + 1))
def test_the_very_call_that_core_ml_fails_on_is_answered(n_calls: int, caplog: pytest.LogCaptureFixture) -> None:
    reports = list[Progress]()
    decoder = in_coreml(Breaking(n_calls), reports)
    assert_same(answers(decoder, CALLS), answers(MLX, CALLS))
    assert decoder.status == BackendStatus("mlx", "coreml", did_fallback=True, reason="it broke")
    assert reports == [Progress(Stage.COREML_UNAVAILABLE, "it broke", part="decoder")]
    assert caplog.messages == ["Core ML does not run the decoder, mlx does: it broke"]


@given(st.data())
def test_whatever_was_read_and_chosen_before_it_failed(data: st.DataObject) -> None:
    calls, n_beams, length = list[Call](), 1, 0
    for _ in range(data.draw(st.integers(1, 6))):
        n = data.draw(st.integers(1, 4))
        token = st.integers(0, DIMS.n_vocab - 1)
        beam = st.lists(token, min_size=n, max_size=n)
        calls.append(("step", data.draw(st.lists(beam, min_size=n_beams, max_size=n_beams))))
        length += n
        chosen = data.draw(st.lists(st.integers(0, n_beams - 1), min_size=1, max_size=3))
        length = data.draw(st.integers(0, length))
        calls.append(("select", (chosen, length)))
        n_beams = len(chosen)
    n_calls = data.draw(st.integers(3, 3 + len(calls)))
    assert_same(answers(in_coreml(Breaking(n_calls)), calls), answers(MLX, calls))


def test_windows_that_core_ml_had_begun_are_read_by_the_other_decoder() -> None:
    decoder, expected = in_coreml(Breaking(3 + 4)), answers(MLX, [("step", [[1, 2]]), ("step", [[3]])])
    states = [decoder.begin(FEATURES), decoder.begin(FEATURES)]
    first = [decoder.step(state, [[1, 2]], (0, 1)) for state in states]
    second = [decoder.step(state, [[3]]) for state in states]
    for steps in zip(first, second, strict=True):
        assert_same(steps, expected)


def test_core_ml_takes_over_when_a_window_begins_and_never_inside_one() -> None:
    prepared = Prepared(breaking := Breaking(1000))
    prepared.may_go_on.clear()
    decoder = fallback(prepared)
    decoder.get_ready(waits=False, in_background=True)
    state = decoder.begin(FEATURES)
    decoder.step(state, [[1]])
    prepared.finish()
    n_left = breaking.n_left
    decoder.step(state, [[2]])
    assert (decoder.status.backend, breaking.n_left) == ("mlx", n_left)
    decoder.step(decoder.begin(FEATURES), [[1]])
    assert (decoder.status.backend, breaking.n_left) == ("coreml", n_left - 2)
    decoder.step(state, [[3]])
    assert breaking.n_left == n_left - 2


def test_one_that_takes_other_windows_waits_for_the_next() -> None:
    limits = Limits(whole_windows=True)
    prepared = Prepared(breaking := Breaking(1000, limits=limits))
    prepared.may_go_on.clear()
    decoder = fallback(prepared)
    decoder.get_ready(waits=False, in_background=True)
    assert decoder.limits == Limits()
    prepared.finish()
    n_left = breaking.n_left
    state = decoder.begin(FEATURES)
    assert decoder.limits == limits
    decoder.step(state, [[1]])
    assert breaking.n_left == n_left
    decoder.begin(FEATURES)
    assert breaking.n_left == n_left - 1


def test_what_the_other_decoder_cannot_do_is_an_error() -> None:
    decoder = FallbackDecoder(BackendStatus("mlx"), lambda: Breaking(0))
    with pytest.raises(CoreMLInferenceError):
        decoder.begin(FEATURES)
    assert not decoder.status.did_fallback


def test_no_more_text_is_kept_than_a_decoder_has_room_for() -> None:
    decoder = in_coreml(Breaking(1000))
    state = decoder.begin(FEATURES)
    for _ in range(3):
        decoder.select(state, [0], 0)
        for token in range(DIMS.n_vocab):
            decoder.step(state, [[token]])
        assert state.beams == [list(range(DIMS.n_vocab))]


def test_weights_of_few_bits_agree_and_nonsense_does_not() -> None:
    reference = first_answer(MLX, PROBE)
    rounded = first_answer(MlxDecoder(replace(WEIGHTS, tensors=_rounded(WEIGHTS))), PROBE)
    assert agreement_db(reference, reference) == np.inf
    assert agreement_db(rounded, reference) > 8
    of_all = Step(reference.logits, reference.attention.mean(axis=1, keepdims=True))
    assert agreement_db(of_all, reference) == np.inf
    even = np.full_like(reference.attention, 1 / reference.attention.shape[-1])
    noise = np.random.default_rng(0).standard_normal(reference.logits.shape).astype(np.float32)
    for nonsense in (
        replace(reference, logits=noise),
        replace(reference, logits=reference.logits * np.nan),
        replace(reference, attention=reference.attention[:, ::-1]),
        replace(of_all, attention=even[:, :1] * 0),
    ):
        assert agreement_db(nonsense, reference) < 8


def _rounded(weights: Weights) -> dict[str, Any]:
    return {name: (tensor * 64).round() / 64 for name, tensor in weights.tensors.items()}
