"""Loudspeakers: a device that plays what waits in an outbox. The callback copies; the rest is `playback.py`'s."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.audio import devices
from streaming.audio.capture import DeviceError
from streaming.audio.devices import Device, Direction, find_device, list_devices
from streaming.audio.playback import OpenOutput, Outbox


class Loudspeaker:
    """Opens the device of that name or index, None for the default one, and the same again after it was lost.

    As `playback.OutputOpener`; raises DeviceError. most_s: how much speech may wait.
    """

    def __init__(self, wanted: str | int | None = None, most_s: float = 60.0) -> None:
        self._wanted, self._most_s = wanted, most_s
        self._was_tried = False

    def __call__(self) -> OpenOutput:
        def open_device() -> "_Playing":
            return _Playing(find_device(list_devices(Direction.OUTPUT), self._wanted, Direction.OUTPUT), self._most_s)

        was_tried, self._was_tried = self._was_tried, True
        opened = devices.reopened(open_device) if was_tried else open_device()
        # Numbers change when devices come and go; the default may be another one meanwhile, which is what was asked.
        if self._wanted is not None:
            self._wanted = opened.name
        return opened


class _Playing:
    """A running stream of 16-bit samples at the device's own rate, the same in the first two channels."""

    direction = Direction.OUTPUT

    def __init__(self, device: Device, most_s: float) -> None:
        self.name = device.name
        self.outbox = Outbox(device.rate, most_s)
        self._start(device)
        devices.add_running(self)

    def close(self) -> None:
        devices.remove_running(self)
        if self._stream is not None and self.outbox.gone is None:
            devices.drain(self._stream)
        self._stop()

    def pause(self) -> None:
        self._is_paused = True
        self._stop()

    def resume(self) -> None:
        try:
            device = find_device(list_devices(Direction.OUTPUT), self.name, Direction.OUTPUT)
            if device.rate != self.outbox.rate:
                raise DeviceError("it plays at another rate")
            self._start(device)
        except DeviceError as error:
            self.outbox.close(str(error))

    def _start(self, device: Device) -> None:
        self._is_paused = False
        self._stream: Any = None
        channels = 1 if devices.does_open(Direction.OUTPUT, device, 1) else device.channels
        play: Callable[..., None] = self._player(channels)
        self._stream = devices.started(
            Direction.OUTPUT, device, channels, callback=play, finished_callback=self._stopped
        )

    def _player(self, channels: int) -> Callable[..., None]:
        def play(data: Any, n_frames: int, time: Any, status: Any) -> None:  # noqa: ARG001
            sound = self.outbox.take(n_frames, max(0.0, time.outputBufferDacTime - time.currentTime))
            data[:] = spread(sound, channels)

        return play

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        devices.close(stream)

    def _stopped(self) -> None:
        if not self._is_paused:
            self.outbox.close("it stopped")


def spread(sound: NDArray[np.int16], channels: int) -> bytes:
    """Return int16 (n,) as frames of so many channels: the same left and right, and silence in all others."""
    frames = np.zeros((len(sound), channels), "<i2")
    frames[:, :2] = sound[:, None]
    return frames.tobytes()
