"""Write a small Voxtral of random weights in each of the layouts, with the tools that write real ones."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.network import sinusoids
from simul_whisper.voxtral.dims import VoxtralDims, expected_shapes

Tensors = dict[str, NDArray[Any]]

DIMS = VoxtralDims(
    n_mels=128,
    n_audio_ctx=1500,
    n_audio_state=32,
    n_audio_head=2,
    n_audio_layer=2,
    downsample=4,
    n_vocab=512,
    n_text_ctx=4096,
    n_text_state=64,
    n_text_head=4,
    n_text_kv_head=2,
    head_dim=24,
    n_text_layer=3,
    n_text_mlp=128,
    rope_theta=1e8,
    norm_eps=1e-5,
    tied=False,
)
"""It hears true windows: 30 s, 128 mel bands, 375 tokens. The heads together are wider than the state."""

_ENCODER = {
    "attn.query": ("self_attn.q_proj", "attention.wq"),
    "attn.key": ("self_attn.k_proj", "attention.wk"),
    "attn.value": ("self_attn.v_proj", "attention.wv"),
    "attn.out": ("self_attn.out_proj", "attention.wo"),
    "attn_ln": ("self_attn_layer_norm", "attention_norm"),
    "mlp_ln": ("final_layer_norm", "ffn_norm"),
    "mlp1": ("fc1", "feed_forward.w1"),
    "mlp2": ("fc2", "feed_forward.w2"),
}
_LANGUAGE = {
    "attention.query": ("self_attn.q_proj", "attention.wq"),
    "attention.key": ("self_attn.k_proj", "attention.wk"),
    "attention.value": ("self_attn.v_proj", "attention.wv"),
    "attention.out": ("self_attn.o_proj", "attention.wo"),
    "mlp.gate": ("mlp.gate_proj", "feed_forward.w1"),
    "mlp.up": ("mlp.up_proj", "feed_forward.w3"),
    "mlp.down": ("mlp.down_proj", "feed_forward.w2"),
    "attention_norm": ("input_layernorm", "attention_norm"),
    "mlp_norm": ("post_attention_layernorm", "ffn_norm"),
}
_MM = "mm_whisper_embeddings"
_ALONE = {
    "encoder.conv1": ("audio_tower.conv1", f"{_MM}.whisper_encoder.conv_layers.0"),
    "encoder.conv2": ("audio_tower.conv2", f"{_MM}.whisper_encoder.conv_layers.1"),
    "encoder.ln_post": ("audio_tower.layer_norm", f"{_MM}.whisper_encoder.transformer.norm"),
    "projector.linear_1": ("multi_modal_projector.linear_1", f"{_MM}.audio_language_projection.0"),
    "projector.linear_2": ("multi_modal_projector.linear_2", f"{_MM}.audio_language_projection.2"),
    "language.token_embedding": ("language_model.model.embed_tokens", f"{_MM}.tok_embeddings"),
    "language.norm": ("language_model.model.norm", "norm"),
    "language.output": ("language_model.lm_head", "output"),
}
_POSITIONS = "audio_tower.embed_positions.weight"
SPECIAL = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] "
    "<SPECIAL_20> <SPECIAL_21> <SPECIAL_22> <SPECIAL_23> [AUDIO] [BEGIN_AUDIO] <SPECIAL_26> <SPECIAL_27> <SPECIAL_28> "
    "<SPECIAL_29> <SPECIAL_30> <SPECIAL_31> <SPECIAL_32> <SPECIAL_33> [TRANSCRIBE] <SPECIAL_35>"
).split()
"""The first special tokens of the real models, under their ids."""
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = "lang en de fr es it nl pt hi the and one two three four five six seven eight nine ten was here said".split()
"""Each is one token of the small tokenizer, alone and after a space."""


def random_tensors(dims: VoxtralDims = DIMS, seed: int = 0) -> Tensors:
    """Return float32 that bfloat16 holds without loss, as large as keeps activations near 1."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(dims).items():
        values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:]) or 1), shape)
        is_gain = len(shape) == 1 and name.endswith(".weight")
        tensors[name] = _rounded(1 + 0.1 * values if is_gain else 0.1 * values if len(shape) == 1 else values)
    return tensors


def write_huggingface(
    directory: Path, tensors: Tensors, dims: VoxtralDims = DIMS, n_shards: int = 3, dtype: mx.Dtype = mx.bfloat16
) -> Path:
    """A Transformers directory, as `save_pretrained` leaves it: in one file or in shards."""
    write_json(directory / "config.json", config_of(dims))
    theirs = {huggingface_name(name): _torch_layout(name, tensor) for name, tensor in tensors.items()}
    theirs[_POSITIONS] = np.asarray(sinusoids(dims.n_audio_ctx, dims.n_audio_state))
    _save_shards(directory, {name: mx.array(each).astype(dtype) for name, each in theirs.items()}, n_shards)
    write_tekken(directory / "tekken.json", dims.n_vocab)
    return directory


