"""Sounds that are not speech, made from nothing: float32 (n,), mono, 16 kHz."""

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE

Sound = NDArray[np.float32]


def silence(duration_s: float) -> Sound:
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32)


def noise(duration_s: float, level: float = 0.05, seed: int = 0) -> Sound:
    """White noise of that RMS, as of a fan or a bad line."""
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE)) * level
    return np.clip(samples, -1, 1).astype(np.float32)


def hum(duration_s: float) -> Sound:
    """50 Hz with its harmonics."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(sum(0.2 / n * np.sin(2 * np.pi * 50 * n * t) for n in range(1, 9)), np.float32)


def music(duration_s: float, seed: int = 0) -> Sound:
    """Plucked notes of a major scale, a quarter of a second each, over two chords that take turns."""
    generator, n = np.random.default_rng(seed), round(duration_s * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    notes = generator.choice([262, 294, 330, 349, 392, 440, 494, 523], n // 4000 + 1)
    melody = 0.3 * np.sin(2 * np.pi * np.cumsum(np.repeat(notes, 4000)[:n]) / SAMPLE_RATE)
    plucked = melody * np.exp(-(np.arange(n) % 4000) / 1500)
    chords = [sum(np.sin(2 * np.pi * f * t) for f in chord) for chord in ((131, 165, 196), (175, 220, 262))]
    return np.asarray(plucked + 0.05 * np.where(t % 2 < 1, *chords), np.float32)


NOT_SPEECH = {
    "silence": silence(10),
    "hiss": noise(10, 0.003),
    "noise": noise(10, 0.05),
    "loud noise": noise(10, 0.4),
    "hum": hum(10),
    "music": music(10),
}
