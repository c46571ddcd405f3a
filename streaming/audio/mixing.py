"""Channels -> one: so that opposite ones do not cancel and silent ones do not make the others quieter.

It decides by what it has heard so far, a tenth of a second at a time and counted from the first sample, so that how the
audio is cut into pieces never matters. It knows samples and nothing of files.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE

Samples = NDArray[np.float32]

_BLOCK_S, _FADE_S = 0.1, 0.01
# Channels are in opposite phase from this correlation on: they would lose 6 dB and more. The way back is as far.
_OPPOSITE = -0.5
# Below it nothing is correlated: -80 dB.
_MIN_POWER = 1e-8
# A channel takes part once its loudest block is no more than 40 dB below that of the loudest channel.
_MIN_RELATIVE_POWER = 1e-4
# Speech is in the centre, and nothing of it in the channel for low frequencies.
_WEIGHTS = {"FC": 1.0, "FL": 0.7, "FR": 0.7, "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT = 0.5


class Mixer:
    """Makes one channel of several; a tenth of a second behind, and with one channel not at all.

    names: what FFmpeg calls the channels (FL, FR, FC ...); rate: samples a second.
    """

    def __init__(self, names: Sequence[str], rate: int = SAMPLE_RATE) -> None:
        self.names = tuple(names)
        self._weights = _weights(names)
        self._rate = rate
        self._block_samples, self._fade_samples = round(_BLOCK_S * rate), round(_FADE_S * rate)
        self._held = np.zeros((len(names), 0), np.float32)
        self._signs = np.ones(len(names))
        self._loudest = np.zeros(len(names))
        self._gains: NDArray[np.float64] | None = None
        self.opposite_s = 0.0

    def feed(self, channels: Samples) -> Samples:
        """Take float32 (n_channels, n) and return what is mixed, float32 (1, m)."""
        if len(self._signs) == 1:
            return channels
        joined = np.concatenate([self._held, channels], axis=1)
        n_whole = joined.shape[1] - joined.shape[1] % self._block_samples
        self._held = joined[:, n_whole:]
        return self._mixed(joined[:, :n_whole])

    def end(self) -> Samples:
        """Return the rest."""
        rest, self._held = self._held, self._held[:, :0]
        return self._mixed(rest)

    def _mixed(self, channels: Samples) -> Samples:
        step = self._block_samples
        blocks = [self._block(channels[:, at : at + step]) for at in range(0, channels.shape[1], step)]
        return np.concatenate([np.zeros((1, 0), np.float32), *blocks], axis=1)

    def _block(self, channels: Samples) -> Samples:
        power = np.mean(np.square(channels, dtype=np.float64), axis=1)
        self._loudest = np.maximum(self._loudest, power)
        self._turn(channels, power)
        weights = self._weights * (self._loudest >= _MIN_RELATIVE_POWER * self._loudest.max())
        gains = self._signs * weights / max(weights.sum(), _MIN_POWER)
        before, self._gains = gains if self._gains is None else self._gains, gains
        mixed = _sum(gains, channels)
        if not np.array_equal(before, gains):
            faded = channels[:, : self._fade_samples]
            fade = np.linspace(0, 1, faded.shape[1])
            mixed[: faded.shape[1]] = _sum(before, faded) * (1 - fade) + mixed[: faded.shape[1]] * fade
        return mixed[None].astype(np.float32)

    def _turn(self, channels: Samples, power: NDArray[np.float64]) -> None:
        """Turn the channels around that would cancel the loudest one."""
        loudest = int(np.argmax(power * self._weights))
        if power[loudest] <= _MIN_POWER:
            return
        products = np.mean(channels.astype(np.float64) * channels[loudest], axis=1)
        correlation = 2 * products / (power + power[loudest])
        if correlation.min() < _OPPOSITE:
            self.opposite_s += channels.shape[1] / self._rate
        cancels = correlation * self._signs * self._signs[loudest] < _OPPOSITE
        self._signs = np.where(cancels, -self._signs, self._signs)


def _sum(gains: NDArray[np.float64], channels: Samples) -> NDArray[np.float64]:
    """Not a product of matrices, whose last bit depends on where in memory they are."""
    return np.asarray(np.sum(gains[:, None] * channels, axis=0))


def _weights(names: Sequence[str]) -> NDArray[np.float64]:
    if len(names) <= 2:
        return np.ones(len(names))
    weights = np.array([_WEIGHTS.get(name, _OTHER_WEIGHT) for name in names])
    return weights if weights.any() else np.ones(len(names))


def labels_of(n_channels: int) -> tuple[str, ...]:
    """Return what channels are called: `left` and `right`, else `channel-1` and so on; one alone has no name."""
    if n_channels == 1:
        return ("",)
    return ("left", "right") if n_channels == 2 else tuple(f"channel-{i + 1}" for i in range(n_channels))
