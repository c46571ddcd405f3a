"""Speech of what a recording became: what speaks it, and how late it is heard and what it costs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from simul_whisper import SpeechConfig
from streaming.evaluation.replay import AudioClock, Emission
from streaming.events import Event
from streaming.stages.metrics import SpeechMetrics
from streaming.stages.speech import SpeechStage
from streaming.stages.voice_calls import Voices


@dataclass(frozen=True)
class Speaking:
    """What speaks, how, and which texts: "" for the transcript. metrics: of all stages together."""

    voices: Voices
    config: SpeechConfig
    targets: tuple[str, ...]
    metrics: SpeechMetrics = field(default_factory=SpeechMetrics)

    def stage(self, clock: Callable[[], float]) -> SpeechStage:
        """Return a stage of a recording that comes faster than it was spoken, on its own clock: it waits for voices."""
        return SpeechStage(self.voices, self.config, self.targets, clock=clock, waits=True, metrics=self.metrics)

    def live_stage(self) -> SpeechStage:
        """Return a stage of what comes at the pace of speech."""
        return SpeechStage(self.voices, self.config, self.targets, clock=time.monotonic, metrics=self.metrics)


def speak(emissions: Iterable[Emission], speaking: Speaking) -> list[Event]:
    """Speak what was told as if it had come in real time, and return what came of it; `metrics` has the figures."""
    clock = AudioClock()
    stage, told = speaking.stage(clock), list[Event]()
    for emission in emissions:
        clock.now_s = max(emission.ready_s, emission.stages_ready_s)
        told += stage.feed(emission.events)
    return [*told, *stage.flush()]


def speech_figures(metrics: SpeechMetrics) -> dict[str, dict[str, Any]]:
    """Return, for each target, what bench tells of its speech.

    Means over its phrases: first_sound_s: what the voice took until its first sound; heard_after_s: how long after its
    text it is heard, once the speech before it was. voice_per_audio_s: seconds of a voice for a second of its sound.
    """
    values: dict[str, dict[str, float]] = {}
    for family in metrics.read():
        for sample in family.samples:
            if "le" not in sample.labels:
                name = sample.name.removeprefix("simul_whisper_speech_")
                values.setdefault(sample.labels["target"], {})[name] = sample.value
    return {target: _figures(found) for target, found in values.items()}


def _figures(found: dict[str, float]) -> dict[str, Any]:
    n_phrases = found.get("delay_seconds_count", 0)
    # The clock stands while the voice is at work.
    first_s, waited_s = found.get("first_sound_seconds_sum", 0.0), found.get("delay_seconds_sum", 0.0)
    sound_s = found.get("sound_seconds_total", 0.0)
    return {
        "sentences": int(found.get("sentences_total", 0)),
        "left_out": int(found.get("skipped_sentences_total", 0)),
        "sound_s": round(sound_s, 1),
        "first_sound_s": round(first_s / n_phrases, 3) if n_phrases else None,
        "heard_after_s": round((first_s + waited_s) / n_phrases, 3) if n_phrases else None,
        "voice_per_audio_s": round(found.get("seconds_total", 0.0) / sound_s, 3) if sound_s else None,
    }
