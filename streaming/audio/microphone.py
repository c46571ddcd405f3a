"""Microphones, through PortAudio: which there are, and recording from one into an inbox.

The only module that knows sounddevice. The callback copies and hands over; what becomes of it is `capture.py`'s.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from simul_whisper import AudioFormatError, BackendError
from streaming.audio.capture import DeviceError, Inbox, OpenDevice
from streaming.settings import MAX_CHANNELS, Encoding, PcmFormat

try:
    import sounddevice
except ImportError as error:
    raise BackendError("a microphone needs sounddevice; install it with: pip install 'simul-whisper[live]'") from error
except OSError as error:
    raise BackendError(f"a microphone needs PortAudio ({error}); on Debian: apt install libportaudio2") from error


@dataclass(frozen=True)
class Device:
    """An input. host: the sound system it belongs to. rate: frames per second that it prefers."""

    index: int
    name: str
    host: str
    channels: int
    rate: int
    is_default: bool


def list_devices() -> list[Device]:
    """Return the inputs, as PortAudio saw them when it was started. Raises DeviceError."""
    try:
        hosts, default = sounddevice.query_hostapis(), sounddevice.default.device[0]
        rows = [row for row in sounddevice.query_devices() if row["max_input_channels"] > 0]
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"no devices can be listed: {_line(error)}") from error
    return [
        Device(
            index=row["index"],
            name=row["name"],
            host=hosts[row["hostapi"]]["name"],
            channels=row["max_input_channels"],
            rate=round(row["default_samplerate"]),
            is_default=row["index"] == default,
        )
        for row in rows
    ]


def find_device(devices: list[Device], wanted: str | int | None) -> Device:
    """Return the device of that index, else of that name, else with that in its name; None is the default one.

    Raises DeviceError, with the names there are.
    """
    if not devices:
        raise DeviceError("no input device; connect a microphone, and allow this program to use it")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    found = [device for device in devices if str(device.index) == str(wanted)]
    if not found and isinstance(wanted, str):
        name = wanted.casefold()
        found = [device for device in devices if device.name.casefold() == name]
        found = found or [device for device in devices if name in device.name.casefold()]
    names = ", ".join(f"{device.index} {device.name!r}" for device in found or devices)
    if not found:
        raise DeviceError(f"there is no microphone {wanted!r}; there are: {names}")
    if len({device.name for device in found}) > 1:
        raise DeviceError(f"several input devices are {wanted!r}: {names}; give the number")
    return found[0]


class Microphone:
    """Opens the device of that name or index, None for the default one, and the same again after it was lost.

    As `capture.Opener`; raises DeviceError.
    """

    def __init__(self, wanted: str | int | None = None) -> None:
        self._wanted = wanted
        self._was_open = False

    def __call__(self, inbox: Inbox) -> OpenDevice:
        if self._was_open:
            _look_again()
        device = find_device(list_devices(), self._wanted)
        opened = _Recording(device, inbox)
        # Numbers change when devices come and go; the default may be another one meanwhile, which is what was asked.
        if self._wanted is not None:
            self._wanted = device.name
        self._was_open = True
        return opened


class _Recording:
    """A running stream of 16-bit samples at the device's own rate."""

    def __init__(self, device: Device, inbox: Inbox) -> None:
        self.name = device.name

        def take(data: Any, n_frames: int, time: Any, status: Any) -> None:  # noqa: ARG001
            inbox.put(bytes(data), has_lost=bool(status.input_overflow))

        try:
            self.pcm_format = _format_of(device)
            self._stream = sounddevice.RawInputStream(
                device=device.index,
                samplerate=self.pcm_format.rate,
                channels=self.pcm_format.channels,
                dtype="int16",
                callback=take,
                finished_callback=lambda: inbox.close("it stopped"),
            )
            self._stream.start()
        except (sounddevice.PortAudioError, AudioFormatError) as error:
            raise DeviceError(f"{device.name} cannot be opened: {_line(error)}") from error

    def close(self) -> None:
        with contextlib.suppress(sounddevice.PortAudioError):
            self._stream.abort()
        self._stream.close(ignore_errors=True)


def _format_of(device: Device) -> PcmFormat:
    """One channel, or all where the device does not give one."""
    channels = 1
    try:
        sounddevice.check_input_settings(device.index, channels, "int16", samplerate=device.rate)
    except sounddevice.PortAudioError:
        channels = min(device.channels, MAX_CHANNELS)
    return PcmFormat(Encoding.S16LE.value, device.rate, channels)


def _look_again() -> None:
    """PortAudio lists the devices when it is started, and only then. No stream may be open."""
    try:
        sounddevice._terminate()
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"PortAudio does not start again: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
