"""The encoder in CTranslate2: the fastest on x86 and NVIDIA.

CTranslate2 loads whole models only, so the encoder is written, in its format, beside a decoder of one tiny layer that
never runs. So it takes weights of any format, and no memory for a second decoder.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import WhisperSpec
from numpy.typing import NDArray

from simul_whisper.encoders import MOST_TOGETHER, Features
from simul_whisper.errors import BackendError
from simul_whisper.machine import processor_words, reuse_large_blocks
from simul_whisper.mel import Mel
from simul_whisper.weights.mapped import give_back
from simul_whisper.weights.model import Tensors, Weights

_AMD_AVX512 = {"AuthenticAMD", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
_STUB_STATE = 64
_STUB_VOCABULARY = ["<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>", "<|notimestamps|>"]


class CTranslate2Encoder:
    """Whisper's encoder; int8 on the CPU and float16 on a GPU unless told otherwise."""

    def __init__(self, weights: Weights, compute_type: str = "auto") -> None:
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        if compute_type == "auto":
            compute_type = "float16" if device == "cuda" else "int8"
        if device == "cpu":
            reuse_large_blocks()
            _use_avx512()
        with tempfile.TemporaryDirectory(prefix="simul-whisper-") as directory:
            spec = _encoder_spec(weights)
            spec.register_vocabulary(_STUB_VOCABULARY)
            spec.validate()
            spec.save(directory)
            del spec
            for name in weights.tensors:
                give_back(weights.tensors[name])
            try:
                self._model = ctranslate2.models.Whisper(directory, device=device, compute_type=compute_type)
            except (RuntimeError, ValueError) as error:
                raise BackendError(
                    f"ctranslate2 cannot load the encoder as {compute_type} on {device}: {error}"
                ) from error
        self.most_together = MOST_TOGETHER if device == "cuda" else 1
        self.description = f"ctranslate2 ({compute_type}, {device})"

    def encode(self, mel: Mel) -> Features:
        return self.encode_together([mel])[0]

    def encode_together(self, mels: Sequence[Mel]) -> list[Features]:
        columns = ctranslate2.StorageView.from_array(np.stack([mel.columns for mel in mels]))
        features = np.array(self._model.encode(columns, to_cpu=True)).astype(np.float32, copy=False)
        return list(features)


def _use_avx512() -> None:
    """Let CTranslate2 use AVX-512 on AMD's processors, which encode a tenth faster so; it never does by itself.

    It asks once in a process, when the first model is loaded.
    """
    if processor_words() >= _AMD_AVX512:
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def _encoder_spec(weights: Weights) -> Any:
    dims, tensors = weights.dims, weights.tensors
    spec = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, 1, 1)
    for conv, name in ((spec.encoder.conv1, "conv1"), (spec.encoder.conv2, "conv2")):
        conv.weight = np.ascontiguousarray(tensors[f"encoder.{name}.weight"].swapaxes(1, 2))
        conv.bias = tensors[f"encoder.{name}.bias"]
    spec.encoder.position_encodings.encodings = _sinusoids(dims.n_audio_ctx, dims.n_audio_state)
    _fill_norm(spec.encoder.layer_norm, tensors, "encoder.ln_post")
    for index, layer in enumerate(spec.encoder.layer):
        _fill_layer(layer, tensors, f"encoder.blocks.{index}")
    for part in _unset_parts(spec.decoder):
        _fill_stub(part)
    spec.decoder.embeddings.weight = np.zeros((len(_STUB_VOCABULARY), _STUB_STATE), np.float32)
    spec.decoder.projection.weight = np.zeros((len(_STUB_VOCABULARY), _STUB_STATE), np.float32)
    spec.decoder.position_encodings.encodings = np.zeros((8, _STUB_STATE), np.float32)
    return spec


def _fill_layer(layer: Any, tensors: Tensors, block: str) -> None:
    attention = layer.self_attention
    # One product for queries, keys and values; the keys have no bias.
    attention.linear[0].weight = np.concatenate(
        [tensors[f"{block}.attn.{x}.weight"] for x in ("query", "key", "value")]
    )
    query_bias, value_bias = tensors[f"{block}.attn.query.bias"], tensors[f"{block}.attn.value.bias"]
    attention.linear[0].bias = np.concatenate([query_bias, np.zeros_like(query_bias), value_bias])
    _fill_linear(attention.linear[1], tensors, f"{block}.attn.out")
    _fill_norm(attention.layer_norm, tensors, f"{block}.attn_ln")
    _fill_linear(layer.ffn.linear_0, tensors, f"{block}.mlp1")
    _fill_linear(layer.ffn.linear_1, tensors, f"{block}.mlp2")
    _fill_norm(layer.ffn.layer_norm, tensors, f"{block}.mlp_ln")


def _fill_linear(linear: Any, tensors: Tensors, name: str) -> None:
    linear.weight, linear.bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _fill_norm(norm: Any, tensors: Tensors, name: str) -> None:
    norm.gamma, norm.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _unset_parts(decoder: Any) -> Iterator[tuple[Any, int, int]]:
    """Yield (part, rows, columns) for all linear layers and norms of the stub; a norm has no columns."""
    layer, n = decoder.layer[0], _STUB_STATE
    yield decoder.layer_norm, n, 0
    for block in (layer.self_attention, layer.attention, layer.ffn):
        yield block.layer_norm, n, 0
    yield from ((layer.self_attention.linear[0], 3 * n, n), (layer.self_attention.linear[1], n, n))
    yield from ((layer.attention.linear[i], rows, n) for i, rows in enumerate((n, 2 * n, n)))
    yield from ((layer.ffn.linear_0, 4 * n, n), (layer.ffn.linear_1, n, 4 * n))


def _fill_stub(part: tuple[Any, int, int]) -> None:
    module, rows, columns = part
    if columns:
        module.weight, module.bias = np.zeros((rows, columns), np.float32), np.zeros(rows, np.float32)
    else:
        module.gamma, module.beta = np.ones(rows, np.float32), np.zeros(rows, np.float32)


def _sinusoids(length: int, channels: int) -> NDArray[np.float32]:
    scale = np.exp(-np.log(10_000) / (channels // 2 - 1) * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * scale[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
