"""Channels mixed into one: nothing cancels, nothing is lost, and how they are cut does not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio.mixing import Mixer, labels_of

Samples = NDArray[np.float32]

STEREO = ("FL", "FR")
RNG = np.random.default_rng(7)
N = 32_000


def noise(level: float = 0.1, n: int = N) -> Samples:
    return (level * RNG.standard_normal(n)).astype(np.float32)


def mixed(*channels: Samples, names: tuple[str, ...] = STEREO, cuts: list[int] | None = None) -> Samples:
    mixer = Mixer(names)
    pieces = np.split(np.stack(channels), sorted(cuts or []), axis=1)
    whole: Samples = np.concatenate([*(mixer.feed(piece) for piece in pieces), mixer.end()], axis=1)
    mono: Samples = whole[0]
    return mono


def level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_equal_channels_are_the_channel() -> None:
    channel = noise()
    assert np.array_equal(mixed(channel, channel), channel)


def test_one_channel_passes_through() -> None:
    channel = noise()
    assert np.array_equal(mixed(channel, names=("FC",)), channel)


def test_different_channels_are_averaged() -> None:
    left, right = noise(), noise()
    np.testing.assert_allclose(mixed(left, right), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("other", [-1.0, -0.5, -0.3])
def test_opposite_channels_do_not_cancel(other: float) -> None:
    channel = noise()
    samples = mixed(channel, (other * channel).astype(np.float32))
    assert level(samples) >= level(channel) * (1 - other) / 2 * 0.999


def test_opposite_speech_in_noise_of_its_own_is_kept() -> None:
    speech = noise(0.1)
    samples = mixed(speech + noise(0.03), -speech + noise(0.03))
    assert abs(np.corrcoef(samples, speech)[0, 1]) > 0.97


def test_the_phase_may_change_on_the_way() -> None:
    channel = noise()
    other = np.concatenate([channel[: N // 2], -channel[N // 2 :]])
    samples = mixed(channel, other)
    assert min(level(part) for part in np.split(samples, 20)) > 0.9 * level(channel)


def test_how_long_they_were_opposite_is_counted() -> None:
    channel = noise()
    mixer = Mixer(STEREO)
    mixer.feed(np.stack([channel, np.concatenate([channel[: N // 2], -channel[N // 2 :]])]))
    assert mixer.opposite_s == pytest.approx(1.0)


@pytest.mark.parametrize("silent", [0.0, 1e-5, 5e-4])
@pytest.mark.parametrize("is_left", [True, False])
def test_one_side_keeps_its_level(silent: float, is_left: bool) -> None:
    channel, other = noise(), noise(silent) if silent else np.zeros(N, np.float32)
    samples = mixed(channel, other) if is_left else mixed(other, channel)
    np.testing.assert_allclose(samples, channel, atol=1e-6)


def test_who_speaks_later_is_heard() -> None:
    later = np.concatenate([np.zeros(N // 2, np.float32), noise(0.05, N // 2)])
    samples = mixed(np.concatenate([noise(0.1, N // 2), np.zeros(N // 2, np.float32)]), later)
    assert level(samples[N // 2 + 200 :]) == pytest.approx(0.025, rel=0.05)


@pytest.mark.parametrize(
    "names", [("FL", "FR", "FC", "LFE", "BL", "BR"), ("FL", "FR", "FC"), tuple("NONE" for _ in range(9)), ("LFE",) * 3]
)
def test_any_number_of_equal_channels_is_no_louder(names: tuple[str, ...]) -> None:
    channel = noise()
    np.testing.assert_allclose(mixed(*[channel] * len(names), names=names), channel, atol=1e-6)


@given(
    st.lists(st.integers(0, N), max_size=12),
    st.sampled_from([1.0, 0.0, -1.0]),
    st.sampled_from([1.0, 0.3, -1.0]),
    st.integers(0, N),
)
def test_cuts_never_matter(cuts: list[int], first: float, second: float, at: int) -> None:
    channel = np.asarray(np.random.default_rng(at).standard_normal(N) / 10, np.float32)
    other = np.concatenate([first * channel[:at], second * channel[at:]]).astype(np.float32)
    assert np.array_equal(mixed(channel, other, cuts=cuts), mixed(channel, other))


def test_labels() -> None:
    assert labels_of(1) == ("",)
    assert labels_of(2) == ("left", "right")
    assert labels_of(4) == ("channel-1", "channel-2", "channel-3", "channel-4")
