"""Write a small random model in each of the layouts, with the tools that write real ones."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ctranslate2.specs
import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.weights import Dims, Head, expected_shapes

DIMS = Dims(
    n_mels=4,
    n_audio_ctx=6,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=50,
    n_text_ctx=5,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=3,
)
HEADS: tuple[Head, ...] = ((0, 1), (2, 0))
Tensors = dict[str, NDArray[Any]]

_THEIRS = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp1": "fc1",
    "mlp2": "fc2",
    "mlp_ln": "final_layer_norm",
    "encoder.ln_post": "encoder.layer_norm",
    "decoder.ln": "decoder.layer_norm",
    "decoder.token_embedding": "decoder.embed_tokens",
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
}


def random_tensors(dims: Dims = DIMS, dtype: str = "float16") -> Tensors:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(dtype) for name, shape in expected_shapes(dims).items()}


def positions(dims: Dims) -> NDArray[np.float32]:
    """The encoder's sinusoids, written out: sines, then cosines."""
    half = dims.n_audio_state // 2
    rows = [[t / 10000 ** (i / (half - 1)) for i in range(half)] for t in range(dims.n_audio_ctx)]
    return np.concatenate([np.sin(rows), np.cos(rows)], axis=1).astype(np.float32)


def write_json(file: Path, values: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values))


def write_huggingface(
    directory: Path,
    tensors: Tensors,
    dims: Dims = DIMS,
    *,
    heads: Iterable[Head] | None = HEADS,
    prefix: str = "model.",
    dtype: mx.Dtype = mx.float16,
    n_shards: int = 1,
) -> Path:
    """A Transformers directory, as `save_pretrained` leaves it."""
    write_json(
        directory / "config.json",
        {
            "model_type": "whisper",
            "num_mel_bins": dims.n_mels,
            "max_source_positions": dims.n_audio_ctx,
            "d_model": dims.n_audio_state,
            "encoder_attention_heads": dims.n_audio_head,
            "encoder_layers": dims.n_audio_layer,
            "vocab_size": dims.n_vocab,
            "max_target_positions": dims.n_text_ctx,
            "decoder_attention_heads": dims.n_text_head,
            "decoder_layers": dims.n_text_layer,
        },
    )
    if heads is not None:
        write_json(directory / "generation_config.json", {"alignment_heads": list(heads)})
    (directory / "tokenizer.json").write_text("{}")
    theirs = {f"{prefix}{_huggingface_name(name)}": _channels_first(name, value) for name, value in tensors.items()}
    theirs[f"{prefix}encoder.embed_positions.weight"] = positions(dims)
    theirs["proj_out.weight"] = tensors["decoder.token_embedding.weight"]
    arrays = {name: mx.array(value).astype(dtype) for name, value in theirs.items()}
    if n_shards == 1:
        mx.save_safetensors(str(directory / "model.safetensors"), arrays)
    else:
        _write_shards(directory, arrays, n_shards)
    return directory


def _write_shards(directory: Path, arrays: dict[str, mx.array], n_shards: int) -> None:
    file_of = {
        name: f"model-{i % n_shards + 1:05}-of-{n_shards:05}.safetensors" for i, name in enumerate(sorted(arrays))
    }
    for file in set(file_of.values()):
        mx.save_safetensors(str(directory / file), {name: arrays[name] for name in arrays if file_of[name] == file})
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": file_of})


def _huggingface_name(name: str) -> str:
    if name == "decoder.positional_embedding":
        return "decoder.embed_positions.weight"
    layer, _, attribute = name.rpartition(".")
    parts = layer.split(".", 3)
    if parts[1] != "blocks":
        return f"{_THEIRS[layer]}.{attribute}"
    return f"{parts[0]}.layers.{parts[2]}.{_THEIRS[parts[3]]}.{attribute}"


def _channels_first(name: str, value: NDArray[Any]) -> NDArray[Any]:
    return value.swapaxes(1, 2).copy() if "conv" in name and value.ndim == 3 else value


