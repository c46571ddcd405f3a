"""Voices: text in, sound out. One file per family; `choice` picks one for a language."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Voice(Protocol):
    """Speaks one language, or several; shared by all sessions, and safe to call from any thread."""

    @property
    def description(self) -> str:
        """What it is, for people and logs."""
        ...

    @property
    def rate(self) -> int:
        """Samples per second of what it says."""
        ...

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        """Yield float32 (n,) mono in [-1, 1], phrase by phrase, so that the first can be heard early.

        language: a Whisper code, one that it speaks. speed: 1 is its own; 1.2 takes a sixth less time. Text without
        anything to be spoken yields nothing. Raises VoiceError.
        """
        ...


__all__ = ["Voice"]
