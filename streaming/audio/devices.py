"""What microphones and loudspeakers have in common: which there are, by PortAudio, and which one is meant.

The only module that knows sounddevice. PortAudio lists the devices when it is
started; to see one that has come since, it is started again, for which streams that run are interrupted for a moment.
Devices are opened, closed and looked for by one thread.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from simul_whisper import BackendError
from streaming.audio.capture import DeviceError

try:
    import sounddevice
except ImportError as error:
    raise BackendError(
        "microphones and loudspeakers need sounddevice; install it with: pip install 'simul-whisper[live]'"
    ) from error
except OSError as error:
    raise BackendError(
        f"microphones and loudspeakers need PortAudio ({error}); on Debian: apt install libportaudio2"
    ) from error

# Inference keeps Python from the callback now and then; a loudspeaker must not run dry meanwhile.
_OUTPUT_DELAY_S = 0.2

_Opened = TypeVar("_Opened")


class Direction(Enum):
    """Of the sound: the words are for messages."""

    INPUT = "microphone"
    OUTPUT = "loudspeaker"


# A stream that runs is not interrupted more often than this to look for another device.
_RELIST_S = {Direction.INPUT: 60.0, Direction.OUTPUT: 5.0}


@dataclass(frozen=True)
class Device:
    """host: the sound system it belongs to. channels, rate: of its direction; frames per second that it prefers."""

    index: int
    name: str
    host: str
    channels: int
    rate: int
    is_default: bool


def list_devices(direction: Direction = Direction.INPUT) -> list[Device]:
    """Return the devices, as PortAudio saw them when it was started. Raises DeviceError."""
    is_input = direction is Direction.INPUT
    channels = "max_input_channels" if is_input else "max_output_channels"
    try:
        hosts, default = sounddevice.query_hostapis(), sounddevice.default.device[0 if is_input else 1]
        rows = [row for row in sounddevice.query_devices() if row[channels] > 0]
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"no devices can be listed: {_line(error)}") from error
    return [
        Device(
            index=row["index"],
            name=row["name"],
            host=hosts[row["hostapi"]]["name"],
            channels=row[channels],
            rate=round(row["default_samplerate"]),
            is_default=row["index"] == default,
        )
        for row in rows
    ]


def find_device(devices: list[Device], wanted: str | int | None, direction: Direction = Direction.INPUT) -> Device:
    """Return the device of that index, else of that name, else with that in its name; None is the default one.

    Raises DeviceError, with the names there are.
    """
    way, what = direction.name.lower(), direction.value
    if not devices:
        raise DeviceError(f"no {way} device; connect a {what}, and allow this program to use it")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    found = [device for device in devices if str(device.index) == str(wanted)]
    if not found and isinstance(wanted, str):
        name = wanted.casefold()
        found = [device for device in devices if device.name.casefold() == name]
        found = found or [device for device in devices if name in device.name.casefold()]
    names = ", ".join(f"{device.index} {device.name!r}" for device in found or devices)
    if not found:
        raise DeviceError(f"there is no {what} {wanted!r}; there are: {names}")
    if len({device.name for device in found}) > 1:
        raise DeviceError(f"several {way} devices are {wanted!r}: {names}; give the number")
    return found[0]


class Running(Protocol):
    """A stream that can be interrupted. Neither raises: what cannot go on says so where its audio goes."""

    @property
    def direction(self) -> Direction: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


_running = list[Running]()
_listed_at_s = float("-inf")


def add_running(stream: Running) -> None:
    """A stream was opened, and runs until `remove_running`."""
    _running.append(stream)


def remove_running(stream: Running) -> None:
    with contextlib.suppress(ValueError):
        _running.remove(stream)


def look_again() -> None:
    """List the devices that there are now; not when streams run that were interrupted for it shortly before.

    Raises DeviceError.
    """
    global _listed_at_s
    wait_s = max((_RELIST_S[stream.direction] for stream in _running), default=0.0)
    if time.monotonic() - _listed_at_s < wait_s:
        return
    interrupted, _listed_at_s = list(_running), time.monotonic()
    for stream in interrupted:
        stream.pause()
    try:
        sounddevice._terminate()
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"PortAudio does not start again: {_line(error)}") from error
    finally:
        for stream in interrupted:
            stream.resume()


def reopened(open_device: Callable[[], _Opened]) -> _Opened:
    """Return a device that was lost, open again. Raises DeviceError.

    Where other streams run, it is first tried without interrupting them.
    """
    if _running:
        with contextlib.suppress(DeviceError):
            return open_device()
    look_again()
    return open_device()


def does_open(direction: Direction, device: Device, channels: int) -> bool:
    """Return whether a device takes 16-bit samples of so many channels at its own rate."""
    is_input = direction is Direction.INPUT
    check = sounddevice.check_input_settings if is_input else sounddevice.check_output_settings
    try:
        check(device.index, channels, "int16", samplerate=device.rate)
    except sounddevice.PortAudioError:
        return False
    return True


def started(direction: Direction, device: Device, channels: int, **callbacks: Callable[..., None]) -> Any:
    """Return a stream of sounddevice, of 16-bit samples at the device's own rate, running. Raises DeviceError."""
    is_input = direction is Direction.INPUT
    make = sounddevice.RawInputStream if is_input else sounddevice.RawOutputStream
    settings: dict[str, Any] = {} if is_input else {"latency": _OUTPUT_DELAY_S}
    settings |= {"device": device.index, "samplerate": device.rate, "channels": channels, "dtype": "int16"}
    try:
        stream = make(**settings, **callbacks)
        stream.start()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"{device.name} cannot be opened: {_line(error)}") from error
    return stream


def drain(stream: Any) -> None:
    """Let what a loudspeaker has taken be heard: systems keep more of it than they say. Never raises."""
    with contextlib.suppress(sounddevice.PortAudioError):
        stream.stop()


def close(stream: Any | None) -> None:
    """Stop a stream at once, if there is one; not twice, since PortAudio has forgotten it then. Never raises."""
    if stream is None:
        return
    with contextlib.suppress(sounddevice.PortAudioError):
        stream.abort()
    stream.close(ignore_errors=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
