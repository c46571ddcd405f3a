"""What is said, spoken."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from simul_whisper import SimulWhisperError, SpeechConfig, Voices
from streaming.events import Event, SpeechSkipped, Spoken, Translation, Words


class SpeechStage:
    """A `Stage`."""

    def __init__(self, voices: Voices, config: SpeechConfig, targets: Sequence[str]) -> None:
        self._voices, self._config, self._targets = voices, config, tuple(targets)
        self._woken = threading.Event()

    @property
    def woken(self) -> threading.Event:
        return self._woken

    def choose(self, targets: Sequence[str]) -> None:
        self._targets = tuple(targets)

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:
        for event in events:
            if isinstance(event, Words | Translation):
                yield from self._speak(event)

    def flush(self) -> Iterable[Event]:
        return ()

    def _speak(self, event: Words | Translation) -> Iterable[Event]:
        target = event.target if isinstance(event, Translation) else ""
        if target not in self._targets:
            return
        start_s, end_s = event.words[0].start_s, event.words[-1].end_s
        try:
            voice = self._voices.voice(target or "en")
            for samples in voice.speak(event.text, target or "en"):
                pcm = np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes()
                yield Spoken(target, event.text, pcm, voice.rate, start_s, end_s, True, event.utterance)
        except SimulWhisperError as error:
            yield SpeechSkipped(target, event.text, start_s, end_s, str(error))
