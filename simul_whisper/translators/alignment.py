"""Which heads of a translator tell where it reads: as measured, or as its makers trained them.

CTranslate2 gives the mean attention of the first heads of one layer, which two variables of `model.bin` name. What was
measured stands beside the model, in alignment.json; where nothing is known, attention is not believed, and words are
told when two translations agree.
"""

import json
import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, open_regular, read_json, shown
from simul_whisper.translators.model_files import Family, ModelFiles

ALIGNMENT_FILE = "alignment.json"
# The variables, and what CTranslate2 takes where an older model lacks them.
_DEFAULTS = {"decoder/alignment_layer": -1, "decoder/alignment_heads": 1}
_N_HEADS = "decoder/num_heads"
_LAYER = re.compile(rb"decoder/layer_(\d{1,4})/attention/")
# Rank, type and number of bytes of a single 16-bit number.
_HEADER = struct.pack("<BBI", 0, 2, 2)
# Of one language into another, and not of those called "big": these were trained so that a head aligns.
_TRAINED_TO_ALIGN = re.compile(r"opus-mt-(?!tc)[A-Za-z_]+-[A-Za-z_]+", re.ASCII)
_MOST_LAYERS = 1 << 10


@dataclass(frozen=True)
class Alignment:
    """The mean attention of the first `heads` heads of a layer; the last layer is -1.

    agreement: share of the tokens told early, by this attention, that were also in the translation of the whole
    sentence. told_early: share of all tokens that were told so. Both None where it was not measured.
    """

    layer: int = -1
    heads: int = 1
    agreement: float | None = None
    told_early: float | None = None
    is_believed: bool = True


def alignment_of(files: ModelFiles, name: str) -> Alignment | None:
    """Return the alignment of a model called `name`; None where its attention is not to be believed.

    Raises WeightsError for an alignment.json that cannot be read.
    """
    path = files.directory / ALIGNMENT_FILE
    if path.exists():
        found = _read(path)
        return found if found.is_believed else None
    # The makers of OPUS-MT trained the first head of the last layer on word alignments ("transformer-align").
    is_trained = files.family is Family.OPUS_MT and _TRAINED_TO_ALIGN.search(name)
    return Alignment() if is_trained else None


def write_alignment(directory: Path, alignment: Alignment) -> None:
    """Write down what was measured, where `alignment_of` finds it. Raises OSError."""
    (directory / ALIGNMENT_FILE).write_text(json.dumps(asdict(alignment), indent=2) + "\n", "utf-8")


def _read(path: Path) -> Alignment:
    try:
        found = read_json(path)
        alignment = Alignment(**found)
    except (OSError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {one_line(error)}; measure it again, or delete it") from error
    whole = type(alignment.layer) is int and type(alignment.heads) is int
    if not whole or not -1 <= alignment.layer < _MOST_LAYERS or not 1 <= alignment.heads < _MOST_LAYERS:
        raise WeightsError(f"{path}: got {shown(found)}, expected a layer from -1 and heads from 1; delete it")
    return alignment


def with_alignment(file: Path, alignment: Alignment | None) -> bytes | None:
    """Return the content of a `model.bin` with other heads chosen in it; None where nothing is to be changed.

    Raises WeightsError for heads that it does not have, also where it names them itself: CTranslate2 would read what
    lies beside them in memory.
    """
    with _mapped(file) as model:
        own = tuple(_number(model, name, default) for name, default in _DEFAULTS.items())
        wanted = (alignment.layer, alignment.heads) if alignment else own
        size = _size(model)
        for layer, heads in (own, wanted):
            if not -size[0] <= layer < size[0] or not 0 <= heads <= size[1]:
                raise WeightsError(
                    f"{file}: got {heads} heads of layer {layer} to align with, expected at most {size[1]} of one of "
                    f"{size[0]} layers"
                )
        if wanted == own:
            return None
        content = bytearray(model)
        for name, value in zip(_DEFAULTS, wanted, strict=True):
            place = _place(model, name)
            if place < 0:
                raise WeightsError(f"{file}: names no heads that align; convert the model with a newer CTranslate2")
            struct.pack_into("<h", content, place, value)
    return bytes(content)


def decoder_size(file: Path) -> tuple[int, int]:
    """Return how many layers the decoder of a `model.bin` has, and how many heads each. Raises WeightsError."""
    with _mapped(file) as model:
        return _size(model)


def _size(model: mmap.mmap) -> tuple[int, int]:
    layers = {found[1] for found in _LAYER.finditer(model)}
    if not layers:
        raise ValueError("got no layers of a decoder, expected a whole model; download or convert it again")
    return len(layers), _number(model, _N_HEADS, 1)


def _number(model: mmap.mmap, name: str, default: int) -> int:
    """Return the value of a variable that is one 16-bit number."""
    place = _place(model, name)
    return default if place < 0 else int(struct.unpack_from("<h", model, place)[0])


def _place(model: mmap.mmap, name: str) -> int:
    """Return where the value of such a variable stands, after its name and a zero; -1 where there is none."""
    start = struct.pack("<H", len(name) + 1) + name.encode() + b"\0"
    found = model.find(start)
    if found < 0:
        return found
    place = found + len(start) + len(_HEADER)
    if model[found + len(start) : place] != _HEADER:
        raise ValueError(f"{name} is not one number of 16 bits")
    return place


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    try:
        with open_regular(file) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as model:
            yield model
    except (OSError, ValueError, struct.error) as error:  # an empty file is a ValueError
        raise WeightsError(f"{file}: cannot be read: {one_line(error)}") from error
