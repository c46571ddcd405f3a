"""Whether a model fits into memory, before it is loaded: half an hour of swapping is no error message."""

import math

from simul_whisper.errors import ModelError
from simul_whisper.machine import available_memory
from simul_whisper.voxtral.checkpoint import VoxtralWeights


def loaded_bytes(weights: VoxtralWeights, start: str, number_bytes: float, *, unpacks: bool = False) -> int:
    """Return what the tensors whose names start so take once loaded, and the largest of them on its way there, where it
    is held twice.

    number_bytes: of each number that is not packed in the file; unpacks: the packed ones become such, too.
    """
    packed = {f"{module}.{part}" for module in weights.packings for part in ("weight", "scales", "biases")}
    n_bytes, largest = 0.0, 0
    for name in weights.tensors:
        if not name.startswith(start):
            continue
        largest = max(largest, weights.tensors.n_bytes(name))
        if name not in packed:
            n_bytes += number_bytes * math.prod(weights.tensors.shape(name))
        elif not unpacks:
            n_bytes += weights.tensors.n_bytes(name)
        elif name.endswith(".weight"):
            packing = weights.packings[name.removesuffix(".weight")]
            n_bytes += number_bytes * math.prod(weights.tensors.shape(name)) * 32 // packing.bits
    return math.ceil(n_bytes) + 2 * largest


def check_memory(name: str, n_bytes: int) -> None:
    """Raise ModelError unless as much memory is free as a model needs for its weights."""
    free = available_memory()
    if free is not None and n_bytes > free:
        raise ModelError(
            f"{name}: its weights need {n_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
            'take a quantised model, such as one of mlx-community\'s in 4 bits, or set quantization = "int4"'
        )
