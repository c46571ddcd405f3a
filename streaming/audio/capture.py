"""A device that may go away, as a steady stream of samples.

While it is away, silence stands in for it: the clock stays true, and the last words before are committed. It knows
neither PortAudio nor sessions; `microphone.py` opens the devices, in tests a fake does.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, SimulWhisperError
from streaming.audio.pcm import PcmDecoder
from streaming.settings import PcmFormat

# A device that gives nothing for so long is gone, whatever it says.
STALLED_S = 5.0
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 5.0
MOST_WAITING_BYTES = 8_000_000


class DeviceError(SimulWhisperError):
    """No such device, or it cannot be opened."""


@dataclass(frozen=True)
class Heard:
    """samples: float32 (n,) mono 16 kHz in [-1, 1], n > 0."""

    samples: NDArray[np.float32]


@dataclass(frozen=True)
class DeviceLost:
    name: str
    reason: str


@dataclass(frozen=True)
class DeviceBack:
    name: str


@dataclass(frozen=True)
class BlocksLost:
    """Audio was lost `times` times before it came here: this machine was too slow to take it."""

    times: int


CaptureEvent = Heard | DeviceLost | DeviceBack | BlocksLost


@dataclass(frozen=True)
class Received:
    """What a device has handed over since it was last asked. gone: why it gives no more; None while it may."""

    data: bytes
    times_lost: int
    gone: str | None


class Inbox:
    """Where a device's own thread puts its bytes; that only copies and never waits for anyone's work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._data = bytearray()
        self._times_lost = 0
        self._gone: str | None = None

    def put(self, data: bytes, *, has_lost: bool = False) -> None:
        """Hand over a block. has_lost: the device says that audio before it was lost."""
        with self._changed:
            if len(self._data) + len(data) <= MOST_WAITING_BYTES:
                self._data += data
            else:
                has_lost = True
            self._times_lost += has_lost
            self._changed.notify()

    def close(self, reason: str) -> None:
        """The device gives no more."""
        with self._changed:
            self._gone = reason
            self._changed.notify()

    def take(self, timeout_s: float = 0.0) -> Received:
        """Return what is new; wait so long for something."""
        with self._changed:
            self._changed.wait_for(lambda: self._data or self._gone is not None, timeout_s)
            received = Received(bytes(self._data), self._times_lost, self._gone)
            self._data.clear()
            self._times_lost = 0
            return received


class OpenDevice(Protocol):
    """A device that records into the inbox it was opened with."""

    @property
    def name(self) -> str: ...

    @property
    def pcm_format(self) -> PcmFormat: ...

    def close(self) -> None:
        """Stop recording. Never raises."""


Opener = Callable[[Inbox], OpenDevice]
"""Opens the device, and again after it was lost. Raises DeviceError when that cannot be done now."""


class Capture:
    """Reads a device, for one thread. Raises DeviceError when it cannot be opened the first time.

    A device that is lost may come back, so that it never `is_over`.
    """

    is_over = False

    def __init__(self, open_device: Opener, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_device, self._clock = open_device, clock
        self._device: OpenDevice | None = None
        self._open()

    def read(self, timeout_s: float) -> list[CaptureEvent]:
        """Return what is new; wait at most so long for something."""
        received = self._inbox.take(timeout_s)
        if self._device is None:
            return self._retry()
        events = self._received(received)
        if received.gone is not None:
            events += self._lose(received.gone)
        elif self._clock() - self._last_at > STALLED_S:
            events += self._lose(f"no audio for {STALLED_S:g} s")
        return events

    def end(self) -> list[CaptureEvent]:
        """Close the device and return what is left."""
        if self._device is None:
            return []
        self._device.close()
        self._device = None
        return [*self._received(self._inbox.take()), *_heard(self._decoder.end())]

    @property
    def name(self) -> str:
        """What the device is called."""
        return self._name

    def _open(self) -> None:
        self._inbox = Inbox()
        self._device = self._open_device(self._inbox)
        self._name, self._decoder = self._device.name, PcmDecoder(self._device.pcm_format)
        self._last_at = self._clock()

    def _received(self, received: Received) -> list[CaptureEvent]:
        if received.data:
            self._last_at = self._clock()
        events = _heard(self._decoder.feed(received.data))
        return [*events, BlocksLost(received.times_lost)] if received.times_lost else events

    def _lose(self, reason: str) -> list[CaptureEvent]:
        rest = self.end()
        self._inbox = Inbox()
        self._retry_s, self._retry_at = FIRST_RETRY_S, self._clock() + FIRST_RETRY_S
        return [*rest, DeviceLost(self._name, reason), *self._silence()]

    def _retry(self) -> list[CaptureEvent]:
        if self._clock() < self._retry_at:
            return self._silence()
        try:
            self._open_device_again()
        except DeviceError:
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
            self._retry_at = self._clock() + self._retry_s
            return self._silence()
        return [*self._silence(), DeviceBack(self._name)]

    def _open_device_again(self) -> None:
        silent_since = self._last_at
        self._open()
        self._last_at = silent_since

    def _silence(self) -> list[CaptureEvent]:
        """Return silence up to now; hours in which the machine slept are not made up for."""
        n = round((self._clock() - self._last_at) * SAMPLE_RATE)
        self._last_at += n / SAMPLE_RATE
        return _heard(np.zeros(min(n, round(2 * STALLED_S * SAMPLE_RATE)), np.float32))


def samples_and_notices(events: Iterable[CaptureEvent]) -> tuple[NDArray[np.float32], list[str]]:
    """Return what was heard, float32 (n,) as in `Heard` but n may be 0, and in words what happened to the device."""
    samples, notices = [np.zeros(0, np.float32)], []
    for event in events:
        match event:
            case Heard():
                samples.append(event.samples)
            case DeviceLost(name, reason):
                notices.append(f"{name} is lost: {reason}; trying to open it again")
            case DeviceBack(name):
                notices.append(f"{name} is back")
            case BlocksLost(times):
                notices.append(f"the device dropped audio {times} times: this machine is too slow")
    return np.concatenate(samples), notices


def _heard(samples: NDArray[np.float32]) -> list[CaptureEvent]:
    return [Heard(samples)] if len(samples) else []
