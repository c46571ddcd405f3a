"""The alignment heads of a Voxtral model, in a file beside its weights: found by calibration, published by nobody.

`{"alignment_heads": [[layer, head], ...]}`, and what was measured of them. They belong to one training.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from simul_whisper.errors import WeightsError
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.weights.checkpoint import heads_from, read_json
from simul_whisper.weights.model import Head, check_heads

FILE = "alignment_heads.json"
_LEAST_RIGHT = 0.7


@dataclass(frozen=True)
class Measured:
    """What calibration found of some heads together.

    right: the share of tokens that they place where these were heard first. told_early: of the tokens that the model
    reads rightly from the beginning of a recording, the share that the policy would commit then; agreement: the share
    of committed ones that are in the text of the whole recording. n_recordings, audio_s: what was read.
    """

    heads: tuple[Head, ...]
    right: float
    told_early: float
    agreement: float
    n_recordings: int
    audio_s: float

    @property
    def is_believed(self) -> bool:
        """Whether these heads tell enough of where the model reads."""
        return self.right >= _LEAST_RIGHT


def known_heads(directory: Path, dims: VoxtralDims, given: Sequence[Head]) -> tuple[Head, ...]:
    """Return the heads given or, without any, those in the file of this directory; none where there is none.

    Raises WeightsError for heads that the model has not, and for a damaged file.
    """
    file = directory / FILE
    found = tuple(given) or heads_from(file, read_json(file).get("alignment_heads"))
    if found:
        check_heads(str(directory if given else file), dims.whisper, found)
    return found


def write_heads(directory: Path, measured: Measured) -> Path:
    """Write heads down beside the weights, and return the file. Raises WeightsError when that may not be written."""
    numbers = asdict(measured)
    content = {"alignment_heads": [list(head) for head in numbers.pop("heads")], "measured": numbers}
    file = directory / FILE
    try:
        file.write_text(json.dumps(content) + "\n", "utf-8")
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written: {error.strerror}") from error
    return file
