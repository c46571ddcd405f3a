"""What is counted, as Prometheus reads it."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.sessions.metrics import SessionMetrics
from tests.streaming.serving import counted


@given(values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 99.0]), max_size=30))
def test_values_are_counted_up_to_and_including_each_bound(values: list[float]) -> None:
    metrics = SessionMetrics()
    for value in values:
        metrics.queue_delay_s.observe(value)
    family = next(each for each in metrics.read() if each.name == "simul_whisper_queue_delay_seconds")
    buckets = {float(each.labels["le"]): each.value for each in family.samples if "le" in each.labels}
    assert buckets == {bound: sum(value <= bound for value in values) for bound in buckets}
    assert (counted([family])["queue_delay_seconds_count"], buckets[float("inf")]) == (len(values), len(values))


def test_sums_grow_and_what_was_read_does_not_change() -> None:
    metrics = SessionMetrics()
    before = metrics.read()
    metrics.sessions_opened.inc(2)
    metrics.words.inc(1)
    metrics.step_s.observe(0.01)
    after = counted(metrics.read())
    names = ("sessions_opened_total", "words_total", "decoder_step_seconds_count")
    assert [counted(before)[name] for name in names] == [0, 0, 0]
    assert [after[name] for name in names] == [2, 1, 1]
    assert not [name for name in after if name.endswith("_created")]


def test_pools_in_one_process_do_not_share_counts() -> None:
    one, other = SessionMetrics(), SessionMetrics()
    one.words.inc()
    assert counted(other.read())["words_total"] == 0
