"""Speech that is heard beside the captions: a session's sound on its way to a device, and what is to be said of it.

It knows events and a `Playback`, and nothing of voices, devices or sessions.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import VoiceError
from streaming.audio.capture import DeviceBack
from streaming.audio.half_duplex import HalfDuplex, PassedOver
from streaming.audio.playback import Playback
from streaming.events import Cleared, Event, Failed, Spoken
from streaming.output.notices import shown_time

# At the end, a sentence is heard to its end if it takes no longer; the device's own delay comes on top.
_LAST_SENTENCE_S = 0.6


class Speaker(Protocol):
    """What makes the sound."""

    def choose(self, targets: Sequence[str]) -> None:
        """Speak only these of the texts that follow."""
        ...


class Aloud:
    """speaker: what makes the sound, told when no more is wanted.

    half_duplex: whether the microphone is not listened to while the voice sounds. clock: the playback's.
    """

    def __init__(
        self,
        playback: Playback,
        speaker: Speaker,
        *,
        half_duplex: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._playback, self._speaker, self._clock = playback, speaker, clock
        self._half_duplex = HalfDuplex() if half_duplex else None
        self._is_hushed = self._is_overfull = False

    def hear(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
        """Return what may be listened to of float32 (n,) mono 16 kHz that was picked up until now, and notices."""
        if self._half_duplex is None:
            return samples, []
        heard, passed = self._half_duplex.feed(samples, self._clock(), self._playback.sounds_until_s)
        return heard, _told(passed)

    def hear_end(self) -> list[str]:
        """Nothing more is picked up. Returns notices."""
        return _told(self._half_duplex.end()) if self._half_duplex else []

    def feed(self, event: Event) -> list[str]:
        """Let it be heard, if it is sound. Returns notices."""
        if isinstance(event, Cleared | Failed):
            self._playback.cut()
        if not isinstance(event, Spoken) or self._is_hushed:
            return []
        try:
            left_out_s = self._playback.say(event.pcm, event.rate, begins=bool(event.text), is_last=event.is_last)
        except VoiceError as error:
            return [f"{shown_time(event.source_start_s)}: not spoken: {error}"]
        was_overfull, self._is_overfull = self._is_overfull, left_out_s > 0
        if was_overfull or not left_out_s:
            return []
        return [f"{shown_time(event.source_start_s)}: the end of a sentence is not heard: too much waits to be spoken"]

    def look(self) -> list[str]:
        """Return notices of what has happened to the device."""
        notices = []
        for event in self._playback.look():
            if isinstance(event, DeviceBack):
                notices.append(f"{event.name} is back; what is said from now on is heard")
            else:
                notices.append(f"{event.name} is lost: {event.reason}; the captions go on, and it is tried again")
        return notices

    def hush(self) -> None:
        """Say nothing more; what is being said ends with its sentence, or within a second."""
        if not self._is_hushed:
            self._is_hushed = True
            self._speaker.choose(())
            self._playback.cut(_LAST_SENTENCE_S)

    @property
    def is_heard(self) -> bool:
        """Whether nothing waits to be heard, nor sounds."""
        return self._playback.is_heard


def _told(passed: PassedOver | None) -> list[str]:
    if passed is None:
        return []
    from_s, to_s = passed.from_s, passed.to_s
    return [f"{to_s - from_s:.1f} s from {shown_time(from_s)} on were not listened to, while the voice sounded"]
