"""A stand-in for WhisperKit's TextDecoder, with its names and shapes, from any weights; needs coremltools.

One token a prediction. Caches are inputs, mixed with the newest key and value by a one-hot mask; keys and values of the
audio are made anew each time; `alignment_heads_weights` is the mean over the alignment heads.
"""

import json
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import Feature, describe
from simul_whisper.coreml.layers import Layers, converted, discard, product, split
from simul_whisper.progress import silent
from simul_whisper.weights import Head, Weights

_CONVERSION = Conversion()


def save_text_decoder(weights: Weights, path: Path, n_positions: int = 224, *, tells_attention: bool = True) -> Path:
    """Write `path`, an .mlpackage; without the attention, as some that were published."""
    dims = weights.dims
    caches = (1, dims.n_text_state * dims.n_text_layer, 1, n_positions)
    specs = [
        mb.TensorSpec((1,), types.int32),
        mb.TensorSpec((1,), types.int32),
        mb.TensorSpec(caches, types.fp16),
        mb.TensorSpec(caches, types.fp16),
        mb.TensorSpec((1, n_positions), types.fp16),
        mb.TensorSpec((1, dims.n_audio_state, 1, dims.n_audio_ctx), types.fp16),
        mb.TensorSpec((1, n_positions), types.fp16),
    ]
    network = _TextDecoder(weights)

    @mb.program(input_specs=specs, opset_version=ct.target[_CONVERSION.target])  # type: ignore[untyped-decorator]
    def text_decoder(
        input_ids: Any,
        cache_length: Any,
        key_cache: Any,
        value_cache: Any,
        kv_cache_update_mask: Any,
        encoder_output_embeds: Any,
        decoder_key_padding_mask: Any,
    ) -> Any:
        newest = mb.expand_dims(x=kv_cache_update_mask, axes=[1, 2])
        hidden = mb.expand_dims(x=decoder_key_padding_mask, axes=[2, 3])
        caches = key_cache, value_cache, newest, hidden
        found = network.run(input_ids, cache_length, caches, encoder_output_embeds)
        return found if tells_attention else found[:3]

    model = converted(text_decoder, _CONVERSION, silent)
    model.save(str(path))
    discard(model)
    return path


def as_compiled(package: Path) -> Path:
    """Write what Apple's compiler says of a package into an .mlmodelc beside it, and return that."""
    described, compiled = describe(package), package.with_suffix(".mlmodelc")
    compiled.mkdir()
    schemas = {
        "inputSchema": [_schema(each) for each in described.inputs],
        "outputSchema": [_schema(each) for each in described.outputs],
    }
    said = {"computePrecision": "Mixed (Float16, Int32)", "generatedClassName": package.stem, **schemas}
    (compiled / "metadata.json").write_text(json.dumps([said]))
    return compiled


def _schema(feature: Feature) -> dict[str, str]:
    [shape], dtype = feature.shapes or ((),), feature.dtype.capitalize()
    return {
        "hasShapeFlexibility": "0",
        "isOptional": "0",
        "dataType": dtype,
        "formattedType": f"MultiArray ({dtype} {' x '.join(map(str, shape))})",
        "shortDescription": "",
        "shape": str(list(shape)),
        "name": feature.name,
        "type": "MultiArray",
    }


class _TextDecoder:
    """Variables are MIL's, of shape (1, channels, 1, length) unless said otherwise."""

    def __init__(self, weights: Weights) -> None:
        self._dims, self._heads = weights.dims, weights.alignment_heads
        self._layers = Layers(weights.tensors, "float16")

    def run(self, token: Any, position: Any, caches: tuple[Any, Any, Any, Any], audio: Any) -> tuple[Any, ...]:
        """token, position: (1,)."""
        key_cache, value_cache, newest, hidden = caches
        table = mb.const(val=self._layers.constant("decoder.token_embedding.weight"))
        places = mb.const(val=self._layers.constant("decoder.positional_embedding"))
        x = mb.add(x=mb.gather(x=table, indices=token, axis=0), y=mb.gather(x=places, indices=position, axis=0))
        x = mb.expand_dims(x=x, axes=[2, 3])
        new_keys, new_values, looks = list[Any](), list[Any](), dict[Head, Any]()
        n_layers = self._dims.n_text_layer
        cached = zip(split(key_cache, n_layers, axis=1), split(value_cache, n_layers, axis=1), strict=True)
        for layer, (old_keys, old_values) in enumerate(cached):
            block = f"decoder.blocks.{layer}"
            normed = self._layers.norm(x, f"{block}.attn_ln")
            key, value = (
                self._layers.conv(normed, f"{block}.attn.key"),
                self._layers.conv(normed, f"{block}.attn.value"),
            )
            new_keys.append(key)
            new_values.append(value)
            keys, values = _blended(old_keys, key, newest), _blended(old_values, value, newest)
            mixed, _ = self._attention(normed, f"{block}.attn", keys, values, hidden)
            x = mb.add(x=x, y=mixed)
            keys, values = (self._layers.conv(audio, f"{block}.cross_attn.{each}") for each in ("key", "value"))
            normed = self._layers.norm(x, f"{block}.cross_attn_ln")
            mixed, weights = self._attention(normed, f"{block}.cross_attn", keys, values)
            looks |= {(layer, head): row for head, row in enumerate(weights)}
            x = mb.add(x=x, y=mixed)
            wide = self._layers.gelu(self._layers.conv(self._layers.norm(x, f"{block}.mlp_ln"), f"{block}.mlp1"))
            x = mb.add(x=x, y=self._layers.conv(wide, f"{block}.mlp2"))
        x = mb.transpose(x=mb.squeeze(x=self._layers.norm(x, "decoder.ln"), axes=[2]), perm=[0, 2, 1])
        rows = mb.squeeze(x=mb.concat(values=[looks[head] for head in self._heads], axis=2), axes=[3])
        return (
            mb.linear(x=x, weight=table, name="logits"),
            mb.concat(values=new_keys, axis=1, name="key_cache_updates"),
            mb.concat(values=new_values, axis=1, name="value_cache_updates"),
            mb.reduce_mean(x=rows, axes=[2], keep_dims=False, name="alignment_heads_weights"),
        )

    def _attention(self, x: Any, name: str, keys: Any, values: Any, mask: Any = None) -> tuple[Any, list[Any]]:
        """mask: (1, n_keys, 1, 1). Returns what is mixed, and the weights of each head, (1, n_keys, 1, 1)."""
        n_head = self._dims.n_text_head
        query = self._layers.conv(x, f"{name}.query", (self._dims.n_text_state // n_head) ** -0.5)
        by_head = split(mb.transpose(x=keys, perm=[0, 3, 2, 1]), n_head, axis=3)
        mixed, weights = [], []
        for head_query, head_keys, head_values in zip(
            split(query, n_head, axis=1), by_head, split(values, n_head, axis=1), strict=True
        ):
            scores = product(head_keys, head_query)
            weights.append(mb.softmax(x=scores if mask is None else mb.add(x=scores, y=mask), axis=1))
            mixed.append(product(head_values, weights[-1]))
        return self._layers.conv(mb.concat(values=mixed, axis=1), f"{name}.out"), weights


def _blended(cache: Any, new: Any, newest: Any) -> Any:
    """newest: (1, 1, 1, n_positions), 1 where the new column goes."""
    kept = mb.mul(x=cache, y=mb.sub(x=np.float16(1), y=newest))
    return mb.add(x=kept, y=mb.mul(x=new, y=newest))
