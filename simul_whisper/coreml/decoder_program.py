"""Whisper's decoder as Core ML programs, written with coremltools' MIL builder from the weights themselves.

Three programs, audio, prefill and step, as `interface` has them. Self-attention is over the whole cache, so that every
shape is fixed: what was not written yet is masked. Caches are states where the target has them and inputs elsewhere.

The table of tokens is stored once, in rows: the lookup needs it so, and so `linear` takes it for the logits.
"""

from typing import Any, Protocol

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from simul_whisper.coreml import interface
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.layers import Layers, converted, product, split
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.model import Dims, Head, Tensors

# The program is written as it is to run. coremltools' other passes, which look for what other frameworks leave, take
# most of the time, and one of them merges reads of a state that was written in between.
_PASSES = (
    "common::const_elimination",
    "common::const_deduplication",
    "common::dedup_op_and_var_names",
    "common::dead_code_elimination",
)


def build(
    function: str,
    dims: Dims,
    tensors: Tensors,
    heads: tuple[Head, ...],
    conversion: Conversion,
    progress: ProgressHandler = silent,
) -> Any:
    """Return a coremltools MLModel of one function of the decoder, which nothing has loaded or compiled.

    function: AUDIO, PREFILL or STEP of `interface`, which says what each takes and gives. heads: the alignment heads.
    """
    network = _Network(dims, tensors, heads, conversion, progress)
    if function == interface.AUDIO:
        program = network.audio_program()
    else:
        program = network.text_program(function, interface.PREFILL_TOKENS if function == interface.PREFILL else 1)
    progress(Progress(Stage.CONVERTING, f"the program `{function}`"))
    return converted(program, conversion, progress, pass_pipeline=ct.PassPipeline(list(_PASSES)))