def write_mlx(
    directory: Path,
    tensors: Tensors,
    dims: Dims = DIMS,
    *,
    heads: Iterable[Head] | None = HEADS,
    file: str = "weights.npz",
    bits: int | None = None,
) -> Path:
    """An mlx-community directory; `bits`: with its matrices quantised in groups of 32."""
    arrays = {name: mx.array(value) for name, value in tensors.items()}
    config: dict[str, Any] = {"model_type": "whisper", **vars(dims)}
    if bits:
        config["quantization"] = {"group_size": 32, "bits": bits}
        for name in [name for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 2]:
            layer = name.removesuffix(".weight")
            packed = mx.quantize(arrays[name], group_size=32, bits=bits)
            arrays |= zip((name, f"{layer}.scales", f"{layer}.biases"), packed, strict=True)
    if heads is not None:
        arrays["alignment_heads"] = mx.array(list(heads))
    write_json(directory / "config.json", config)
    (directory / "tokenizer.json").write_text("{}")
    if file.endswith(".npz"):
        mx.savez(str(directory / file), **arrays)
    else:
        mx.save_safetensors(str(directory / file), arrays)
    return directory


def write_ctranslate2(
    directory: Path,
    tensors: Tensors,
    dims: Dims = DIMS,
    *,
    heads: Iterable[Head] | None = HEADS,
    quantization: str | None = None,
) -> Path:
    """A faster-whisper directory, written by CTranslate2 itself."""
    spec = ctranslate2.specs.WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for conv in ("conv1", "conv2"):
        _set_linear(getattr(spec.encoder, conv), tensors, f"encoder.{conv}")
        getattr(spec.encoder, conv).weight = _channels_first("conv", tensors[f"encoder.{conv}.weight"])
    spec.encoder.position_encodings.encodings = positions(dims).astype(np.float16)
    _set_norm(spec.encoder.layer_norm, tensors, "encoder.ln_post")
    spec.decoder.embeddings.weight = tensors["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = tensors["decoder.token_embedding.weight"]
    spec.decoder.position_encodings.encodings = tensors["decoder.positional_embedding"]
    _set_norm(spec.decoder.layer_norm, tensors, "decoder.ln")
    for side, n_layers in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        for n in range(n_layers):
            _set_block(getattr(spec, side).layer[n], tensors, f"{side}.blocks.{n}", cross=side == "decoder")
    spec.register_vocabulary([str(token) for token in range(dims.n_vocab)])
    spec.config.alignment_heads = None if heads is None else list(heads)
    spec.validate()
    spec.optimize(quantization)
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))
    (directory / "tokenizer.json").write_text("{}")
    return directory


def _set_block(layer: Any, tensors: Tensors, block: str, *, cross: bool) -> None:
    _set_norm(layer.self_attention.layer_norm, tensors, f"{block}.attn_ln")
    _set_linear(
        layer.self_attention.linear[0], tensors, *(f"{block}.attn.{part}" for part in ("query", "key", "value"))
    )
    _set_linear(layer.self_attention.linear[1], tensors, f"{block}.attn.out")
    if cross:
        _set_norm(layer.attention.layer_norm, tensors, f"{block}.cross_attn_ln")
        _set_linear(layer.attention.linear[0], tensors, f"{block}.cross_attn.query")
        _set_linear(layer.attention.linear[1], tensors, f"{block}.cross_attn.key", f"{block}.cross_attn.value")
        _set_linear(layer.attention.linear[2], tensors, f"{block}.cross_attn.out")
    _set_norm(layer.ffn.layer_norm, tensors, f"{block}.mlp_ln")
    _set_linear(layer.ffn.linear_0, tensors, f"{block}.mlp1")
    _set_linear(layer.ffn.linear_1, tensors, f"{block}.mlp2")


def _set_linear(spec: Any, tensors: Tensors, *names: str) -> None:
    weights = [tensors[f"{name}.weight"] for name in names]
    biases = [tensors.get(f"{name}.bias", np.zeros(len(weights[0]), weights[0].dtype)) for name in names]
    spec.weight, spec.bias = np.concatenate(weights), np.concatenate(biases)


def _set_norm(spec: Any, tensors: Tensors, name: str) -> None:
    spec.gamma, spec.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
