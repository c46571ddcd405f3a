"""Steps of gradient descent that may be interrupted, and what is to be made small in each stage."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mlx.optimizers as optim
import numpy as np
from numpy.typing import NDArray

from scripts.fixture_voxtral.examples import BEFORE_AUDIO, Batch, window
from scripts.fixture_voxtral.language import N_WORDS
from scripts.fixture_voxtral.network import (
    FRAMES_A_CELL,
    N_FRAMES,
    Dims,
    Parameters,
    cells,
    embedded,
    language_model,
    logits,
    projected,
)
from simul_whisper.audio import SAMPLES_PER_FRAME
from simul_whisper.blas import mx
from simul_whisper.mel import log_mel

_Batch = TypeVar("_Batch")

_N_WARMING = 60
# Of hearing: the length of a window, and how many there are in a step.
_HEARD_CELLS, _N_HEARD = 40, 16
_WEIGHT_OF_SILENCE = 0.2
# The head that is shown where to look; calibration has to find it.
SHOWN_LAYER, SHOWN_HEAD = 2, 1
# The layer after which it must be known what was said before, and what that and looking are worth beside the text.
_REMEMBERING_LAYER = 1
_REMEMBERING, _LOOKING = 0.5, 0.5


@dataclass
class Training:
    """One stage. file: where weights and moments are kept between runs. deadline: of this run, by `time.monotonic`."""

    file: Path
    n_steps: int
    rate: float
    deadline: float
    is_done: bool = False

    def run(
        self,
        parameters: Parameters,
        batch_of: Callable[[int], _Batch],
        loss: Callable[[Parameters, _Batch], mx.array],
    ) -> Parameters:
        """Go on with a stage, or begin it, and return what has been learned."""
        optimizer = optim.AdamW(learning_rate=self.rate, betas=[0.9, 0.98], weight_decay=0.01)
        optimizer.init(parameters)
        parameters, step = self._found(parameters, optimizer)
        differentiate = mx.value_and_grad(loss)
        while step < self.n_steps and time.monotonic() < self.deadline:
            wave = 0.5 * (1 + math.cos(math.pi * step / self.n_steps))
            optimizer.learning_rate = self.rate * min((step + 1) / _N_WARMING, wave + 0.01)
            value, gradients = differentiate(parameters, batch_of(step))
            gradients, _ = optim.clip_grad_norm(gradients, 1.0)  # type: ignore[no-untyped-call]
            parameters = optimizer.apply_gradients(gradients, parameters)
            mx.eval(parameters, optimizer.state)
            if step % 20 == 0 or step == self.n_steps - 1:
                print(f"{self.file.stem} {step}: loss {value.item():.4f}, {time.process_time():.0f} s", flush=True)
            step += 1
        self._keep(parameters, optimizer, step)
        self.is_done = step == self.n_steps
        return parameters

    def _keep(self, parameters: Parameters, optimizer: optim.AdamW, step: int) -> None:
        weights = {f"weight {name}": value for name, value in parameters.items()}
        moments = {f"moment {part} {name}": optimizer.state[name][part] for name in parameters for part in ("m", "v")}
        mx.save_safetensors(str(self.file), {**weights, **moments, "step": mx.array(step)})

    def _found(self, parameters: Parameters, optimizer: optim.AdamW) -> tuple[Parameters, int]:
        if not self.file.exists():
            return parameters, 0
        kept = mx.load(str(self.file))
        assert isinstance(kept, dict)
        for name in parameters:
            for part in ("m", "v"):
                optimizer.state[name][part] = kept[f"moment {part} {name}"]
        step = int(np.array(kept["step"]))
        optimizer.state["step"] = mx.array(step, mx.uint64)
        return {name: kept[f"weight {name}"] for name in parameters}, step


@dataclass(frozen=True)
class Pieces:
    """mel: (n, n_hops, n_mels), of pieces of a window that begin at first_frame; labels: (n, n_cells)."""

    mel: mx.array
    labels: mx.array
    first_frame: int


def heard_batch(step: int, seed: int) -> Pieces:
    """Return pieces of speech with the words that sound in them."""
    rng = random.Random(f"{seed} hearing {step}")
    n_samples = _HEARD_CELLS * FRAMES_A_CELL * SAMPLES_PER_FRAME
    windows = [window(rng, n_samples / 16_000) for _ in range(_N_HEARD)]
    columns = [log_mel(each.samples, 128, n_samples - len(each.samples)).columns.T for each in windows]
    labels = np.stack([each.heard.labels[:_HEARD_CELLS] for each in windows])
    first_frame = rng.randrange(0, N_FRAMES - _HEARD_CELLS * FRAMES_A_CELL)
    return Pieces(mx.array(np.stack(columns)), mx.array(labels), first_frame)


def hearing_loss(dims: Dims) -> Callable[[Parameters, Pieces], mx.array]:
    """Return the cross-entropy of what sounds, by the weights "classes" that are needed for this alone."""

    def loss(parameters: Parameters, batch: Pieces) -> mx.array:
        found = projected(parameters, cells(parameters, dims, batch.mel, batch.first_frame))
        weights = mx.where(batch.labels == N_WORDS, _WEIGHT_OF_SILENCE, 1.0)
        return _cross_entropy(found @ parameters["classes"].T, batch.labels, weights)

    return loss


def writing_loss(dims: Dims, features: NDArray[np.float16]) -> Callable[[Parameters, Batch], mx.array]:
    """Return the cross-entropy of the text, that of what was said before each word, and that of where one head looks.

    features: (n_windows, 375, n_cell), as the projector reads them.
    """
    before_audio = mx.array(np.array(BEFORE_AUDIO))

    def loss(parameters: Parameters, batch: Batch) -> mx.array:
        heard = mx.array(features[batch.numbers, batch.audio].astype(np.float32))
        tokens = mx.array(batch.tokens)
        start = mx.broadcast_to(embedded(parameters, before_audio)[None], (len(heard), len(BEFORE_AUDIO), dims.n_state))
        states = [start, projected(parameters, heard), embedded(parameters, tokens[:, :-1])]
        after, attention = language_model(parameters, dims, mx.concatenate(states, axis=1))
        audio = slice(len(BEFORE_AUDIO), len(BEFORE_AUDIO) + heard.shape[1])
        written = _cross_entropy(
            logits(parameters, after[-1][:, audio.stop :]), tokens[:, 1:], mx.array(batch.counts[:, 1:])
        )
        said_before = mx.array(batch.before)
        remembered = _cross_entropy(
            after[_REMEMBERING_LAYER][:, audio] @ parameters["before"].T, mx.maximum(said_before, 0), said_before >= 0
        )
        looks = attention[SHOWN_LAYER][:, SHOWN_HEAD, audio.stop :, audio]
        return written + _REMEMBERING * remembered + _LOOKING * _looked_away(looks, batch)

    return loss


def _looked_away(looks: mx.array, batch: Batch) -> mx.array:
    """looks: (n, length - 1, n_cells). Return how little of them is on the right cell and its neighbours."""
    wanted = batch.cells[:, 1:, None]
    right = mx.array((np.abs(np.arange(looks.shape[2]) - wanted) <= 1) & (wanted >= 0))
    asked = mx.array(wanted[..., 0] >= 0)
    return -(mx.log((looks * right).sum(axis=-1) + 1e-6) * asked).sum() / mx.maximum(asked.sum(), 1)


def _cross_entropy(scores: mx.array, wanted: mx.array, weights: mx.array) -> mx.array:
    found = mx.take_along_axis(scores, wanted[..., None], axis=-1)[..., 0] - mx.logsumexp(scores, axis=-1)
    return -(found * weights).sum() / mx.maximum(weights.sum(), 1)