def write_consolidated(directory: Path, tensors: Tensors, dims: VoxtralDims = DIMS) -> Path:
    """Mistral's own: rows of queries and keys are in pairs, and the encoder has no positions."""
    write_json(directory / "params.json", params_of(dims))
    theirs = {_name(name, 1): _pairs(name, _torch_layout(name, tensor), dims) for name, tensor in tensors.items()}
    arrays = {name: mx.array(each).astype(mx.bfloat16) for name, each in theirs.items()}
    mx.save_safetensors(str(directory / "consolidated.safetensors"), arrays)
    write_tekken(directory / "tekken.json", dims.n_vocab)
    return directory


def write_mlx(directory: Path, tensors: Tensors, dims: VoxtralDims = DIMS, bits: int = 4, group_size: int = 32) -> Path:
    """An mlx-community directory: all matrices quantised, but those of the attention of the first layer, in 8 bits."""
    more = {f"language_model.model.layers.0.self_attn.{each}_proj": {"group_size": 64, "bits": 8} for each in "qkv"}
    settings = {"group_size": group_size, "bits": bits} | more
    write_json(directory / "config.json", config_of(dims) | {"quantization": settings})
    arrays = dict[str, mx.array]()
    theirs = {huggingface_name(name): tensor for name, tensor in tensors.items()}
    theirs[_POSITIONS] = np.asarray(sinusoids(dims.n_audio_ctx, dims.n_audio_state))
    for name, tensor in theirs.items():
        module, array = name.removesuffix(".weight"), mx.array(tensor).astype(mx.bfloat16)
        if tensor.ndim != 2:
            arrays[name] = array
            continue
        packing = more.get(module, {"group_size": group_size, "bits": bits})
        parts = mx.quantize(array, packing["group_size"], packing["bits"])
        arrays |= {f"{module}.{part}": each for part, each in zip(("weight", "scales", "biases"), parts, strict=True)}
    _save_shards(directory, arrays, 1)
    write_tekken(directory / "tekken.json", dims.n_vocab)
    return directory


def write_zeros(directory: Path, dims: VoxtralDims, n_shards: int = 2) -> Path:
    """A Transformers directory of any size that takes no room on the disk: all weights are 0, in sparse files."""
    write_json(directory / "config.json", config_of(dims))
    shapes = {_name(name, 0): _torch_shape(name, shape) for name, shape in expected_shapes(dims).items()}
    names, where = sorted(shapes), dict[str, str]()
    for n in range(n_shards):
        file, at, header = f"model-{n + 1:05}-of-{n_shards:05}.safetensors", 0, dict[str, Any]()
        for name in names[n::n_shards]:
            end = at + 2 * math.prod(shapes[name])
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [at, end]}
            where[name], at = file, end
        written = json.dumps(header).encode()
        with (directory / file).open("wb") as stream:
            stream.write(len(written).to_bytes(8, "little") + written)
            stream.truncate(8 + len(written) + at)
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    write_tekken(directory / "tekken.json", min(dims.n_vocab, DIMS.n_vocab))
    return directory


def config_of(dims: VoxtralDims) -> dict[str, Any]:
    """Return what config.json says of a model."""
    audio = {
        "model_type": "voxtral_encoder",
        "activation_function": "gelu",
        "head_dim": dims.n_audio_state // dims.n_audio_head,
        "hidden_size": dims.n_audio_state,
        "intermediate_size": 4 * dims.n_audio_state,
        "max_source_positions": dims.n_audio_ctx,
        "num_attention_heads": dims.n_audio_head,
        "num_hidden_layers": dims.n_audio_layer,
        "num_key_value_heads": dims.n_audio_head,
        "num_mel_bins": dims.n_mels,
    }
    text = {
        "model_type": "llama",
        "head_dim": dims.head_dim,
        "hidden_act": "silu",
        "hidden_size": dims.n_text_state,
        "intermediate_size": dims.n_text_mlp,
        "max_position_embeddings": dims.n_text_ctx,
        "num_attention_heads": dims.n_text_head,
        "num_hidden_layers": dims.n_text_layer,
        "num_key_value_heads": dims.n_text_kv_head,
        "rms_norm_eps": dims.norm_eps,
        "rope_theta": dims.rope_theta,
        "tie_word_embeddings": dims.tied,
        "vocab_size": dims.n_vocab,
    }
    return {
        "architectures": ["VoxtralForConditionalGeneration"],
        "model_type": "voxtral",
        "audio_config": audio,
        "text_config": text,
        "audio_token_id": SPECIAL.index("[AUDIO]"),
        "hidden_size": dims.n_text_state,
        "projector_hidden_act": "gelu",
        "vocab_size": dims.n_vocab,
        "torch_dtype": "bfloat16",
    }


