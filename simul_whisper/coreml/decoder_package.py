"""The decoder's packages: what they say about themselves, and how they are written.

With states one package has all three functions; without, each has its own, and all three belong together. Knows
nothing of the network.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from simul_whisper.coreml import writing
from simul_whisper.coreml.conversion import Conversion, Precision
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.interface import FUNCTIONS, STEP
from simul_whisper.coreml.locate import decoder_package_name
from simul_whisper.coreml.writing import Converted
from simul_whisper.errors import ConfigError
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights import Weights
from simul_whisper.weights.model import check_heads

_DESCRIPTION = "Whisper's text decoder: tokens and audio features in, logits and the alignment heads' attention out"


def check(conversion: Conversion, *, alone: bool = True) -> None:
    """Raise ConfigError when no decoder can be converted so. alone: without the encoder, which has more options."""
    if conversion.has_states and conversion.precision != "float16":
        raise ConfigError(
            f"a decoder of target = {conversion.target} keeps states, which Core ML has in float16 only, got "
            f"precision = {conversion.precision}; take target = macOS14"
        )
    if conversion.has_states and conversion.quantize.startswith("palette"):
        # apple/coremltools issue 2716.
        raise ConfigError(
            f"a decoder of target = {conversion.target} keeps states, and with them palettes have crashed devices, got "
            f"quantize = {conversion.quantize}; take int8, or target = macOS14"
        )
    if alone and replace(conversion, attention="split", shapes="enumerated") != conversion:
        raise ConfigError("attention and shapes concern the encoder only; leave them out for a decoder")


def convert_decoder(
    weights: Weights,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    name: str = "",
) -> Converted:
    """Write the decoder of a model into `output_dir`: one Core ML package with states, or three without.

    name: what the packages call the model, in place of its own name. On macOS they are compiled as well. `attention`
    and `shapes` do not concern it. Compressed weights are first compared with MLX. Raises BackendError without
    coremltools, WeightsError without alignment heads, ConfigError for what `check` refuses, for compression that makes
    nonsense of the weights, and when nothing can be written; then the older packages are still there.
    """
    writing.require_coremltools()
    check(conversion, alone=False)
    check_heads(weights.name, weights.dims, weights.alignment_heads)
    start_s = time.perf_counter()
    places = {function: output_dir / decoder_package_name(weights.name, function, name) for function in FUNCTIONS}
    with writing.folder_in(output_dir) as folder:
        made = _written(folder, weights, conversion, progress)
        made = {function: package.rename(folder / places[function].name) for function, package in made.items()}
        psnr_db = _likeness_db(made, weights, conversion, progress)
        # The step goes first and comes last: whoever finds it finds those that belong to it.
        for place in reversed(places.values()):
            writing.clear(place)
        for function, package in made.items():
            package.rename(places[function])
        paths = [places[function] for function in reversed(made)]
        compiled = [writing.compiled(path) for path in paths]
    beside = [path for pair in zip(paths[1:], compiled[1:], strict=True) for path in pair if path]
    size_bytes = sum(describe(path).size_bytes for path in paths)
    return Converted(paths[0], None, compiled[0], time.perf_counter() - start_s, size_bytes, tuple(beside), psnr_db)


def _likeness_db(
    made: dict[str, Path], weights: Weights, conversion: Conversion, progress: ProgressHandler
) -> float | None:
    """Compare compressed weights with MLX, and let the packages say the PSNR; None for others.

    Raises ConfigError for nonsense.
    """
    if conversion.quantize == "none":
        return None
    from simul_whisper.coreml.quality import check_decoder, decoder_likeness_db
    from simul_whisper.coreml.spec import add_metadata

    likeness_db = decoder_likeness_db(made[STEP], weights, progress)
    check_decoder(likeness_db, conversion.quantize)
    for package in made.values():
        add_metadata(package, {"psnr_db": f"{likeness_db:.1f}"})
    return likeness_db


def decoder_digest(weights: Weights, precision: Precision = "float16") -> str:
    """Return the `digest_of` a decoder, whose alignment heads count too."""
    dims = weights.dims
    sizes = (dims.n_audio_ctx, dims.n_audio_state, dims.n_vocab, dims.n_text_ctx, dims.n_text_state)
    counts = (dims.n_text_head, dims.n_text_layer)
    told = f"{' '.join(map(str, sizes + counts))} {_heads(weights)}"
    return writing.digest_of(weights.tensors, ("decoder",), told, precision)


def _heads(weights: Weights) -> str:
    return json.dumps([list(head) for head in weights.alignment_heads])


def _metadata(weights: Weights, conversion: Conversion) -> dict[str, str]:
    return {
        "part": "decoder",
        "caches": "states" if conversion.has_states else "inputs",
        "decoder_sha256": decoder_digest(weights, conversion.precision),
        "alignment_heads": _heads(weights),
        "precision": conversion.precision,
        "quantize": conversion.quantize,
        "target": conversion.target,
    }


def _written(folder: Path, weights: Weights, conversion: Conversion, progress: ProgressHandler) -> dict[str, Path]:
    """Write the packages into a folder and return them by function, the step last."""
    # coremltools takes seconds to import, so only when it is going to be used.
    from simul_whisper.coreml import decoder_program, layers

    metadata = _metadata(weights, conversion)

    def written(name: str, model: Any) -> Path:
        path = folder / f"{name}.mlpackage"
        writing.save(model, path, _DESCRIPTION, metadata, weights.name, weights.digest)
        layers.discard(model)
        return path

    network = (weights.dims, weights.tensors, weights.alignment_heads, conversion, progress)
    # No model is kept: each has all the weights.
    made = {function: written(function, decoder_program.build(function, *network)) for function in FUNCTIONS}
    if not conversion.has_states:
        return made
    progress(Progress(Stage.CONVERTING, "the three programs to one"))
    return {STEP: written("decoder", layers.joined(made, STEP, folder / "joined.mlpackage"))}
