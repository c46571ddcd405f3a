"""What passes between the script and the child process that runs one system, as JSON.

It knows nothing of our packages or of theirs, so that a peer's process holds that peer and nothing of ours.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Recording:
    """samples: a NumPy file with what is in `path` as float32 (n,), mono, 16 kHz. language: None to detect it."""

    id: str
    path: str
    samples: str
    duration_s: float
    language: str | None


@dataclass(frozen=True)
class Job:
    """One system and what it hears.

    model, config: as given to the script. directory: the weights as CTranslate2 has them. decoder: a NumPy file with
    those of the decoder under mlx-community's names, `alignment_heads`, and `dims` as JSON. output: for the report.
    """

    system: str
    model: str
    config: str | None
    directory: str
    decoder: str
    output: str
    chunk_s: float
    threads: int
    recordings: tuple[Recording, ...]

    @property
    def chunk_samples(self) -> int:
        return round(self.chunk_s * SAMPLE_RATE)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {"recordings": tuple(Recording(**each) for each in values["recordings"])})


@dataclass(frozen=True)
class Piece:
    """The text that came with a chunk, maybe none, when `audio_s` had been heard, for `compute_s` of work."""

    text: str
    audio_s: float
    compute_s: float


@dataclass(frozen=True)
class Decoding:
    """How long the decoder took, its prompts included, for so many tokens."""

    seconds: float = 0.0
    n_tokens: int = 0


@dataclass(frozen=True)
class Heard:
    """What a system made of one recording: a piece for each chunk, or one for the whole of it."""

    pieces: tuple[Piece, ...]
    decoding: Decoding

    @property
    def compute_s(self) -> float:
        return sum(piece.compute_s for piece in self.pieces)


@dataclass(frozen=True)
class Outcome:
    """cpu_s: of all threads of the process, while it heard this recording."""

    id: str
    heard: Heard
    cpu_s: float


@dataclass(frozen=True)
class Report:
    """What the child writes."""

    outcomes: tuple[Outcome, ...]
    peak_memory_mb: float

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Report":
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(_outcome(each) for each in values["outcomes"]), values["peak_memory_mb"])


def _outcome(values: dict[str, Any]) -> Outcome:
    pieces = tuple(Piece(**piece) for piece in values["heard"]["pieces"])
    return Outcome(values["id"], Heard(pieces, Decoding(**values["heard"]["decoding"])), values["cpu_s"])


class System(Protocol):
    """Made from a Job, with its model loaded."""

    def hear(self, recording: Recording) -> Heard: ...