def params_of(dims: VoxtralDims) -> dict[str, Any]:
    """Return what Mistral's params.json says of a model."""
    encoder = {
        "audio_encoding_args": {
            "sampling_rate": 16000,
            "num_mel_bins": dims.n_mels,
            "hop_length": 160,
            "window_size": 400,
        },
        "dim": dims.n_audio_state,
        "n_layers": dims.n_audio_layer,
        "head_dim": dims.n_audio_state // dims.n_audio_head,
        "hidden_dim": 4 * dims.n_audio_state,
        "n_heads": dims.n_audio_head,
        "vocab_size": 51866,
        "max_source_positions": dims.n_audio_ctx,
    }
    return {
        "dim": dims.n_text_state,
        "n_layers": dims.n_text_layer,
        "head_dim": dims.head_dim,
        "hidden_dim": dims.n_text_mlp,
        "n_heads": dims.n_text_head,
        "n_kv_heads": dims.n_text_kv_head,
        "rope_theta": dims.rope_theta,
        "norm_eps": dims.norm_eps,
        "vocab_size": dims.n_vocab,
        "max_seq_len": dims.n_text_ctx,
        "multimodal": {
            "whisper_model_args": {
                "encoder_args": encoder,
                "downsample_args": {"downsample_factor": dims.downsample},
            }
        },
    }


def write_tekken(file: Path, n_vocab: int = DIMS.n_vocab, n_special: int = len(SPECIAL)) -> Path:
    """A tokenizer in Mistral's format: special tokens, the 256 bytes, the beginnings of `WORDS`, and unlikely pairs."""
    tokens = [bytes([byte]) for byte in range(256)]
    for word in WORDS:
        for whole in (word, f" {word}"):
            starts = (whole[:end].encode() for end in range(2, len(whole) + 1))
            tokens += [start for start in starts if start not in tokens]
    tokens += [bytes([first, second]) for first in range(128, 160) for second in range(192, 224)]
    tokens = tokens[: n_vocab - n_special]
    assert len(tokens) == n_vocab - n_special, "too many for the words that the tokenizer has"
    names = [*SPECIAL, *(f"<SPECIAL_{n}>" for n in range(len(SPECIAL), n_special))]
    content = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(tokens),
            "default_vocab_size": n_vocab,
            "default_num_special_tokens": n_special,
            "version": "v13",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": _text(token)}
            for rank, token in enumerate(tokens)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names[:n_special])
        ],
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    write_json(file, content)
    return file


def write_json(file: Path, values: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values))


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(mx.array(values.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32))


def huggingface_name(name: str) -> str:
    """Return what Hugging Face calls a tensor."""
    return _name(name, 0)


def _name(name: str, whose: int) -> str:
    """Return what Hugging Face (0) or Mistral (1) calls a tensor."""
    module, _, part = name.rpartition(".")
    if module in _ALONE:
        return f"{_ALONE[module][whose]}.{part}"
    room, _, number, inside = module.split(".", 3)
    if room == "encoder":
        start = ("audio_tower.layers", f"{_MM}.whisper_encoder.transformer.layers")[whose]
        return f"{start}.{number}.{_ENCODER[inside][whose]}.{part}"
    start = ("language_model.model.layers", "layers")[whose]
    return f"{start}.{number}.{_LANGUAGE[inside][whose]}.{part}"


def _torch_layout(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.swapaxes(1, 2)) if "conv" in name and tensor.ndim == 3 else tensor


def _torch_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[2], shape[1]) if "conv" in name and len(shape) == 3 else shape


def _pairs(name: str, tensor: NDArray[Any], dims: VoxtralDims) -> NDArray[Any]:
    """Put row i and row i + half of each head's queries and keys side by side."""
    if not name.startswith("language.") or not name.endswith(("attention.query.weight", "attention.key.weight")):
        return tensor
    half = dims.head_dim // 2
    order = [
        head * dims.head_dim + i + side * half
        for head in range(len(tensor) // dims.head_dim)
        for i in range(half)
        for side in (0, 1)
    ]
    return tensor[order]


def _save_shards(directory: Path, arrays: dict[str, mx.array], n_shards: int) -> None:
    names = sorted(arrays)
    if n_shards == 1:
        mx.save_safetensors(str(directory / "model.safetensors"), arrays)
        return
    where = dict[str, str]()
    for n in range(n_shards):
        file, mine = f"model-{n + 1:05}-of-{n_shards:05}.safetensors", names[n::n_shards]
        mx.save_safetensors(str(directory / file), {name: arrays[name] for name in mine})
        where |= dict.fromkeys(mine, file)
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
