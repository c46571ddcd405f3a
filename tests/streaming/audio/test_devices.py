"""Which microphone or loudspeaker is meant."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from simul_whisper import BackendError
from streaming.audio.capture import DeviceError

if TYPE_CHECKING:
    from streaming.audio import devices, loudspeaker
else:
    try:
        from streaming.audio import devices, loudspeaker
    except BackendError as error:
        pytest.skip(str(error), allow_module_level=True)


def device(index: int, name: str, *, is_default: bool = False) -> devices.Device:
    return devices.Device(index, name, host="ALSA", channels=2, rate=48_000, is_default=is_default)


DEVICES = [device(1, "Built-in Microphone"), device(4, "USB Microphone", is_default=True), device(7, "USB")]


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 4), (7, 7), ("7", 7), ("built", 1), ("usb microphone", 4), ("usb", 7)]
)
def test_a_device_is_found_by_number_name_or_part_of_it(wanted: str | int | None, index: int) -> None:
    assert devices.find_device(DEVICES, wanted).index == index


@pytest.mark.parametrize(
    ("wanted", "said"), [("speaker", "no microphone 'speaker'.*Built-in"), (3, "3"), ("micro", "several.*1.*4")]
)
def test_what_is_not_one_device_is_refused_with_the_names(wanted: str | int, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        devices.find_device(DEVICES, wanted)


def test_no_device_at_all_is_said_as_such() -> None:
    with pytest.raises(DeviceError, match="no input device; connect"):
        devices.find_device([], None)


def test_a_loudspeaker_is_called_one() -> None:
    with pytest.raises(DeviceError, match="no output device; connect a loudspeaker"):
        devices.find_device([], None, devices.Direction.OUTPUT)


@pytest.mark.parametrize(("channels", "frame"), [(1, [7]), (2, [7, 7]), (4, [7, 7, 0, 0])])
def test_a_voice_comes_from_left_and_right(channels: int, frame: list[int]) -> None:
    frames = np.frombuffer(loudspeaker.spread(np.array([7, 7], np.int16), channels), "<i2")
    assert frames.tolist() == 2 * frame


class Stream:
    """A stream that runs."""

    direction = devices.Direction.INPUT

    def __init__(self) -> None:
        self.did = list[str]()

    def pause(self) -> None:
        self.did.append("pause")

    def resume(self) -> None:
        self.did.append("resume")


def test_a_running_stream_is_interrupted_for_another_device_only_where_it_must_and_not_too_often() -> None:
    running, tries = Stream(), list[str]()

    def open_device() -> str:
        tries.append("open")
        if len(tries) < 3:
            raise DeviceError("it is not there")
        return "opened"

    devices.add_running(running)
    try:
        with pytest.raises(DeviceError):
            devices.reopened(open_device)
        assert running.did == ["pause", "resume"]
        assert devices.reopened(open_device) == "opened"
        assert running.did == ["pause", "resume"]
    finally:
        devices.remove_running(running)
