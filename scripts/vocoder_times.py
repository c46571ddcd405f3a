"""Time the vocoders of a voice beside each other: `python -m scripts.vocoder_times VOICE.onnx`.

They take turns, so that whatever else the machine does slows down both, and the fastest of several turns counts.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from simul_whisper import SpeechConfig
from simul_whisper.vocoders.choice import choose_vocoder
from simul_whisper.vocoders.voice_file import split_voice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    voice = split_voice(asked.voice)
    vocoders = {
        backend: choose_vocoder(SpeechConfig(vocoder_backend=backend), asked.voice, voice)
        for backend in ("onnx", "mlx")
    }
    print(f"{'frames':>7} {'audio s':>8} {'onnx s':>8} {'mlx s':>8} {'ratio':>6}")
    for n_frames in asked.frames:
        features = np.random.default_rng(0).normal(0, 1, (n_frames, voice.vocoder.n_features)).astype(np.float32)
        taken = {backend: float("inf") for backend in vocoders}
        for _ in range(asked.turns):
            for backend, vocoder in vocoders.items():
                started = time.perf_counter()
                vocoder.decode(features)
                taken[backend] = min(taken[backend], time.perf_counter() - started)
        audio_s = n_frames * voice.vocoder.hop / voice.vocoder.rate
        ratio = taken["mlx"] / taken["onnx"]
        print(f"{n_frames:7} {audio_s:8.2f} {taken['onnx']:8.3f} {taken['mlx']:8.3f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
