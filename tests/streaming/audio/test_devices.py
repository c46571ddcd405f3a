"""Which microphone or loudspeaker is meant."""

from typing import TYPE_CHECKING

import pytest

from simul_whisper import BackendError
from streaming.audio.capture import DeviceError

if TYPE_CHECKING:
    from streaming.audio import devices
else:
    try:
        from streaming.audio import devices
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
