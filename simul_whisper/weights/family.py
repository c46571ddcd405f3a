"""Which kind of model the config in a directory describes, without reading its weights."""

from enum import Enum
from pathlib import Path
from typing import Any

from simul_whisper.errors import WeightsError
from simul_whisper.weights.checkpoint import read_json


class Family(Enum):
    """Kinds of models that are told apart; OTHER may still be a Whisper without a config."""

    WHISPER = "Whisper"
    VOXTRAL = "Voxtral"
    VOXTRAL_REALTIME = "Voxtral Realtime"
    OTHER = "other"


def family_of(directory: Path) -> Family:
    """Return the kind of model in a directory. Raises WeightsError when its config is damaged."""
    config = read_json(directory / "config.json")
    if config.get("model_type") == "whisper" or not config.keys().isdisjoint({"n_audio_state", "lang_ids"}):
        return Family.WHISPER
    if found := _by_config(config):
        return found
    return _by_params(read_json(directory / "params.json"))


def refuse_realtime(source: str | Path, directory: Path) -> None:
    """Raise WeightsError for a Voxtral Realtime, which shares little but its name; source: what to call it."""
    if family_of(directory) is Family.VOXTRAL_REALTIME:
        raise WeightsError(
            f"{source}: this is Voxtral Realtime, another architecture, which is not supported; "
            "take Voxtral Mini or Small of 2507, such as mistralai/Voxtral-Mini-3B-2507"
        )


def _by_config(config: dict[str, Any]) -> Family | None:
    kinds = [config.get("model_type"), *_listed(config.get("architectures"))]
    for start, family in (("voxtral_realtime", Family.VOXTRAL_REALTIME), ("voxtral", Family.VOXTRAL)):
        if any(isinstance(kind, str) and _plain(kind).startswith(_plain(start)) for kind in kinds):
            return family
    return None


def _by_params(params: dict[str, Any]) -> Family:
    """Mistral's own file says no kind."""
    match params:
        case {"multimodal": {"whisper_model_args": {"encoder_args": dict(encoder)}}}:
            is_causal = bool(encoder.get("causal") or params.get("ada_rms_norm_t_cond"))
            return Family.VOXTRAL_REALTIME if is_causal else Family.VOXTRAL
    return Family.OTHER


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(kind: str) -> str:
    return kind.replace("_", "").lower()
