"""Speech on its way to a device that may go away: a bounded queue, and the device that is fed from it.

While the device is away, what would have been heard is passed over; what is said once it is back is heard. It knows
neither PortAudio nor sessions; `loudspeaker.py` opens the devices, in tests a fake does.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import VoiceError, as_s16, from_s16
from streaming.audio.capture import FIRST_RETRY_S, LAST_RETRY_S, STALLED_S, DeviceBack, DeviceError, DeviceLost
from streaming.audio.pcm import Resampler
from streaming.audio.ring import RingBuffer

# Speech that is cut fades out over so long, so that it does not click.
_FADE_S = 0.02
# Of what a voice says.
_MOST_RATE = 384_000


class Outbox:
    """Where a device's own thread gets its samples; that only copies and never waits for anyone's work.

    rate: samples per second of the device. most_s: how much speech may wait.
    """

    def __init__(self, rate: int, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._lock = threading.Lock()
        self._ring = RingBuffer(round(most_s * rate))
        self._ends = deque[int]()
        self._gone: str | None = None
        self._asked_at_s = clock()
        self._sounds_until_s = float("-inf")

    def put(self, samples: NDArray[np.float32], *, is_last: bool = False) -> int:
        """Append float32 (n,) mono in [-1, 1] at `rate`; return how many do not fit and are left out, the newest.

        is_last: a sentence ends with them.
        """
        with self._lock:
            n_taken = min(len(samples), self._ring.room)
            self._ring.write(samples[:n_taken])
            if is_last:
                self._ends.append(self._ring.end_sample)
            return len(samples) - n_taken

    def take(self, n_samples: int, delay_s: float = 0.0) -> NDArray[np.int16]:
        """Return int16 (n_samples,): what is heard next, or silence. delay_s: how much later it leaves the device."""
        with self._lock:
            n = min(n_samples, len(self._ring))
            start = self._ring.start_sample
            heard = self._ring.read(start, start + n)
            self._ring.release(start + n)
            while self._ends and self._ends[0] <= start + n:
                self._ends.popleft()
            self._asked_at_s = self._clock()
            if n:
                self._sounds_until_s = self._asked_at_s + delay_s + n / self.rate
        sound = np.zeros(n_samples, np.int16)
        sound[:n] = as_s16(heard)
        return sound

    def cut(self, within_s: float = 0.0) -> None:
        """Let only the rest of the sentence be heard, if it ends so soon, or that long of it and the end of a fade."""
        with self._lock:
            start, most = self._ring.start_sample, min(len(self._ring), round(within_s * self.rate))
            n_fade = min(round(_FADE_S * self.rate), len(self._ring))
            end = next((each for each in self._ends if start < each <= start + most), None)
            kept = self._ring.read(start, end or start + max(most, n_fade))
            if end is None:
                kept[len(kept) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
            self._ring.release(self._ring.end_sample)
            self._ring.write(kept)
            self._ends.clear()

    def close(self, reason: str) -> None:
        """The device takes no more."""
        self._gone = reason

    @property
    def gone(self) -> str | None:
        """Why the device takes no more; None while it may."""
        return self._gone

    @property
    def waiting_s(self) -> float:
        """How much was put and not taken yet."""
        return len(self._ring) / self.rate

    @property
    def sounds_until_s(self) -> float:
        """When what was taken has been heard to its end, by the clock; -inf before there was any."""
        return self._sounds_until_s

    @property
    def asked_at_s(self) -> float:
        """When the device last asked for samples, by the clock."""
        return self._asked_at_s


class OpenOutput(Protocol):
    """A device that plays from the outbox that it has made."""

    @property
    def name(self) -> str: ...

    @property
    def outbox(self) -> Outbox: ...

    def close(self) -> None:
        """Stop playing; unless its outbox is closed, what was taken is heard first. Never raises."""


OutputOpener = Callable[[], OpenOutput]
"""Opens the device, and again after it was lost. Raises DeviceError when that cannot be done now."""


class Playback:
    """Speech, heard one after another. One thread uses it."""

    def __init__(self, open_device: OutputOpener, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_device, self._clock = open_device, clock
        self._device: OpenOutput | None = None
        self._resampler: Resampler | None = None
        self._name = "the loudspeaker"
        # Whether the beginning of a phrase was passed over, so that its rest is, too.
        self._is_skipping = False
        self._sounded_until_s = float("-inf")
        self._retry_s, self._retry_at = FIRST_RETRY_S, clock()

    def open(self) -> None:
        """Open the device. Raises DeviceError; `look` tries again later."""
        try:
            self._device = self._open_device()
        except DeviceError:
            self._retry_at = self._clock() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
            raise
        self._name, self._retry_s = self._device.name, FIRST_RETRY_S

    def look(self) -> list[DeviceLost | DeviceBack]:
        """Return what has happened to the device; one that is away is tried again now and then."""
        if self._device is None:
            return self._retried()
        outbox = self._device.outbox
        if outbox.gone is not None:
            return self._lost(outbox.gone)
        if self._clock() - outbox.asked_at_s > STALLED_S:
            return self._lost(f"it took no sound for {STALLED_S:g} s")
        return []

    def say(self, pcm: bytes, rate: int, *, begins: bool, is_last: bool) -> float:
        """Let s16le mono be heard after all that was said before; return how many seconds more than may wait it was.

        So much is left out. begins: a phrase begins with it; one that began while the device was away is not heard at
        all. is_last: a sentence ends with it. Raises VoiceError for a rate that nothing can play.
        """
        if not 0 < rate <= _MOST_RATE:
            raise VoiceError(f"got speech of {rate} samples per second, expected 1 to {_MOST_RATE}")
        self._is_skipping = self._device is None or (self._is_skipping and not begins)
        if self._device is None or self._is_skipping:
            return 0.0
        outbox = self._device.outbox
        if self._resampler is None or (self._resampler.rate, self._resampler.to_rate) != (rate, outbox.rate):
            self._resampler = Resampler(rate, outbox.rate)
        samples = from_s16(pcm)
        n_left_out = outbox.put(self._resampler.feed(samples, is_last=is_last), is_last=is_last)
        if is_last:
            self._resampler = None
        return n_left_out / outbox.rate

    def cut(self, within_s: float = 0.0) -> None:
        """Stop within so long, at the end of the sentence if it comes until then. What is said later is heard."""
        self._resampler = None
        if self._device is not None:
            self._device.outbox.cut(within_s)

    @property
    def is_away(self) -> bool:
        """Whether there is no device now."""
        return self._device is None

    @property
    def is_heard(self) -> bool:
        """Whether nothing waits to be heard, nor sounds."""
        is_waiting = self._device is not None and self._device.outbox.waiting_s > 0
        return not is_waiting and self._clock() >= self.sounds_until_s

    def close(self) -> None:
        if self._device is not None:
            self._sounded_until_s = self.sounds_until_s
            self._device.close()
            self._device = self._resampler = None
            self._is_skipping = True

    @property
    def name(self) -> str:
        """What the device is called."""
        return self._name

    @property
    def sounds_until_s(self) -> float:
        """When all that the device has taken was heard to its end, by the clock."""
        return self._sounded_until_s if self._device is None else self._device.outbox.sounds_until_s

    def _lost(self, reason: str) -> list[DeviceLost | DeviceBack]:
        if self._device is not None:
            # So that it does not wait for what will not be heard.
            self._device.outbox.close(reason)
        self.close()
        self._retry_at = self._clock() + self._retry_s
        return [DeviceLost(self._name, reason)]

    def _retried(self) -> list[DeviceLost | DeviceBack]:
        if self._clock() < self._retry_at:
            return []
        try:
            self.open()
        except DeviceError:
            return []
        return [DeviceBack(self._name)]
