"""Which Core ML packages are decoders, of what kind, for which model; and the decoder that is made of them."""

from enum import Enum
from pathlib import Path

from simul_whisper.coreml import interface as io
from simul_whisper.coreml.description import Description, Function, describe
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLRuntime, open_model
from simul_whisper.decoders import whisperkit
from simul_whisper.decoders.coreml import CoreMLDecoder, Functions
from simul_whisper.decoders.whisperkit import WhisperKitDecoder
from simul_whisper.errors import DecoderNotLoadedError
from simul_whisper.foreign_files import one_line, parse_json
from simul_whisper.weights.model import Dims, Head

_OURS = {io.TOKENS, io.POSITION, io.MASK, io.AUDIO_MASK}
_WHISPERKIT = {
    whisperkit.TOKEN,
    whisperkit.POSITION,
    whisperkit.KEYS,
    whisperkit.VALUES,
    whisperkit.NEWEST,
    whisperkit.AUDIO,
    whisperkit.HIDDEN,
}
# What packages that were made together say alike.
_SHARED = ("decoder_sha256", "precision", "quantize")


class DecoderKind(Enum):
    """Ours by where the caches are: in states, in one package, or in inputs, in three; and WhisperKit's."""

    STATES = "states"
    INPUTS = "inputs"
    WHISPERKIT = "whisperkit"


def decoder_kind(description: Description, dims: Dims, heads: tuple[Head, ...]) -> DecoderKind:
    """Return which kind of decoder a package is.

    Raises DecoderNotLoadedError when it is none, was made for another model, or does not tell where these alignment
    heads look.
    """
    names = {each.name for each in description.inputs}
    if names >= _WHISPERKIT:
        _check_whisperkit(description, dims)
        return DecoderKind.WHISPERKIT
    kept = {each.name for each in description.states}
    if not names >= _OURS or io.KEY_CACHE not in names | kept:
        taken = one_line(", ".join(each.name for each in description.inputs)) or "nothing"
        raise DecoderNotLoadedError(
            f"{description.path}: not a decoder that can be used: it takes {taken}; expected one "
            "made by `coreml convert --part decoder`, or WhisperKit's TextDecoder"
        )
    _check_ours(description, dims, heads)
    return DecoderKind.STATES if io.KEY_CACHE in kept else DecoderKind.INPUTS


def decoder_packages(description: Description, dims: Dims, heads: tuple[Head, ...]) -> tuple[Description, ...]:
    """Return all packages of a decoder, itself first. Raises what `decoder_kind` and `describe` do.

    DecoderNotLoadedError also when those beside it were not made with it.
    """
    if decoder_kind(description, dims, heads) is not DecoderKind.INPUTS:
        return (description,)
    others = tuple(describe(beside(description.path, function)) for function in (io.PREFILL, io.AUDIO))
    for each in others:
        if any(each.metadata.get(key) != description.metadata.get(key) for key in _SHARED):
            raise DecoderNotLoadedError(
                f"{each.path}: was not made with {description.path.name} beside it; convert the decoder again"
            )
    return (description, *others)


def beside(package: Path, function: str) -> Path:
    """Return where this function is of a decoder whose step is `package`."""
    return package.with_name(f"{package.stem}-{function}{package.suffix}")


def open_decoder(
    runtime: CoreMLRuntime,
    model: Path,
    description: Description,
    dims: Dims,
    heads: tuple[Head, ...],
    compute_units: str = "ALL",
) -> CoreMLDecoder | WhisperKitDecoder:
    """Return the decoder of a package. model: the package, or what was compiled from it, those beside it likewise.

    Raises DecoderNotLoadedError.
    """
    kind = decoder_kind(description, dims, heads)
    if kind is DecoderKind.WHISPERKIT:
        return WhisperKitDecoder(open_model(runtime, model, compute_units), description, dims, compute_units)
    has_states = kind is DecoderKind.STATES

    def opened(function: str) -> CoreMLModel:
        if has_states:
            return open_model(runtime, model, compute_units, function)
        return open_model(runtime, model if function == io.STEP else beside(model, function), compute_units)

    functions = Functions(opened(io.AUDIO), opened(io.PREFILL), opened(io.STEP))
    [dtype] = (each.dtype for each in description.inputs if each.name == io.MASK)
    said = f"coreml ({description.numbers}, {compute_units})"
    return CoreMLDecoder(functions, dims, len(heads), dtype, has_states=has_states, description=said)


