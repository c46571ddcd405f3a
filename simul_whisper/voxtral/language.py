"""Voxtral's language model in MLX: NumPy in, NumPy out, as decoders have it."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from simul_whisper.blas import mx
from simul_whisper.decoders import Step
from simul_whisper.encoders import Features
from simul_whisper.errors import BackendError
from simul_whisper.network import Cache
from simul_whisper.parameters import resolved_device
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.loading import Numbers, fill, widths_that_do_not_pack
from simul_whisper.voxtral.network import Language
from simul_whisper.voxtral.settings import Packing
from simul_whisper.weights.model import Head

_PACKINGS = {"int8": Packing(64, 8), "int4": Packing(64, 4)}
# What is read at once of a prompt: an hour of audio has 45,000 positions.
AT_ONCE = 512


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it writes. features: (n_audio, n_text_state), of one window or of several."""

    before: Sequence[int]
    features: Features
    after: Sequence[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.features) + len(self.after)


@dataclass
class Text:
    """What was read so far, in one or several beams. n_prompt: positions before the first token after the prompt.

    audio: those of the audio in it.
    """

    caches: list[Cache]
    n_prompt: int
    audio: slice
    n_beams: int = 1

    @property
    def length(self) -> int:
        """Tokens after the prompt."""
        return self.caches[0].length - self.n_prompt


class MlxLanguage:
    """The Llama of Voxtral.

    quantization: `auto` takes weights as they are stored, in bfloat16 on a GPU and float32 on the CPU, packed ones
    packed; `float16` unpacks them; `int8` and `int4` pack those that are not; `fastest` is int8 on a GPU, else auto.
    heads: whose attention is handed out. Raises BackendError.
    """

    def __init__(
        self,
        weights: VoxtralWeights,
        device: str = "auto",
        quantization: str = "auto",
        heads: tuple[Head, ...] = (),
        *,
        fallback_to_float16: bool = True,
    ) -> None:
        self.device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if self.device == "gpu" else mx.cpu)
        if quantization == "fastest":
            quantization = "int8" if self.device == "gpu" else "auto"
        self._heads, self.dims = heads, weights.dims
        with mx.stream(self._mx_device):
            self._network = Language(weights.dims)
            packing = _PACKINGS.get(quantization)
            widths = widths_that_do_not_pack(self._network, packing) if packing else ""
            if widths and not fallback_to_float16:
                raise BackendError(f"{weights.name} cannot be {quantization}: {widths} are no multiples of 64")
            self._dtype = mx.float32 if self.device == "cpu" else mx.bfloat16
            if quantization == "float16" and self.device == "gpu":
                self._dtype = mx.float16
            numbers = Numbers(self._dtype, None if widths else packing, unpacks=quantization == "float16")
            fill(self._network, weights, "language.", numbers)
        instead = f", not {quantization}: {widths} are no multiples of 64" if widths else ""
        self.description = f"mlx ({_described(weights, numbers)}{instead}, {self.device})"

    @property
    def position_bytes(self) -> int:
        """What keys and values of one position take in memory."""
        dims = self.dims
        return 2 * dims.n_text_layer * dims.n_text_kv_head * dims.head_dim * self._dtype.size

    def looking(self, heads: tuple[Head, ...]) -> "MlxLanguage":
        """Return the same model, handing out the attention of other heads."""
        other = copy(self)
        other._heads = heads
        return other

    def begin(self, prompt: Prompt) -> Text:
        """Read a prompt. Raises BackendError when the model cannot read so much."""
        self._check_room(len(prompt))
        n_before, n_audio = len(prompt.before), len(prompt.features)
        with mx.stream(self._mx_device):
            caches = self._network.caches()
            features = mx.array(prompt.features).astype(self._dtype)
            positions = mx.concatenate([self._embedded(prompt.before), features, self._embedded(prompt.after)])[None]
            for start in range(0, len(prompt), AT_ONCE):
                # What it makes of them is in the caches.
                mx.eval(self._network(positions[:, start : start + AT_ONCE], caches)[0])
        return Text(caches, len(prompt), slice(n_before, n_before + n_audio))

    def step(self, text: Text, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        """As a decoder; attention is over the positions of audio, and what each head leaves for text is not in it.

        Raises BackendError when the model cannot read so much.
        """
        self._check_room(text.n_prompt + text.length + len(tokens[0]))
        if len(tokens) != text.n_beams:
            assert text.length == 0
            self.select(text, [0] * len(tokens))
        with mx.stream(self._mx_device):
            embedded = self._network.embed(mx.array([list(beam) for beam in tokens]))
            hidden, looks = self._network(embedded, text.caches, self._heads)
            logits = self._network.logits(hidden[:, mx.array([place % len(tokens[0]) for place in logits_at])])
            attention = [each[..., text.audio].astype(mx.float32) for each in looks]
            logits = logits.astype(mx.float32)
            mx.eval(logits, attention)
        n_audio = text.audio.stop - text.audio.start
        rows = np.empty((len(tokens), len(looks), len(tokens[0]), n_audio), np.float32)
        for head, each in enumerate(attention):
            rows[:, head] = each
        return Step(np.array(logits), rows)

    def select(self, text: Text, beams: Sequence[int], length: int | None = None) -> None:
        """Continue with these beams in this order, with only the first `length` tokens after the prompt."""
        text.n_beams = len(beams)
        with mx.stream(self._mx_device):
            for cache in text.caches:
                cache.select(mx.array(list(beams)))
                cache.length = cache.length if length is None else text.n_prompt + length

    def _embedded(self, tokens: Sequence[int]) -> mx.array:
        return self._network.embed(mx.array(list(tokens), mx.int32))

    def _check_room(self, n: int) -> None:
        if n > self.dims.n_text_ctx:
            raise BackendError(f"got {n} positions of audio and text, expected at most {self.dims.n_text_ctx}")


def _described(weights: VoxtralWeights, numbers: Numbers) -> str:
    """Return the numbers of the weights, for people."""
    plain = str(numbers.dtype).removeprefix("mlx.core.")
    packings = {} if numbers.unpacks else dict(weights.packings)
    bits = {each.bits for path, each in packings.items() if path.startswith("language.")}
    bits |= {numbers.packing.bits} if numbers.packing else set()
    return " and ".join(f"int{each}" for each in sorted(bits)) or plain
