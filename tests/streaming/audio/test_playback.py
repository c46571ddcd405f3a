"""Speech on its way to a device that comes and goes, with the device and the clock in the test's hands."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import VoiceError
from streaming.audio.capture import STALLED_S, DeviceBack, DeviceError, DeviceLost
from streaming.audio.playback import Outbox, Playback

RATE = 8_000


class Loudspeaker:
    """Opens as a device that the test asks for sound. is_there: whether it can be opened."""

    name = "fake"

    def __init__(self, most_s: float = 10.0) -> None:
        self.is_there, self.now_s, self._most_s = True, 0.0, most_s

    def __call__(self) -> "Loudspeaker":
        if not self.is_there:
            raise DeviceError("it is not there")
        self.outbox = Outbox(RATE, self._most_s, self.clock)
        return self

    def close(self) -> None: ...

    def clock(self) -> float:
        return self.now_s

    def heard(self, n_samples: int) -> list[int]:
        """What it plays next."""
        self.now_s += n_samples / RATE
        return [int(sample) for sample in self.outbox.take(n_samples)]


def opened(device: Loudspeaker) -> Playback:
    playback = Playback(device, device.clock)
    playback.open()
    return playback


def pcm_of(*samples: int) -> bytes:
    return np.array(samples, "<i2").tobytes()


def say(playback: Playback, *samples: int, begins: bool = True, is_last: bool = False) -> float:
    return playback.say(pcm_of(*samples), RATE, begins=begins, is_last=is_last)


def near(samples: list[int], expected: list[int]) -> bool:
    return len(samples) == len(expected) and bool(np.allclose(samples, expected, atol=1))


def test_phrases_follow_each_other_without_a_gap_and_silence_follows_them() -> None:
    device = Loudspeaker()
    playback = opened(device)
    say(playback, 100, 200)
    say(playback, 300, begins=False, is_last=True)
    assert near(device.heard(5), [100, 200, 300, 0, 0])


@given(cuts=st.lists(st.integers(0, 2_000), max_size=8))
def test_how_speech_is_cut_never_changes_what_is_heard(cuts: list[int]) -> None:
    tone = np.rint(8_000 * np.sin(np.arange(2_000) / 5)).astype("<i2")
    at = [0, *sorted(cuts), len(tone)]
    heard = []
    for bounds in ((0, len(tone)), at):
        device = Loudspeaker()
        playback = opened(device)
        pieces = [tone[start:end] for start, end in pairwise(bounds)]
        for n, piece in enumerate(pieces):
            playback.say(piece.tobytes(), 22_050, begins=n == 0, is_last=n == len(pieces) - 1)
        heard.append(device.heard(1_000))
    assert near(heard[0], heard[1])
    assert max(heard[0]) > 6_000


def test_no_more_waits_than_may_and_what_is_left_out_is_told() -> None:
    device = Loudspeaker(most_s=4 / RATE)
    playback = opened(device)
    assert say(playback, 1_000, 2_000, 3_000) == 0
    assert say(playback, 4_000, 5_000, 6_000) == 2 / RATE
    assert device.outbox.waiting_s == 4 / RATE
    assert near(device.heard(6), [1_000, 2_000, 3_000, 4_000, 0, 0])


def test_a_cut_lets_a_sentence_end_that_ends_soon() -> None:
    device = Loudspeaker()
    playback = opened(device)
    say(playback, *[1_000] * 400, is_last=True)
    say(playback, *[2_000] * 400, is_last=True)
    playback.cut(within_s=0.09)
    assert near(device.heard(800), [1_000] * 400 + [0] * 400)
    assert say(playback, 500, is_last=True) == 0
    assert near(device.heard(1), [500])


@pytest.mark.parametrize("within_s", [0.0, 0.05])
def test_a_cut_fades_out_what_would_take_longer(within_s: float) -> None:
    device = Loudspeaker()
    playback = opened(device)
    say(playback, *[10_000] * RATE, is_last=True)
    playback.cut(within_s)
    heard = device.heard(RATE)
    n_loud = sum(sample > 0 for sample in heard)
    assert n_loud <= max(within_s, 0.02) * RATE
    assert heard[n_loud:] == [0] * (RATE - n_loud)
    assert max(abs(after - before) for before, after in pairwise(heard)) < 100


def test_a_cut_of_nothing_is_nothing() -> None:
    playback = opened(Loudspeaker())
    playback.cut(1.0)
    assert playback.is_heard


def test_when_the_sound_is_over_is_known_with_the_delay_of_the_device() -> None:
    device = Loudspeaker()
    playback = opened(device)
    assert playback.sounds_until_s == -math.inf
    say(playback, *[100] * 800)
    assert not playback.is_heard
    device.outbox.take(800, delay_s=0.3)
    assert playback.sounds_until_s == pytest.approx(0.4)
    assert not playback.is_heard
    device.now_s = 0.5
    assert playback.is_heard
    device.outbox.take(800, delay_s=0.3)
    assert playback.sounds_until_s == pytest.approx(0.4)


def test_a_lost_device_is_tried_again_and_only_phrases_that_begin_after_it_are_heard() -> None:
    device = Loudspeaker()
    playback = opened(device)
    say(playback, 100)
    device.is_there = False
    device.outbox.close("it stopped")
    assert playback.look() == [DeviceLost("fake", "it stopped")]
    assert (playback.is_away, playback.is_heard) == (True, True)
    assert say(playback, 200, begins=False) == 0
    device.now_s = 0.6
    assert playback.look() == []
    device.is_there, device.now_s = True, 0.7
    assert playback.look() == []
    device.now_s = 2.0
    assert playback.look() == [DeviceBack("fake")]
    say(playback, 300, begins=False)
    say(playback, 400)
    assert near(device.heard(2), [400, 0])


def test_a_device_that_takes_nothing_is_lost() -> None:
    device = Loudspeaker()
    playback = opened(device)
    device.now_s = STALLED_S + 0.1
    (lost,) = playback.look()
    assert isinstance(lost, DeviceLost)


@pytest.mark.parametrize("rate", [0, -1, 10**9])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(VoiceError, match=f"speech of {rate} samples"):
        opened(Loudspeaker()).say(b"", rate, begins=True, is_last=True)
