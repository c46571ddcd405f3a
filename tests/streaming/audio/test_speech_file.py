"""Speech in a file, at the times at which it would be heard."""

import errno
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from streaming.audio.capture import DeviceBack, DeviceError, DeviceLost
from streaming.audio.playback import Playback
from streaming.audio.speech_file import FILE_RATE, SpeechFile
from tests.streaming.audio.virtual_microphone import wait_for


def samples_of(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_the_file_has_silence_until_something_is_said_and_is_whole_after_every_turn(tmp_path: Path) -> None:
    now_s, path = [0.0], tmp_path / "spoken.wav"
    playback = Playback(SpeechFile(path, 10.0, lambda: now_s[0]), lambda: now_s[0])
    playback.open()
    now_s[0] = 1.0
    wait_for(lambda: path.stat().st_size > 44 and len(samples_of(path)) == FILE_RATE, 10, "the silence")
    playback.say(np.full(FILE_RATE, 1_000, "<i2").tobytes(), FILE_RATE, begins=True, is_last=True)
    now_s[0] = 3.0
    wait_for(lambda: len(samples_of(path)) == 3 * FILE_RATE, 10, "the speech")
    playback.close()
    samples = samples_of(path)
    loud = np.flatnonzero(samples)
    assert (loud[0], len(loud)) == (FILE_RATE, FILE_RATE)


def test_a_file_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"spoken\.wav: cannot be written: No such file or directory"):
        Playback(SpeechFile(tmp_path / "no folder" / "spoken.wav", 10.0)).open()


def test_a_full_disk_is_a_device_that_is_lost_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playback = Playback(SpeechFile(tmp_path / "spoken.wav", 10.0))
    playback.open()

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    told = list[DeviceLost | DeviceBack]()

    def is_told() -> bool:
        told.extend(playback.look())
        return bool(told)

    wait_for(is_told, 10, "the full disk")
    (lost,) = told
    assert isinstance(lost, DeviceLost)
    assert lost.reason == "it cannot be written: No space left on device"
    assert playback.is_away
