"""A phrase that a voice speaks, on a thread that nobody has to wait for."""

import threading
import time
from collections import deque
from typing import Protocol

from simul_whisper import BackendStatus, Voice, VoiceError, as_s16

BYTES_PER_SAMPLE = 2
"""Of s16le, mono."""

_MOST_UNANSWERED = 16
# No phrase is that long: the voice has gone wrong.
_LONGEST_S = 120.0
# All calls of this process that run.
_running = set["VoiceCall"]()


class Voices(Protocol):
    """What has a voice for some languages."""

    def voice(self, language: str) -> Voice:
        """Return the one that speaks a language, which may take a while. Raises ConfigError where there is none."""
        ...

    def status(self, language: str) -> BackendStatus | None:
        """Return what runs the vocoder of that voice; None where there is none that may change."""
        ...


class VoiceCall:
    """Runs from when it is made. woken: set when there is sound, and when it is done.

    timeout_s: after so long without any sound it `is_late`.
    """

    def __init__(
        self, voices: Voices, text: str, language: str, speed: float, timeout_s: float, woken: threading.Event
    ) -> None:
        self._voices, self._text, self._language, self._speed = voices, text, language, speed
        self._timeout_s, self._woken = timeout_s, woken
        self._started_s = self._alive_s = time.monotonic()
        self._sounds: deque[bytes] = deque()
        self._is_given_up = False
        # Whether there is no voice for the language, or none that can be loaded; `error` says why.
        self.has_no_voice = False
        self.rate = 0
        self.error: Exception | None = None
        # How long all of it took, and the first sound; None while there is none.
        self.took_s = 0.0
        self.first_s: float | None = None
        # What ran the vocoder at first, and at last.
        self.status_before: BackendStatus | None = None
        self.status: BackendStatus | None = None
        self.is_done = False
        _running.add(self)
        try:
            threading.Thread(target=self._run, name="voice", daemon=True).start()
        except RuntimeError as error:
            # The system has no thread left.
            self._end(error)

    @property
    def remaining_s(self) -> float:
        """How long it may still be without a sound."""
        return max(0.0, self._alive_s + self._timeout_s - time.monotonic())

    @property
    def is_late(self) -> bool:
        return not self.is_done and self.remaining_s == 0.0

    def take(self) -> list[bytes]:
        """Return the sound since the last time: s16le at `rate`, each phrase of the voice by itself."""
        return [self._sounds.popleft() for _ in range(len(self._sounds))]

    def give_up(self) -> None:
        """Nobody wants the rest: the voice is asked for no more of it."""
        self._is_given_up = True

    def _run(self) -> None:
        try:
            self._speak()
        except Exception as error:
            self._end(error)
        else:
            self._end()

    def _speak(self) -> None:
        try:
            voice = self._voices.voice(self._language)
        except Exception:
            self.has_no_voice = True
            raise
        self.rate, n_samples = voice.rate, 0
        self.status_before = self._voices.status(self._language)
        for sound in voice.speak(self._text, self._language, self._speed):
            if self._is_given_up:
                return
            n_samples += len(sound)
            if n_samples > _LONGEST_S * self.rate:
                raise VoiceError(f"the voice does not come to an end: it has spoken for {_LONGEST_S:g} s")
            self._alive_s = time.monotonic()
            self.first_s = self._alive_s - self._started_s if self.first_s is None else self.first_s
            self._sounds.append(as_s16(sound).tobytes())
            self._woken.set()

    def _end(self, error: Exception | None = None) -> None:
        self.error, self.took_s = error, time.monotonic() - self._started_s
        if self.status_before:
            self.status = self._voices.status(self._language)
        self.is_done = True
        _running.discard(self)
        self._woken.set()


def too_many_unanswered() -> bool:
    """Whether so many calls of this process are late, each with its thread, that no more should be made."""
    return sum(call.is_late for call in list(_running)) >= _MOST_UNANSWERED
