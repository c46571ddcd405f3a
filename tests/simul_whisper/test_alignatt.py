"""Attended frames against a literal recomputation, and when the policy stops."""

from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper.alignatt import AlignAttPolicy, AlignedToken, AttendedFrames, StopReason
from tests.properties import examples

Rows = NDArray[np.float32]


def mirrored(n: int, i: int) -> int:
    """The index that i falls on when a row of n is reflected at its first and last cell."""
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


def scores_slow(history: Rows, content_frames: int) -> NDArray[Any]:
    """The paper, step by step, in float64. history: (n_heads, n, n_frames). Returns (content_frames,)."""
    n_heads, n_rows, n_frames = history.shape
    total = np.zeros(n_frames)
    for head in range(n_heads):
        row = history[head, -1].astype(np.float64)
        if n_rows >= 3:
            rows = history[head].astype(np.float64)
            deviation = np.array([np.std(column) if np.ptp(column) else 0.0 for column in rows.T])
            distance = row - rows.mean(axis=0)
            row = np.array([d / s if s > 0 else 0.0 for d, s in zip(distance, deviation, strict=True)])
        total += [median(row[mirrored(n_frames, i + k)] for k in range(-3, 4)) for i in range(n_frames)]
    scores: NDArray[Any] = total[:content_frames] / n_heads
    return scores


def attention(seed: int, shape: tuple[int, ...], scale: float) -> Rows:
    """Softmaxed rows, as peaked as those of a model; then scaled to be tiny."""
    logits = np.random.default_rng(seed).normal(size=shape) * 2
    rows = np.exp(logits)
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True) * scale, np.float32)


@examples(60)
@given(
    seed=st.integers(0, 10**6),
    n_heads=st.integers(1, 5),
    n_frames=st.integers(7, 40),
    pieces=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    scale=st.sampled_from([1.0, 1e-3, 1e-7]),
    data=st.data(),
)
def test_running_statistics_equal_the_whole_history(
    seed: int, n_heads: int, n_frames: int, pieces: list[int], scale: float, data: st.DataObject
) -> None:
    content_frames = data.draw(st.integers(1, n_frames))
    rows = attention(seed, (2, n_heads, sum(pieces), n_frames), scale)
    attended = AttendedFrames(content_frames)
    ends = np.cumsum([0, *pieces])
    for start, end in pairwise(ends):
        frames = attended.feed(rows[:, :, start:end])
        for beam in range(2):
            expected = scores_slow(rows[beam, :, :end], content_frames)
            # Two frames may score the same, and then float32 decides.
            assert expected[frames[beam]] == pytest.approx(expected.max(), rel=1e-3, abs=1e-3)


def test_the_size_of_the_pieces_does_not_change_the_frame() -> None:
    rows = attention(1, (1, 6, 30, 200), 1.0)
    whole = AttendedFrames(180).feed(rows)
    one_by_one = AttendedFrames(180)
    for n in range(30):
        frame = one_by_one.feed(rows[:, :, n : n + 1])
    assert whole == frame == scores_slow(rows[0], 180).argmax()


def test_with_two_rows_the_row_itself_decides() -> None:
    rows = attention(2, (1, 3, 2, 50), 1.0)
    smooth = scores_slow(rows[0, :, 1:], 50)
    assert AttendedFrames(50).feed(rows) == smooth.argmax()


def test_a_sink_does_not_win_against_a_small_peak() -> None:
    rows = np.full((1, 2, 6, 100), 1e-6, np.float32)
    rows[:, :, :, 0:8] = 0.9
    for n in range(6):
        rows[:, :, n, 10 * n + 20 : 10 * n + 30] += 1e-4
    assert 70 <= AttendedFrames(100).feed(rows)[0] < 80


def test_a_history_that_never_changes_is_no_division_by_zero() -> None:
    rows = np.full((1, 2, 5, 20), 0.05, np.float32)
    with np.errstate(all="raise"):
        assert AttendedFrames(20).feed(rows).tolist() == [0]


def test_frames_of_the_padding_are_never_attended() -> None:
    rows = np.full((1, 1, 1, 50), 0.001, np.float32)
    rows[..., 40:] = 0.5
    assert AttendedFrames(30).feed(rows)[0] < 30


def test_statistics_follow_their_beams() -> None:
    rows, more = attention(3, (3, 4, 9, 60), 1.0), attention(4, (3, 4, 1, 60), 1.0)
    order = [2, 0, 0]
    attended, reordered = AttendedFrames(60), AttendedFrames(60)
    attended.feed(rows)
    attended.select(order)
    reordered.feed(rows[order])
    assert attended.feed(more).tolist() == reordered.feed(more).tolist()


def test_a_beam_may_become_several() -> None:
    attended = AttendedFrames(60)
    attended.feed(attention(5, (1, 4, 9, 60), 1.0))
    attended.select([0, 0, 0])
    more = np.repeat(attention(6, (1, 4, 1, 60), 1.0), 3, axis=0)
    assert len(set(attended.feed(more).tolist())) == 1


def policy(last_frame: int = 0, *, final: bool = False) -> AlignAttPolicy:
    return AlignAttPolicy(
        content_frames=500, frame_threshold=25, rewind_threshold=200, last_frame=last_frame, final=final
    )


def read_from(frame: int) -> list[AlignedToken]:
    return [AlignedToken(1, 499, -0.1), AlignedToken(2, frame, -0.1)]


def test_the_edge_stops() -> None:
    assert policy().stop([], 474) is None
    assert policy().stop([], 475) is StopReason.EDGE
    assert policy().stop([], 499) is StopReason.EDGE


def test_the_edge_does_not_stop_at_the_end_of_the_stream() -> None:
    assert policy(final=True).stop(read_from(490), 499) is None


def test_a_jump_back_stops() -> None:
    assert policy().stop(read_from(300), 100) is None
    assert policy().stop(read_from(300), 99) is StopReason.REWIND
    assert policy(last_frame=300).stop([], 100) is None
    assert policy(last_frame=300).stop([], 99) is StopReason.REWIND


def test_the_newest_token_counts_rather_than_the_committed_one() -> None:
    assert policy(last_frame=400).stop(read_from(150), 100) is None


def test_one_token_read_from_far_ahead_is_no_jump() -> None:
    ahead = AlignedToken(2, 400, -0.1)
    assert policy().stop([AlignedToken(1, 90, -0.1), ahead], 110) is None
    assert policy(last_frame=90).stop([ahead], 110) is None
    assert policy().stop([AlignedToken(1, 380, -0.1), ahead], 110) is StopReason.REWIND


def test_beginning_again_at_the_end_of_the_stream_stops() -> None:
    final = policy(final=True)
    assert final.stop(read_from(480), 430) is None
    assert final.stop(read_from(480), 429) is StopReason.REWIND
    assert final.stop(read_from(474), 424) is None
    assert final.stop(read_from(474), 300) is None
    assert final.stop(read_from(474), 273) is StopReason.REWIND
    assert policy().stop(read_from(480), 429) is None
