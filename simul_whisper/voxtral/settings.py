"""What config.json or Mistral's params.json says of a Voxtral model, under our names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.weights.checkpoint import read_json

Numbers = dict[str, int | float]

CONFIG, PARAMS = "config.json", "params.json"
_DEFAULTS: Numbers = {"n_audio_ctx": 1500, "n_text_ctx": 131_072}
"""What not every file says, and every Voxtral of 2507 has."""
_FRACTIONS = ("rope_theta", "norm_eps")
_AUDIO_CONFIG = {
    "num_mel_bins": "n_mels",
    "max_source_positions": "n_audio_ctx",
    "hidden_size": "n_audio_state",
    "num_attention_heads": "n_audio_head",
    "num_hidden_layers": "n_audio_layer",
}
_TEXT_CONFIG = {
    "vocab_size": "n_vocab",
    "max_position_embeddings": "n_text_ctx",
    "hidden_size": "n_text_state",
    "num_attention_heads": "n_text_head",
    "num_key_value_heads": "n_text_kv_head",
    "head_dim": "head_dim",
    "num_hidden_layers": "n_text_layer",
    "intermediate_size": "n_text_mlp",
    "rope_theta": "rope_theta",
    "rms_norm_eps": "norm_eps",
}
_PARAMS = {
    "dim": "n_text_state",
    "n_layers": "n_text_layer",
    "head_dim": "head_dim",
    "hidden_dim": "n_text_mlp",
    "n_heads": "n_text_head",
    "n_kv_heads": "n_text_kv_head",
    "norm_eps": "norm_eps",
    "vocab_size": "n_vocab",
    "rope_theta": "rope_theta",
    "max_seq_len": "n_text_ctx",
}
_ENCODER_ARGS = {
    "dim": "n_audio_state",
    "n_layers": "n_audio_layer",
    "n_heads": "n_audio_head",
    "max_source_positions": "n_audio_ctx",
}


@dataclass(frozen=True)
class Packing:
    """How MLX packed a matrix: `group_size` numbers of `bits` bits have a scale and a bias in common."""

    group_size: int
    bits: int


@dataclass(frozen=True)
class Settings:
    """What a file says. numbers: under the names of `VoxtralDims`, those that it has, and the defaults.

    packing: of quantised matrices that `packings` does not name; None: the file tells of none.
    packings: of single modules, under the names of the weights file.
    """

    file: Path
    numbers: Numbers
    packing: Packing | None
    packings: Mapping[str, Packing]


def read_settings(directory: Path) -> Settings:
    """Read config.json, or params.json where there is none. Raises WeightsError when it is damaged or has neither."""
    file = next((directory / name for name in (CONFIG, PARAMS) if (directory / name).exists()), None)
    if file is None:
        raise WeightsError(f"{directory}: {CONFIG} is missing; fetch the model again")
    values = read_json(file)
    numbers = _config_numbers(file, values) if file.name == CONFIG else _params_numbers(file, values)
    packing, packings = _packings(file, values)
    return Settings(file, _DEFAULTS | numbers, packing, packings)


def _config_numbers(file: Path, config: dict[str, Any]) -> Numbers:
    audio, text = _object(file, config, "audio_config"), _object(file, config, "text_config")
    # Transformers 5 has the base of rotary embedding here, too.
    rope = _object(file, text, "rope_scaling") | _object(file, text, "rope_parameters")
    _check_same(file, rope, {"rope_type": "default", "type": "default"})
    _check_same(file, config, {"projector_hidden_act": "gelu"})
    _check_same(file, audio, {"activation_function": "gelu"})
    _check_same(file, text, {"hidden_act": "silu"})
    return _numbers(file, audio, _AUDIO_CONFIG) | _numbers(file, rope | text, _TEXT_CONFIG)


def _params_numbers(file: Path, params: dict[str, Any]) -> Numbers:
    _check_same(file, params, {"yarn": None})
    encoder = _object(file, _object(file, _object(file, params, "multimodal"), "whisper_model_args"), "encoder_args")
    mels = _numbers(file, _object(file, encoder, "audio_encoding_args"), {"num_mel_bins": "n_mels"})
    return mels | _numbers(file, encoder, _ENCODER_ARGS) | _numbers(file, params, _PARAMS)


def _check_same(file: Path, values: dict[str, Any], expected: dict[str, str | None]) -> None:
    """Raise WeightsError where a file asks for what the network does not do."""
    for key, wanted in expected.items():
        if (found := values.get(key, wanted)) != wanted:
            raise WeightsError(f"{file}: got {key} = {shown(found)}, expected {shown(wanted)}; this is not supported")


def _object(file: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    if not isinstance(found, dict | None):
        raise WeightsError(f"{file}: got {key} = {shown(found)}, expected an object")
    return found or {}


def _numbers(file: Path, values: dict[str, Any], names: dict[str, str]) -> Numbers:
    """Return the numbers under our names; null is as if a key were not there."""
    numbers: Numbers = {}
    for theirs, ours in names.items():
        if (value := values.get(theirs)) is None:
            continue
        is_fraction = ours in _FRACTIONS
        if type(value) not in ((int, float) if is_fraction else (int,)) or not 0 < value < 1 << 40:
            wanted = "a positive number" if is_fraction else "a positive whole number"
            raise WeightsError(f"{file}: got {theirs} = {shown(value)}, expected {wanted}")
        numbers[ours] = value
    return numbers


def _packings(file: Path, values: dict[str, Any]) -> tuple[Packing | None, dict[str, Packing]]:
    found = values.get("quantization", values.get("quantization_config"))
    if found is None:
        return None, {}
    packing = _packing(found)
    if packing is None:
        raise WeightsError(
            f"{file}: got quantization = {shown(found)}, expected MLX's, with a group_size of 32, 64 or 128 and bits "
            "of 2 to 8; take the model's original weights, or an mlx-community one"
        )
    single = {name: _packing(each) for name, each in found.items() if isinstance(each, dict)}
    wrong = next((name for name, each in single.items() if each is None), None)
    if wrong is not None:
        raise WeightsError(f"{file}: got the quantization {shown(found[wrong])} for {shown(wrong)}, which is unknown")
    return packing, {name: each for name, each in single.items() if each is not None}


def _packing(found: object) -> Packing | None:
    match found:
        case {"group_size": 32 | 64 | 128 as group_size, "bits": 2 | 3 | 4 | 5 | 6 | 8 as bits, **others}:
            return Packing(int(group_size), int(bits)) if others.get("mode", "affine") == "affine" else None
    return None
