"""Whisper's encoder as a Core ML program, written with coremltools' MIL builder from the weights themselves.

A projector behind it, as Voxtral has one, is two convolutions more: joining n frames to one is a width and a step of n,
and needs no copy of memory.

Split attention is the default on every target. The fused operator of macOS 15 makes a smaller program, but at 1500
positions it has to be taken apart again for the Engine (coremltools has a pass that slices it), and it was not
measured; the split form is the one that whisper.cpp's and WhisperKit's packages run there.

Shorter windows are enumerated shapes, which Core ML compiles one by one, so that the lookup of the length can be
folded. Reports differ on whether the Engine keeps them (apple/coremltools issues 1909, 2370): hence `fixed`. Of a
`range` it runs the default shape alone, 30 s (Apple, forum thread 724930; measured in issue 2370).
"""

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import get_new_symbol, types

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.layers import Layers, converted, product, split
from simul_whisper.mel import HOPS_PER_FRAME
from simul_whisper.network import sinusoids
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.model import Dims, Tensors

INPUT, OUTPUT = "logmel_data", "output"


def window_hops(dims: Dims) -> tuple[int, ...]:
    """Return the lengths of mel that an encoder takes, the default and longest last: 5, 10, 15, 20 and 30 s."""
    return tuple(2 * dims.n_audio_ctx * sixths // 6 for sixths in (1, 2, 3, 4, 6))


def build(
    dims: Dims,
    tensors: Tensors,
    conversion: Conversion,
    progress: ProgressHandler = silent,
    projection: Projection | None = None,
) -> Any:
    """Return a coremltools MLModel of the encoder, which nothing has loaded or compiled.

    It takes `logmel_data`, float32 (1, n_mels, n_hops), and gives `output`, float32 (1, n_hops / 2, n_audio_state);
    with a projection, for which shapes are fixed, (1, n_audio_ctx / n_joined, width).
    """
    assert projection is None or conversion.shapes == "fixed"
    program = _Network(dims, tensors, conversion, progress, projection).program()
    progress(Progress(Stage.CONVERTING, "the encoder"))
    return converted(
        program,
        conversion,
        progress,
        inputs=[ct.TensorType(name=INPUT, shape=_input_shape(dims, conversion), dtype=np.float32)],
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
    )


def _input_shape(dims: Dims, conversion: Conversion) -> Any:
    """Return what coremltools takes for the shape; the default is the longest window."""
    *shorter, longest = ((1, dims.n_mels, n_hops) for n_hops in window_hops(dims))
    if conversion.shapes == "enumerated":
        return ct.EnumeratedShapes([*shorter, longest], default=longest)
    if conversion.shapes == "range":
        return ct.Shape((1, dims.n_mels, ct.RangeDim(HOPS_PER_FRAME, longest[-1], default=longest[-1])))
    return longest


class _Network:
    """Writes the encoder, op by op. Variables are MIL's, of shape (1, channels, 1, length) unless said otherwise."""

    def __init__(
        self,
        dims: Dims,
        tensors: Tensors,
        conversion: Conversion,
        progress: ProgressHandler,
        projection: Projection | None,
    ) -> None:
        self._dims, self._projection = dims, projection
        self._layers = Layers(tensors, conversion.precision)
        self._conversion = conversion
        self._progress = progress

    def program(self) -> Any:
        """Return the MIL program."""
        longest = window_hops(self._dims)[-1]
        n_hops = longest if self._conversion.shapes == "fixed" else get_new_symbol()
        spec = mb.TensorSpec((1, self._dims.n_mels, n_hops), dtype=types.fp32)
        target = ct.target[self._conversion.target]

        # The argument's name becomes that of the program's input.
        @mb.program(input_specs=[spec], opset_version=target)  # type: ignore[untyped-decorator]
        def encoder(logmel_data: Any) -> Any:
            return self._encoder(logmel_data)

        return encoder

    def _encoder(self, mel: Any) -> Any:
        """mel: (1, n_mels, n_hops). Returns (1, n_hops / 2, n_audio_state), or what the projection makes of it."""
        half = self._conversion.precision == "float16"
        x = mb.expand_dims(x=mb.cast(x=mel, dtype="fp16") if half else mel, axes=[2])
        x = self._layers.gelu(self._layers.conv(x, "encoder.conv1", pad_type="custom", pad=[0, 0, 1, 1]))
        x = self._layers.gelu(
            self._layers.conv(x, "encoder.conv2", pad_type="custom", pad=[0, 0, 1, 1], strides=[1, 2])
        )
        x = mb.add(x=x, y=self._positions(x))
        for layer in range(self._dims.n_audio_layer):
            self._progress(Progress(Stage.CONVERTING, "the layers", layer, self._dims.n_audio_layer))
            x = self._block(x, f"encoder.blocks.{layer}")
        self._progress(Progress(Stage.CONVERTING, "the layers", self._dims.n_audio_layer, self._dims.n_audio_layer))
        x = self._layers.norm(x, "encoder.ln_post")
        if self._projection:
            x = self._projected(x, self._projection.n_joined)
        x = mb.squeeze(x=x, axes=[2])
        if half:
            return mb.cast(x=mb.transpose(x=x, perm=[0, 2, 1]), dtype="fp32", name=OUTPUT)
        return mb.transpose(x=x, perm=[0, 2, 1], name=OUTPUT)

    def _projected(self, x: Any, n_joined: int) -> Any:
        x = self._layers.gelu(self._layers.joining(x, "projector.linear_1", n_joined))
        return self._layers.conv(x, "projector.linear_2")

    def _positions(self, x: Any) -> Any:
        """Return the positional embedding, as long as x."""
        table = np.array(sinusoids(self._dims.n_audio_ctx, self._dims.n_audio_state))
        table = table.T[None, :, None, :].astype(self._layers.dtype)
        if self._conversion.shapes == "fixed":
            return table
        # The one place where the length is looked at. Masks keep the other dimensions known to later ops.
        whole = [True, True, True, False]
        return mb.slice_by_index(x=table, begin=[0, 0, 0, 0], end=mb.shape(x=x), end_mask=whole)

    def _block(self, x: Any, name: str) -> Any:
        x = mb.add(x=x, y=self._attention(self._layers.norm(x, f"{name}.attn_ln"), f"{name}.attn"))
        wide = self._layers.gelu(self._layers.conv(self._layers.norm(x, f"{name}.mlp_ln"), f"{name}.mlp1"))
        return mb.add(x=x, y=self._layers.conv(wide, f"{name}.mlp2"))

    def _attention(self, x: Any, name: str) -> Any:
        key, value = self._layers.conv(x, f"{name}.key"), self._layers.conv(x, f"{name}.value")
        if self._conversion.attention == "fused":
            mixed = self._fused_attention(self._layers.conv(x, f"{name}.query"), key, value)
        else:
            # The scale of the scores goes into the weights: exact, since it is a power of two for every Whisper.
            scale = (self._dims.n_audio_state // self._dims.n_audio_head) ** -0.5
            mixed = self._split_attention(self._layers.conv(x, f"{name}.query", scale), key, value)
        return self._layers.conv(mixed, f"{name}.out")

    def _split_attention(self, query: Any, key: Any, value: Any) -> Any:
        """Mix values by head. Scores are (1, n_keys, 1, n_queries), softmax over the second axis."""
        n_head = self._dims.n_audio_head
        keys = split(mb.transpose(x=key, perm=[0, 3, 2, 1]), n_head, axis=3)
        heads = zip(split(query, n_head, axis=1), keys, split(value, n_head, axis=1), strict=True)
        mixed = []
        for head_query, head_key, head_value in heads:
            weights = mb.softmax(x=product(head_key, head_query), axis=1)
            mixed.append(product(head_value, weights))
        return mb.concat(values=mixed, axis=1)

    def _fused_attention(self, query: Any, key: Any, value: Any) -> Any:
        """Mix values with macOS 15's operator, on (1, n_head, length, head_dim); it scales the scores itself."""
        n_state, n_head = self._dims.n_audio_state, self._dims.n_audio_head
        query, key, value = (
            mb.transpose(x=mb.reshape(x=each, shape=[1, n_head, n_state // n_head, -1]), perm=[0, 1, 3, 2])
            for each in (query, key, value)
        )
        mixed = mb.scaled_dot_product_attention(query=query, key=key, value=value)
        return mb.reshape(x=mb.transpose(x=mixed, perm=[0, 1, 3, 2]), shape=[1, n_state, 1, -1])
