"""Histograms against NumPy's, and sums."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streaming.sessions.metrics import Histogram, Meter


@given(values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 99.0]), max_size=30), n_first=st.integers(0, 30))
def test_values_are_counted_up_to_and_including_each_bound(values: list[float], n_first: int) -> None:
    histogram = Histogram.empty((0.5, 1.0, 2.0)).with_values(values[:n_first]).with_values(values[n_first:])
    assert list(np.cumsum(histogram.counts)) == [sum(v <= bound for v in values) for bound in (0.5, 1.0, 2.0, np.inf)]
    assert histogram.n == len(values)
    assert histogram.sum_s == sum(values)


def test_sums_grow_and_what_was_read_does_not_change() -> None:
    meter = Meter()
    before = meter.read(sessions_open=0, waiting_audio_s=0.0)
    meter.add(opened=2, failed=1, audio_s=3.0)
    meter.add_inference(queue_delay_s=0.1, inference_s=0.3, step_s=[0.01, 0.02], word_delays_s=[1.0])
    after = meter.read(sessions_open=1, waiting_audio_s=0.5)
    assert (before.sessions_opened, before.words, before.step.n) == (0, 0, 0)
    assert (after.sessions_opened, after.sessions_failed, after.audio_s, after.compute_s) == (2, 1, 3.0, 0.3)
    assert (after.words, after.step.n, after.queue_delay.n, after.word_delay.sum_s) == (1, 2, 1, 1.0)
    assert (after.sessions_open, after.waiting_audio_s) == (1, 0.5)