def _check_ours(description: Description, dims: Dims, heads: tuple[Head, ...]) -> None:
    sizes = _sizes(
        description.function(),
        n_tokens=(io.TOKENS, 1),
        width=(io.KEY_CACHE, 3),
        layers=(io.KEY_CACHE, 0),
        positions=(io.KEY_CACHE, 1),
        frames=(io.AUDIO_MASK, 1),
        vocabulary=(io.LOGITS, 2),
    )
    if (n := sizes.pop("n_tokens", 1)) != 1:
        raise DecoderNotLoadedError(f"{description.path}: reads {n} tokens at a time; give the package of the step")
    _check_number_type(description, io.MASK)
    _check_sizes(description, sizes, dims, io.padded_frames(dims), dims.n_text_ctx)
    said, expected = description.metadata.get("alignment_heads", ""), [list(head) for head in heads]
    try:
        same = parse_json(said) == expected
    except ValueError:
        same = False
    if not same:
        raise DecoderNotLoadedError(
            f"{description.path}: made with the alignment heads {one_line(said) or 'unknown'}, expected "
            f"{expected}; convert the decoder again"
        )


def _check_whisperkit(description: Description, dims: Dims) -> None:
    if whisperkit.ATTENTION not in {each.name for each in description.outputs}:
        raise DecoderNotLoadedError(
            f"{description.path}: has no {whisperkit.ATTENTION} output, without which AlignAtt cannot tell where the "
            "decoder looks"
        )
    sizes = _sizes(
        description.function(),
        width=(whisperkit.AUDIO, 1),
        channels=(whisperkit.KEYS, 1),
        positions=(whisperkit.KEYS, 3),
        frames=(whisperkit.AUDIO, 3),
        vocabulary=(io.LOGITS, 2),
    )
    # The caches of all layers are one after the other; some models have half of the positions.
    n_channels, n_positions = sizes.pop("channels", 0), sizes.setdefault("positions", 0)
    sizes["layers"] = 0 if n_channels % dims.n_text_state else n_channels // dims.n_text_state
    n_positions = min(n_positions, dims.n_text_ctx) or dims.n_text_ctx
    _check_number_type(description, whisperkit.KEYS)
    _check_sizes(description, sizes, dims, dims.n_audio_ctx, n_positions)


def _sizes(function: Function, **places: tuple[str, int]) -> dict[str, int]:
    """Return the sizes at these places, a name and an axis; those that the function does not tell are left out."""
    shapes = {
        each.name: each.shapes[0] for each in (*function.outputs, *function.states, *function.inputs) if each.shapes
    }
    return {
        size: shapes[name][axis] for size, (name, axis) in places.items() if name in shapes and axis < len(shapes[name])
    }


def _check_sizes(description: Description, sizes: dict[str, int], dims: Dims, n_frames: int, n_positions: int) -> None:
    expected = {
        "width": dims.n_text_state,
        "layers": dims.n_text_layer,
        "positions": n_positions,
        "frames": n_frames,
        "vocabulary": dims.n_vocab,
    }
    others = {size: n for size, n in sizes.items() if n != expected[size]}
    if others:
        got, wanted = (", ".join(f"{size} {each[size]}" for size in others) for each in (others, expected))
        raise DecoderNotLoadedError(f"{description.path}: made for another model: got {got}, expected {wanted}")


def _check_number_type(description: Description, name: str) -> None:
    [dtype] = (each.dtype for each in description.inputs if each.name == name)
    if dtype not in ("float16", "float32"):
        raise DecoderNotLoadedError(f"{description.path}: got {name} as {one_line(dtype)}, expected float16 or float32")
