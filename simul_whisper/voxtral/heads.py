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


@dataclass(frozen=True)
class Measured:
    """What calibration found of some heads together.

    told_early: of all tokens, the share that the policy would have committed before the end of the audio; agreement: of
    those, the share that also stood in the text of all the audio. n_recordings: that were read.
    """

    heads: tuple[Head, ...]
    told_early: float
    agreement: float
    n_recordings: int


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
