"""The ring buffer against a list that keeps everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.ring import RingBuffer


@given(
    capacity=st.integers(1, 50),
    origin=st.integers(0, 10**10),
    steps=st.lists(st.tuples(st.sampled_from(["write", "release", "read"]), st.integers(0, 120)), max_size=40),
)
def test_it_is_a_list_that_forgets_its_oldest(capacity: int, origin: int, steps: list[tuple[str, int]]) -> None:
    ring, everything, start, n_lost = RingBuffer(capacity, origin), list[float](), 0, 0
    for verb, number in steps:
        if verb == "write":
            new = np.arange(len(everything), len(everything) + number, dtype=np.float32)
            everything += new.tolist()
            n_new_lost = max(0, len(everything) - start - capacity)
            assert ring.write(new) == n_new_lost
            start, n_lost = start + n_new_lost, n_lost + n_new_lost
        elif verb == "release":
            until = min(number, len(everything))
            ring.release(origin + until)
            start = max(start, until)
        else:
            first = min(start + number % (capacity + 1), len(everything))
            assert ring.read(origin + first, origin + len(everything)).tolist() == everything[first:]
        assert (ring.start_sample, ring.end_sample) == (origin + start, origin + len(everything))
        assert ring.n_lost == n_lost
        assert len(ring) + ring.room == ring.capacity_samples == capacity
        assert ring.read(ring.start_sample, ring.end_sample).tolist() == everything[start:]


def test_what_is_read_is_a_copy() -> None:
    ring = RingBuffer(4)
    ring.write(np.ones(4, np.float32))
    read = ring.read(0, 4)
    ring.write(np.zeros(4, np.float32))
    assert read.tolist() == [1, 1, 1, 1]