class _Caches(Protocol):
    """The keys and values of self-attention, where the program keeps them."""

    def joined(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Add the new tokens', (1, n, 1, C) and (1, C, 1, n), and return all of the layer's."""
        ...

    def outputs(self) -> list[Any]:
        """Return what the caller has to keep."""
        ...


class _Network:
    """Writes the decoder, op by op. Variables are MIL's, of shape (1, channels, 1, length) unless said otherwise."""

    def __init__(
        self, dims: Dims, tensors: Tensors, heads: tuple[Head, ...], conversion: Conversion, progress: ProgressHandler
    ) -> None:
        self._dims = dims
        self._heads = heads
        self._layers = Layers(tensors, conversion.precision)
        self._target = ct.target[conversion.target]
        self._has_states = conversion.has_states
        self._progress = progress
        self._n_frames = interface.padded_frames(dims)
        self._type = types.fp16 if conversion.precision == "float16" else types.fp32

    def audio_program(self) -> Any:
        """Return the MIL program that projects features. The names of its arguments become those of inputs."""
        features = mb.TensorSpec((1, self._n_frames, self._dims.n_audio_state), dtype=self._type)
        if not self._has_states:

            @mb.program(input_specs=[features], opset_version=self._target)  # type: ignore[untyped-decorator]
            def inputs(features: Any) -> Any:
                keys, values = zip(*self._projected(features), strict=True)
                return _stacked(keys, interface.AUDIO_KEYS), _stacked(values, interface.AUDIO_VALUES)

            return inputs

        @mb.program(input_specs=[features, *self._cache_specs()], opset_version=self._target)  # type: ignore[untyped-decorator]
        def states(features: Any, key_cache: Any, value_cache: Any, audio_keys: Any, audio_values: Any) -> Any:
            all_keys, all_values, written = _State(audio_keys), _State(audio_values), None
            for layer, (keys, values) in enumerate(self._projected(features)):
                all_keys.write_layer(layer, keys)
                written = all_values.write_layer(layer, values)
            for cache in (_State(key_cache), _State(value_cache)):
                empty = np.zeros((1, *cache.shape[1:]), self._layers.dtype)
                for layer in range(self._dims.n_text_layer):
                    cache.write_layer(layer, empty)
            return mb.slice_by_index(
                x=written, begin=[0] * 4, end=[1] * 4, squeeze_mask=[False, True, True, True], name=interface.READY
            )

        return states

    def text_program(self, name: str, n: int) -> Any:
        """Return the MIL program of that name that reads n tokens."""
        n_keys = self._dims.n_text_ctx if self._has_states else self._dims.n_text_ctx + n
        specs = [
            mb.TensorSpec((1, n), dtype=types.int32),
            mb.TensorSpec((1,), dtype=types.int32),
            mb.TensorSpec((1, n_keys, 1, n), dtype=self._type),
            mb.TensorSpec((1, self._n_frames, 1, 1), dtype=self._type),
            *self._cache_specs(),
        ]

        @mb.program(input_specs=specs, opset_version=self._target)  # type: ignore[untyped-decorator]
        def text(
            tokens: Any,
            position: Any,
            mask: Any,
            audio_mask: Any,
            key_cache: Any,
            value_cache: Any,
            audio_keys: Any,
            audio_values: Any,
        ) -> Any:
            audio, caches = (audio_keys, audio_values), self._caches(key_cache, value_cache, position, n)
            if self._has_states:
                audio = mb.read_state(input=audio_keys), mb.read_state(input=audio_values)
            table = mb.const(val=self._layers.constant("decoder.token_embedding.weight"))
            x = self._embedded(table, tokens, position, n)
            x, attention = self._blocks(x, name, (caches, mask), (audio, audio_mask))
            hidden = mb.transpose(x=mb.squeeze(x=self._layers.norm(x, "decoder.ln"), axes=[2]), perm=[0, 2, 1])
            return mb.linear(x=hidden, weight=table, name=interface.LOGITS), attention, *caches.outputs()

        return text

    def _blocks(self, x: Any, name: str, text: tuple[_Caches, Any], audio: tuple[tuple[Any, Any], Any]) -> Any:
        """text, audio: what is attended to, and its mask. Returns x, and the alignment heads' attention."""
        rows, n_layer = dict[Head, Any](), self._dims.n_text_layer
        (caches, mask), ((audio_keys, audio_values), audio_mask) = text, audio
        for layer in range(n_layer):
            self._progress(Progress(Stage.CONVERTING, f"the layers of `{name}`", layer, n_layer))
            x = mb.add(x=x, y=self._self_attention(x, layer, caches, mask))
            of_layer = _layer_of(audio_keys, layer), _layer_of(audio_values, layer)
            mixed, weights = self._cross_attention(x, layer, of_layer, audio_mask)
            x = mb.add(x=x, y=mixed)
            x = mb.add(x=x, y=self._feed_forward(x, f"decoder.blocks.{layer}"))
            rows |= {head: weights[head[1]] for head in self._heads if head[0] == layer}
        self._progress(Progress(Stage.CONVERTING, f"the layers of `{name}`", n_layer, n_layer))
        return x, mb.concat(values=[rows[head] for head in self._heads], axis=2, name=interface.ATTENTION)

    def _caches(self, key_cache: Any, value_cache: Any, position: Any, n: int) -> _Caches:
        return _States(key_cache, value_cache, position, n) if self._has_states else _Inputs(key_cache, value_cache)

    def _cache_specs(self) -> list[Any]:
        """Return the types of key_cache, value_cache, audio_keys and audio_values."""
        n_layer, n_state, n_tokens = self._dims.n_text_layer, self._dims.n_text_state, self._dims.n_text_ctx
        spec = mb.StateTensorSpec if self._has_states else mb.TensorSpec
        shapes = [
            shape for n in (n_tokens, self._n_frames) for shape in ((n_layer, n, 1, n_state), (n_layer, n_state, 1, n))
        ]
        return [spec(shape, dtype=self._type) for shape in shapes]

    def _projected(self, features: Any) -> list[tuple[Any, Any]]:
        """features: (1, N, n_audio_state). Returns keys (1, N, 1, C) and values (1, C, 1, N) for each layer."""
        x = mb.expand_dims(x=mb.transpose(x=features, perm=[0, 2, 1]), axes=[2])
        names = [f"decoder.blocks.{layer}.cross_attn" for layer in range(self._dims.n_text_layer)]
        return [(self._keys(x, name), self._layers.conv(x, f"{name}.value")) for name in names]

    def _embedded(self, table: Any, tokens: Any, position: Any, n: int) -> Any:
        """Return the sum of the embeddings of tokens and of their positions."""
        places = mb.add(x=position, y=np.arange(n, dtype=np.int32))
        positions = mb.gather(x=self._layers.constant("decoder.positional_embedding"), indices=places, axis=0)
        x = mb.add(x=mb.gather(x=table, indices=tokens, axis=0), y=positions)
        return mb.expand_dims(x=mb.transpose(x=x, perm=[0, 2, 1]), axes=[2])

    def _self_attention(self, x: Any, layer: int, caches: _Caches, mask: Any) -> Any:
        block = f"decoder.blocks.{layer}"
        name, x = f"{block}.attn", self._layers.norm(x, f"{block}.attn_ln")
        keys, values = caches.joined(layer, self._keys(x, name), self._layers.conv(x, f"{name}.value"))
        return self._attention(x, name, (keys, values), mask)[0]

    def _cross_attention(self, x: Any, layer: int, audio: tuple[Any, Any], mask: Any) -> tuple[Any, list[Any]]:
        block = f"decoder.blocks.{layer}"
        return self._attention(self._layers.norm(x, f"{block}.cross_attn_ln"), f"{block}.cross_attn", audio, mask)

    def _attention(self, x: Any, name: str, keys_values: tuple[Any, Any], mask: Any) -> tuple[Any, list[Any]]:
        """Return the output, and the weights of each head, (1, n_keys, 1, n)."""
        n_head = self._dims.n_text_head
        # The scale of the scores goes into the weights: exact, since it is a power of two for every Whisper.
        query = self._layers.conv(x, f"{name}.query", (self._dims.n_text_state // n_head) ** -0.5)
        keys, values = split(keys_values[0], n_head, axis=3), split(keys_values[1], n_head, axis=1)
        scores = [product(*each) for each in zip(keys, split(query, n_head, axis=1), strict=True)]
        weights = [mb.softmax(x=mb.add(x=each, y=mask), axis=1) for each in scores]
        mixed = [product(*each) for each in zip(values, weights, strict=True)]
        return self._layers.conv(mb.concat(values=mixed, axis=1), f"{name}.out"), weights

    def _feed_forward(self, x: Any, block: str) -> Any:
        wide = self._layers.gelu(self._layers.conv(self._layers.norm(x, f"{block}.mlp_ln"), f"{block}.mlp1"))
        return self._layers.conv(wide, f"{block}.mlp2")

    def _keys(self, x: Any, name: str) -> Any:
        """Return the keys as rows, (1, length, 1, channels)."""
        return mb.transpose(x=self._layers.conv(x, f"{name}.key"), perm=[0, 3, 2, 1])


class _State:
    """A state, (n_layers, ...), whose parts are written one after the other, each into what the last write left.

    Reading the state anew would be the same, but a pass of coremltools 9 takes all reads for one, the first.
    """

    def __init__(self, state: Any) -> None:
        self.shape = state.shape
        self._state = state
        self._content: Any = None

    def write(self, value: Any, begin: Any, end: Any) -> Any:
        """Replace what is from `begin` to `end`; returns the whole."""
        content = mb.read_state(input=self._state) if self._content is None else self._content
        new = mb.slice_update(x=content, update=value, begin=begin, end=end)
        self._content = mb.coreml_update_state(state=self._state, value=new)
        return self._content

    def write_layer(self, layer: int, value: Any) -> Any:
        """Replace all of one layer by (1, ...); returns the whole."""
        return self.write(value, [layer, 0, 0, 0], [layer + 1, *self.shape[1:]])


class _States:
    """Caches that are states: new keys and values are written in place, at the position of the tokens."""

    def __init__(self, key_cache: Any, value_cache: Any, position: Any, n: int) -> None:
        self._key_cache, self._value_cache = _State(key_cache), _State(value_cache)
        self._position, self._end = position, mb.add(x=position, y=np.array([n], np.int32))

    def joined(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        n_state = self._key_cache.shape[3]
        # One state after the other: a pass of coremltools 9 fails where both are read before both are updated.
        all_keys = self._key_cache.write(
            keys, _bounds([layer], self._position, [0, 0]), _bounds([layer + 1], self._end, [1, n_state])
        )
        all_values = self._value_cache.write(
            values, _bounds([layer, 0, 0], self._position), _bounds([layer + 1, n_state, 1], self._end)
        )
        return _layer_of(all_keys, layer), _layer_of(all_values, layer)

    def outputs(self) -> list[Any]:
        return []


class _Inputs:
    """Caches that are inputs: new keys and values come after those in them, and are outputs."""

    def __init__(self, key_cache: Any, value_cache: Any) -> None:
        self._key_cache, self._value_cache = key_cache, value_cache
        self._new: list[tuple[Any, Any]] = []

    def joined(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        self._new.append((keys, values))
        cached = _layer_of(self._key_cache, layer), _layer_of(self._value_cache, layer)
        return mb.concat(values=[cached[0], keys], axis=1), mb.concat(values=[cached[1], values], axis=3)

    def outputs(self) -> list[Any]:
        keys, values = zip(*self._new, strict=True)
        return [_stacked(keys, interface.NEW_KEYS), _stacked(values, interface.NEW_VALUES)]


def _bounds(*parts: Any) -> Any:
    """Return the places of a slice, made of lists and of variables of shape (1,)."""
    return mb.concat(values=[np.array(part, np.int32) if isinstance(part, list) else part for part in parts], axis=0)


def _layer_of(caches: Any, layer: int) -> Any:
    """Return what is one layer's of (n_layers, ...), as (1, ...)."""
    return mb.slice_by_index(x=caches, begin=[layer, 0, 0, 0], end=[layer + 1, *caches.shape[1:]])


def _stacked(layers: tuple[Any, ...], name: str) -> Any:
    """Return (n_layers, ...) made of a (1, ...) for each layer, as the output of this name."""
    return mb.concat(values=list(layers), axis=0, name=name)
