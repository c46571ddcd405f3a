"""A WAV file in place of a loudspeaker: what would be heard, when it would be heard."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streaming.audio.capture import DeviceError
from streaming.audio.playback import OpenOutput, Outbox
from streaming.audio.wave_file import WaveFile

# Of the voices there are, the highest.
FILE_RATE = 24_000
_TURN_S = 0.05


class SpeechFile:
    """Opens the file, once, as `playback.OutputOpener`; raises DeviceError. most_s: how much speech may wait."""

    def __init__(self, path: Path, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._most_s, self._clock = path, most_s, clock
        self._was_open = False

    def __call__(self) -> OpenOutput:
        if self._was_open:
            raise DeviceError(f"{self._path}: cannot be written any more")
        opened = _Writing(self._path, Outbox(FILE_RATE, self._most_s, self._clock), self._clock)
        self._was_open = True
        return opened


class _Writing:
    """A thread writes what is due; after each turn the file is whole."""

    def __init__(self, path: Path, outbox: Outbox, clock: Callable[[], float]) -> None:
        self.name, self.outbox = str(path), outbox
        try:
            self._file = WaveFile(path, FILE_RATE)
        except OSError as error:
            raise DeviceError(f"{path}: cannot be written: {error.strerror}") from error
        self._clock, self._started_s = clock, clock()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="speech file", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join()
        with suppress(OSError):
            self._file.close()

    def _run(self) -> None:
        try:
            while not self._is_closed.wait(_TURN_S):
                self._write_due()
        except OSError as error:
            self.outbox.close(f"it cannot be written: {error.strerror}")

    def _write_due(self) -> None:
        n_due = round((self._clock() - self._started_s) * FILE_RATE) - self._file.n_samples
        self._file.write(self.outbox.take(max(0, n_due)).astype("<i2").tobytes())
