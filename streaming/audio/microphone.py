"""Microphones: recording from one into an inbox. The callback copies and hands over; the rest is `capture.py`'s."""

from typing import Any

from simul_whisper import AudioFormatError
from streaming.audio import devices
from streaming.audio.capture import DeviceError, Inbox, OpenDevice
from streaming.audio.devices import Device, Direction, find_device, list_devices
from streaming.settings import MAX_CHANNELS, Encoding, PcmFormat


class Microphone:
    """Opens the device of that name or index, None for the default one, and the same again after it was lost.

    As `capture.Opener`; raises DeviceError.
    """

    def __init__(self, wanted: str | int | None = None) -> None:
        self._wanted = wanted
        self._was_open = False

    def __call__(self, inbox: Inbox) -> OpenDevice:
        def open_device() -> "_Recording":
            return _Recording(find_device(list_devices(), self._wanted), inbox)

        opened = devices.reopened(open_device) if self._was_open else open_device()
        # Numbers change when devices come and go; the default may be another one meanwhile, which is what was asked.
        if self._wanted is not None:
            self._wanted = opened.name
        self._was_open = True
        return opened


class _Recording:
    """A running stream of 16-bit samples at the device's own rate."""

    direction = Direction.INPUT

    def __init__(self, device: Device, inbox: Inbox) -> None:
        self.name, self._inbox = device.name, inbox
        self._start(device)
        devices.add_running(self)

    def close(self) -> None:
        devices.remove_running(self)
        self._stop()

    def pause(self) -> None:
        self._is_paused = True
        self._stop()

    def resume(self) -> None:
        before = self.pcm_format
        try:
            self._start(find_device(list_devices(), self.name))
        except DeviceError as error:
            self._inbox.close(str(error))
        else:
            if self.pcm_format != before:
                self._inbox.close("it records in another format")

    def _start(self, device: Device) -> None:
        self._is_paused = False
        self._stream: Any = None
        try:
            self.pcm_format = _format_of(device)
        except AudioFormatError as error:
            raise DeviceError(f"{device.name} cannot be opened: {error}") from error
        self._stream = devices.started(
            Direction.INPUT, device, self.pcm_format.channels, callback=self._take, finished_callback=self._stopped
        )

    def _take(self, data: Any, n_frames: int, time: Any, status: Any) -> None:  # noqa: ARG002
        self._inbox.put(bytes(data), has_lost=bool(status.input_overflow))

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        devices.close(stream)

    def _stopped(self) -> None:
        if not self._is_paused:
            self._inbox.close("it stopped")


def _format_of(device: Device) -> PcmFormat:
    """One channel, or all where the device does not give one."""
    channels = 1 if devices.does_open(Direction.INPUT, device, 1) else min(device.channels, MAX_CHANNELS)
    return PcmFormat(Encoding.S16LE.value, device.rate, channels)
