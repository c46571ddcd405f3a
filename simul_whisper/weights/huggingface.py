"""Read Whisper from a Hugging Face Transformers directory: config.json and safetensors, in one file or in shards."""

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.weights.checkpoint import Checkpoint, check_positions, dims_from, heads_from, read_json, shard_names
from simul_whisper.weights.model import Tensors, check_dims
from simul_whisper.weights.tensorfile import read_tensors

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"

# In the order of `Dims`.
_DIMS = (
    "num_mel_bins",
    "max_source_positions",
    "d_model",
    "encoder_attention_heads",
    "encoder_layers",
    "vocab_size",
    "max_target_positions",
    "d_model",
    "decoder_attention_heads",
    "decoder_layers",
)

_ENCODER_POSITIONS = "encoder.embed_positions.weight"
_LAYERS = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp1",
    "fc2": "mlp2",
}
_OUTSIDE_LAYERS = {
    "encoder.layer_norm.weight": "encoder.ln_post.weight",
    "encoder.layer_norm.bias": "encoder.ln_post.bias",
    "decoder.layer_norm.weight": "decoder.ln.weight",
    "decoder.layer_norm.bias": "decoder.ln.bias",
    "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
}


def read(directory: Path) -> Checkpoint:
    """Read a Transformers directory. Raises WeightsError when it is damaged or no Whisper model."""
    config = directory / "config.json"
    if not config.exists():
        raise WeightsError(f"{config} is missing; fetch the model again")
    if (kind := read_json(config).get("model_type")) != "whisper":
        raise WeightsError(f"{config}: got model_type = {shown(kind)}, expected 'whisper'")
    dims = dims_from(config, _DIMS)
    check_dims(str(config), dims)
    files = _files(directory)
    found = dict[str, NDArray[Any]]()
    for file in files:
        found |= {name.removeprefix("model."): tensor for name, tensor in read_tensors(file).items()}
    found.pop("proj_out.weight", None)  # the token embedding once more
    if _ENCODER_POSITIONS in found:
        check_positions(files[0], dims, found.pop(_ENCODER_POSITIONS))
    generation = directory / "generation_config.json"
    heads = heads_from(generation, read_json(generation).get("alignment_heads"))
    return Checkpoint(dims, _translate(found), heads, files)


def _files(directory: Path) -> tuple[Path, ...]:
    """The file of weights, or its shards."""
    shards = (FILE,) if (directory / FILE).exists() else shard_names(directory / INDEX)
    return tuple(directory / name for name in shards)


def _translate(found: Tensors) -> Tensors:
    tensors = {_target(name): tensor for name, tensor in found.items()}
    for name in ("encoder.conv1.weight", "encoder.conv2.weight"):
        if name in tensors and tensors[name].ndim == 3:
            tensors[name] = tensors[name].swapaxes(1, 2)
    return tensors


def _target(name: str) -> str:
    """The canonical name of a tensor; its own when it has none, for the check to refuse."""
    found = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if found and found[3] in _LAYERS:
        return f"{found[1]}.blocks.{found[2]}.{_LAYERS[found[3]]}.{found[4]}"
    return _OUTSIDE_LAYERS.get(name, name)
