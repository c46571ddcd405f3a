"""Our own engine, through the public names."""

import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from scripts.peers.job import Decoding, Heard, Job, Piece, Recording
from simul_whisper import AlignAttConfig, load_model, read_toml
from streaming.evaluation.manifest import Clip
from streaming.evaluation.replay import Emission
from streaming.evaluation.results import evaluate_clip, timing_of


def settings(job: Job) -> AlignAttConfig:
    """Return the settings of the job. Raises ConfigError."""
    config = AlignAttConfig.from_mapping(read_toml(job.config), job.config) if job.config else AlignAttConfig()
    return replace(config, model_name=job.model, segment_length=job.chunk_s).validated()


class Engine:
    def __init__(self, job: Job) -> None:
        _import_without_torch("ctranslate2")
        self._config = settings(job)
        self._model = load_model(self._config)

    def hear(self, recording: Recording) -> Heard:
        clip = Clip(
            recording.id, Path(recording.path), recording.language or "none", "", recording.duration_s, transcript=None
        )
        result = evaluate_clip(clip, self._model, self._config, offline=False)
        timing = timing_of([result])
        decoding = Decoding(timing.language_s + timing.prefill_s + sum(timing.step_s), len(timing.step_s))
        return Heard(tuple(_piece(emission) for emission in result.emissions), decoding)


def _import_without_torch(name: str) -> None:
    """CTranslate2 imports PyTorch where it finds it, as beside these peers: half a gigabyte that nobody here uses."""
    sys.modules["torch"] = None  # type: ignore[assignment]
    with suppress(ImportError):
        import_module(name)
    # SciPy, which is imported later, looks whether it is there.
    del sys.modules["torch"]


def _piece(emission: Emission) -> Piece:
    return Piece("".join(word.text for word in emission.words), emission.audio_s, emission.compute_s)
