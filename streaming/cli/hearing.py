"""What hears the recordings of `transcribe`: our engine, streamed as if they were spoken, or another one beside it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.cli.interruption import Interruption
from streaming.cli.options import Configs
from streaming.cli.translation import stages_from
from streaming.events import Language, Spoken

if TYPE_CHECKING:
    from simul_whisper import Model, Translator
    from streaming.evaluation.replay import Emission
    from streaming.evaluation.speaking import Speaking

Chunks = Iterator[NDArray[np.float32]]


class Cost:
    """What a file has cost so far, and the language spoken in it."""

    def __init__(self, language: str | None) -> None:
        self.audio_s = 0.0
        self.language = language
        self.compute_s = self.stage_s = 0.0
        self.lags_s: list[float] = []
        self.is_spoken = False

    def add(self, emission: "Emission") -> None:
        self.audio_s = emission.audio_s
        self.compute_s += emission.compute_s
        self.stage_s += emission.stage_s
        self.lags_s += [emission.ready_s - word.end_s for word in emission.words if word.is_spoken]
        for event in emission.events:
            if isinstance(event, Language):
                self.language = event.language
            self.is_spoken = self.is_spoken or isinstance(event, Spoken)

    def summary(self, name: str, *parts: str) -> str:
        """Return one line about the file of that name; parts: what else there is to say."""
        heard = f"{name}: {self.audio_s:.1f} s, language {self.language or 'unknown'}"
        return " | ".join([heard, *parts])

    def per_second(self, spent_s: float) -> float:
        """Return what a second of audio has cost of that."""
        return spent_s / max(self.audio_s, 1e-9)


class Hearing(Protocol):
    """interrupted: what is said after Ctrl-C."""

    interrupted: str

    def emissions(self, blocks: Chunks, interruption: Interruption) -> "Iterator[Emission]":
        """Return what is understood of a recording, to be taken in turns with others. Raises SimulWhisperError."""

    def summary(self, name: str, cost: Cost) -> str:
        """Return one line about a recording that is over."""


class Streamed:
    """Our engine, with what translates its text, and what speaks it. realtime: at the pace of speech."""

    interrupted = "interrupted; what was heard is written"

    def __init__(
        self,
        model: "Model",
        translator: "Translator | None",
        speaking: "Speaking | None",
        configs: Configs,
        *,
        realtime: bool,
    ) -> None:
        self._model, self._translator, self._speaking = model, translator, speaking
        self._configs, self._realtime = configs, realtime

    def emissions(self, blocks: Chunks, interruption: Interruption) -> "Iterator[Emission]":
        # Here, because `--help` and bad flags do without the engine.
        from streaming.audio.files import chunked
        from streaming.evaluation.replay import AudioClock, chunk_samples, replay, replay_realtime
        from streaming.sessions.session import Session
        from streaming.stages.stage import Stage

        config, voice = self._configs.session, self._configs.voice
        session = Session(config, self._model, voice, drafts=False)
        stages: list[Stage] = [*stages_from(self._configs, self._translator, is_live=self._realtime)]
        clock = AudioClock()
        if self._speaking:
            stages.append(self._speaking.live_stage() if self._realtime else self._speaking.stage(clock))
        chunks = interruption.until(chunked(blocks, chunk_samples(config, voice)))
        if self._realtime:
            return replay_realtime(session, chunks, interruption.sleep, stages=stages)
        return replay(session, chunks, coalesce=not voice.vad, stages=stages, clock=clock)

    def summary(self, name: str, cost: Cost) -> str:
        info, mean_lag = self._model.info, sum(cost.lags_s) / max(1, len(cost.lags_s))
        parts = [
            f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}",
            f"{cost.per_second(cost.compute_s):.2f} s of computation per second of audio",
            f"words {mean_lag:.2f} s after they were spoken" if cost.lags_s else "no words",
        ]
        made = [f"translated by {self._translator.description}"] if self._translator else []
        made += ["spoken"] if cost.is_spoken else []
        if made:
            # At the pace of speech, others do it meanwhile, and how long they take is not measured.
            cost_of_it = "" if self._realtime else f", in {cost.per_second(cost.stage_s):.2f} s per second of audio"
            parts.append(" and ".join(made) + cost_of_it)
        if self._speaking and not cost.is_spoken:
            parts.append("nothing spoken")
        return cost.summary(name, *parts)
