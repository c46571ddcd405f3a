"""The gate that the settings ask for: one that listens for voices, or one that lets everything through.

It knows samples and their positions, and nothing of models, text or threads.
"""

import numpy as np
from numpy.typing import NDArray

from streaming.audio.speech import Gate, GateEvent, Speech
from streaming.settings import VoiceConfig


class OpenGate:
    """Takes everything for one endless utterance, without an onset or offset."""

    def __init__(self, start_sample: int = 0) -> None:
        self._sample = start_sample

    def feed(self, samples: NDArray[np.float32]) -> list[GateEvent]:
        if not len(samples):
            return []
        speech = Speech(samples, self._sample)
        self._sample += len(samples)
        return [speech]

    def end(self) -> list[GateEvent]:
        return []


def open_gate(config: VoiceConfig, start_sample: int = 0) -> Gate:
    """Return the gate that the settings ask for; positions count from `start_sample`.

    Raises BackendError for voice activity without the package that hears it.
    """
    if not config.vad:
        return OpenGate(start_sample)
    # Here, because an open gate needs no package that files and benchmarks do without.
    from streaming.audio.voice_activity import VoiceGate

    return VoiceGate(config, start_sample)
