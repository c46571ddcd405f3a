"""What it brings to encode windows, and to step decoders, of several listeners together.

    python -m scripts.batching [MODEL ...] [--runs N]

Prints, for each encoder and decoder that this machine has, what windows or steps of 1, 2, 4 and 8 listeners take
together, as a part of what they take one by one: below 1.00 it pays. Both are measured in turn, and medians are told.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from simul_whisper import SAMPLE_RATE, AlignAttConfig, BackendError, Model, load_model
from simul_whisper.decoders import BatchingDecoder
from simul_whisper.encoders import BatchingEncoder
from simul_whisper.mel import Mel, log_mel

SIZES = (1, 2, 4, 8)
# Of windows: seconds of audio, and of silence after it.
AUDIO_S, SILENCE_S = 5, 3
# Of texts before the step that is measured: a prompt and some words. Each is one token longer than the one before.
SHORTEST_TEXT = 12


class Ways(NamedTuple):
    """The same work for n listeners, done one by one and together."""

    one_by_one: Callable[[], object]
    together: Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["tiny.en", "base"], help="models to measure")
    parser.add_argument("--runs", type=int, default=9, help="how often each is measured")
    options = parser.parse_args()
    print(f"{'model':10}{'what':40}{'one alone':>12}" + "".join(f"{f'{n} at once':>12}" for n in SIZES))
    for name in options.models:
        for what, work in parts_of(name):
            times = [times_s(work(n), options.runs) for n in SIZES]
            alone_ms, ratios = 1000 * times[0][0], [together_s / alone_s for alone_s, together_s in times]
            print(f"{name:10}{what:40}{alone_ms:9.1f} ms" + "".join(f"{part:12.2f}" for part in ratios), flush=True)


def parts_of(name: str) -> Iterator[tuple[str, Callable[[int], Ways]]]:
    """Yield what this machine can run of a model, and the work that it does for so many listeners."""
    for encoder in ("ctranslate2", "mlx"):
        model = loaded(AlignAttConfig(model_name=name, encoder_backend=encoder))
        if model:
            yield f"encoder {model.encoder.description}", partial(encoding, model)
    model = loaded(AlignAttConfig(model_name=name, decoder_backend="mlx"))
    if model:
        yield f"decoder {model.decoder.description}", partial(stepping, model)


def loaded(config: AlignAttConfig) -> Model | None:
    try:
        return load_model(config)
    except BackendError as why:
        print(f"{config.model_name}: {why}")
        return None


def encoding(model: Model, n: int) -> Ways:
    """Encode the window of each."""
    encoder, mels = model.encoder.load(), [window(model)] * n
    assert isinstance(encoder, BatchingEncoder)
    return Ways(lambda: [encoder.encode(mel) for mel in mels], lambda: encoder.encode_together(mels))


def stepping(model: Model, n: int) -> Ways:
    """Read one more token of each, and forget it."""
    decoder, features = model.decoder.load(), model.encoder.encode(window(model))
    assert isinstance(decoder, BatchingDecoder)
    texts = [list(range(SHORTEST_TEXT + extra)) for extra in range(n)]
    states = [decoder.begin(features) for _ in texts]
    for state, text in zip(states, texts, strict=True):
        decoder.step(state, [text])

    def forget() -> None:
        for state, text in zip(states, texts, strict=True):
            decoder.select(state, [0], len(text))

    def one_by_one() -> None:
        for state in states:
            decoder.step(state, [[1]])
        forget()

    def together() -> None:
        decoder.step_together(states, [[[1]]] * n, [[-1]] * n)
        forget()

    return Ways(one_by_one, together)


def window(model: Model) -> Mel:
    """Return a window of noise."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(AUDIO_S * SAMPLE_RATE)
    return log_mel(noise.astype(np.float32), model.dims.n_mels, SILENCE_S * SAMPLE_RATE)


def times_s(ways: Ways, n_runs: int) -> tuple[float, float]:
    """Return the median seconds of either way, after a first run that only warms up."""
    found = [[seconds_of(way) for way in ways] for _ in range(n_runs + 1)]
    one_by_one_s, together_s = (statistics.median(times[1:]) for times in zip(*found, strict=True))
    return one_by_one_s, together_s


def seconds_of(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
