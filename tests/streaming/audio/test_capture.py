"""A device that goes and comes back, by a clock and a device that the test holds in its hands."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from streaming.audio.capture import (
    FIRST_RETRY_S,
    MOST_WAITING_BYTES,
    STALLED_S,
    BlocksLost,
    Capture,
    CaptureEvent,
    DeviceBack,
    DeviceError,
    DeviceLost,
    Heard,
    Inbox,
    samples_and_notices,
)
from streaming.settings import PcmFormat


@dataclass
class FakeDevices:
    """An `Opener`, the device it opens, and the clock."""

    pcm_format: PcmFormat = field(default_factory=PcmFormat)
    name: str = "fake"
    is_there: bool = True
    now_s: float = 100.0
    n_opened: int = 0
    n_closed: int = 0

    def __call__(self, inbox: Inbox) -> "FakeDevices":
        if not self.is_there:
            raise DeviceError("it is not there")
        self.inbox, self.n_opened = inbox, self.n_opened + 1
        return self

    def close(self) -> None:
        self.n_closed += 1
        self.inbox.close("closed")

    def clock(self) -> float:
        return self.now_s

    def speak(self, n_samples: int, level: int = 1000) -> None:
        self.inbox.put(np.full(n_samples, level, "<i2").tobytes())
        self.now_s += n_samples / self.pcm_format.rate

    def pull_out(self) -> None:
        self.is_there = False
        self.inbox.close("it stopped")


def started(devices: FakeDevices) -> Capture:
    return Capture(devices, devices.clock)


def read_on(capture: Capture, devices: FakeDevices, for_s: float) -> list[CaptureEvent]:
    """What is read in so many seconds, ten times a second."""
    events: list[CaptureEvent] = []
    for _ in range(round(for_s * 10)):
        devices.now_s += 0.1
        events += capture.read(0)
    return events


def n_heard(events: list[CaptureEvent]) -> int:
    return sum(len(event.samples) for event in events if isinstance(event, Heard))


def told(events: list[CaptureEvent]) -> list[CaptureEvent]:
    return [event for event in events if not isinstance(event, Heard)]


def test_samples_pass_through() -> None:
    devices = FakeDevices()
    capture = started(devices)
    devices.speak(800)
    devices.speak(800)
    (event,) = capture.read(0)
    assert isinstance(event, Heard)
    np.testing.assert_allclose(event.samples, np.full(1600, 1000 / 32768, np.float32))


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (8_000, 1)])
def test_any_rate_becomes_16_khz(rate: int, channels: int) -> None:
    devices = FakeDevices(PcmFormat("s16le", rate, channels))
    capture = started(devices)
    for _ in range(10):
        devices.inbox.put(bytes(2 * channels * rate // 10))
    events = [*capture.read(0), *capture.end()]
    assert abs(n_heard(events) - 16_000) <= 1


def test_silence_stands_in_for_a_device_that_is_away() -> None:
    devices = FakeDevices()
    capture = started(devices)
    devices.speak(16_000)
    capture.read(0)
    devices.pull_out()
    away = read_on(capture, devices, 7)
    assert told(away) == [DeviceLost("fake", "it stopped")]
    assert abs(n_heard(away) - 7 * 16_000) <= 1
    devices.is_there = True
    back = read_on(capture, devices, 5)
    assert told(back) == [DeviceBack("fake")]
    devices.speak(1600)
    assert n_heard(capture.read(0)) == 1600
    assert devices.n_opened == 2


def test_it_tries_again_ever_more_rarely() -> None:
    devices = FakeDevices()
    capture = started(devices)
    attempts: list[float] = []

    def refuse(_: Inbox) -> FakeDevices:
        attempts.append(devices.now_s)
        raise DeviceError("not yet")

    devices.pull_out()
    capture._open_device = refuse
    lost_at = devices.now_s
    read_on(capture, devices, 25)
    pauses = np.diff([lost_at, *attempts])
    assert pauses[0] == pytest.approx(FIRST_RETRY_S, abs=0.21)
    np.testing.assert_allclose(pauses[:6], [0.5, 1, 2, 4, 5, 5], atol=0.21)


def test_a_device_that_says_nothing_any_more_is_lost() -> None:
    devices = FakeDevices()
    capture = started(devices)
    assert not read_on(capture, devices, STALLED_S - 0.2)
    devices.is_there = False
    events = read_on(capture, devices, 1)
    assert [type(event) for event in told(events)] == [DeviceLost]
    assert abs(n_heard(events) - (STALLED_S + 0.8) * 16_000) <= 1
    assert devices.n_closed == 1


def test_hours_of_sleep_are_not_made_up_for() -> None:
    devices = FakeDevices()
    capture = started(devices)
    devices.pull_out()
    capture.read(0)
    devices.now_s += 3600
    assert n_heard(capture.read(0)) <= 2 * STALLED_S * 16_000
    assert abs(n_heard(read_on(capture, devices, 1)) - 16_000) <= 1


def test_what_was_lost_on_the_way_is_told() -> None:
    devices = FakeDevices()
    capture = started(devices)
    devices.inbox.put(bytes(320), has_lost=True)
    devices.inbox.put(bytes(MOST_WAITING_BYTES))
    assert told(capture.read(0)) == [BlocksLost(2)]


def test_the_end_gives_what_is_left_and_closes() -> None:
    devices = FakeDevices()
    capture = started(devices)
    devices.speak(160)
    assert n_heard(capture.end()) == 160
    assert capture.end() == []
    assert devices.n_closed == 1


def test_a_device_that_is_not_there_at_first_is_refused() -> None:
    devices = FakeDevices(is_there=False)
    with pytest.raises(DeviceError, match="not there"):
        started(devices)


def test_events_as_samples_and_words() -> None:
    one, two = np.ones(3, np.float32), np.zeros(2, np.float32)
    samples, notices = samples_and_notices(
        [Heard(one), DeviceLost("USB", "it stopped"), Heard(two), DeviceBack("USB"), BlocksLost(3)]
    )
    assert samples.tolist() == [1, 1, 1, 0, 0]
    assert notices == [
        "USB is lost: it stopped; trying to open it again",
        "USB is back",
        "the device dropped audio 3 times: this machine is too slow",
    ]
    nothing, silence = samples_and_notices([])
    assert nothing.dtype == np.float32
    assert (len(nothing), len(silence)) == (0, 0)
