"""What is written of sounds that mislead speech recognition: repetition, singing, whispering, laughter, music, crowds.

python -m scripts.guards [--only WORDS] [--save DIR] [settings of the engine and of voice activity, as --no-vad]

They are made anew each time: from the recordings in `demos`, from the voice `joe`, and from nothing. The table, in
Markdown, has for each how many words were said, how many of them are right, wrong and lost, how many words nobody said,
and what was written. A number is as many words as it has digits.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import onnxruntime

from scripts.guards.cases import Case, Speak, cases
from scripts.guards.sounds import Sound
from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    ConfigError,
    Model,
    SimulWhisperError,
    SpeechConfig,
    as_s16,
    load_model,
    open_voices,
)
from streaming.audio.files import chunked
from streaming.audio.pcm import Resampler
from streaming.audio.wave_file import WaveFile
from streaming.cli.options import add_settings, add_voice_settings, configs_from
from streaming.evaluation.scoring import normalised
from streaming.events import Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig

_BAD_INPUT = 2
_CHUNK_SAMPLES = SAMPLE_RATE // 10
_SEED = 1822
_PEAK = 0.7
_LONGEST_SHOWN = 160


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except SimulWhisperError as error:
        print(f"guards: {error}", file=sys.stderr)
        return _BAD_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.guards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="WORDS", default="", help="the sounds whose names have these words in them")
    parser.add_argument("--save", metavar="DIR", type=Path, help="also write the sounds to DIR, as WAV files")
    add_voice_settings(parser)
    add_settings(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    configs = configs_from(options)
    speak, model = _voice(), load_model(configs.engine)
    print("| sound | said | right | wrong | lost | invented | written |\n| --- | --- | --- | --- | --- | --- | --- |")
    for case in cases(speak):
        if options.only not in case.name:
            continue
        if options.save:
            _save(options.save, case)
        print(_row(case, _written(case.sound, model, configs.engine, configs.voice)), flush=True)


def _voice() -> Speak:
    # The seed is read when the network is loaded.
    onnxruntime.set_seed(_SEED)
    voice = open_voices(SpeechConfig(voice="joe")).voice("en")

    def speak(text: str) -> Sound:
        said = np.concatenate(list(voice.speak(text, "en")))
        sound = Resampler(voice.rate, SAMPLE_RATE).feed(said, is_last=True)
        return np.asarray(sound * (_PEAK / np.abs(sound).max()), np.float32)

    return speak


def _written(sound: Sound, model: Model, config: AlignAttConfig, voice: VoiceConfig) -> str:
    session = Session(config, model, voice, drafts=False)
    told = [event for chunk in chunked([sound], _CHUNK_SAMPLES) for event in session.feed(chunk)]
    return "".join(event.text for event in [*told, *session.end()] if isinstance(event, Words)).strip()


def _row(case: Case, text: str) -> str:
    found = jiwer.process_words(_countable(case.said), _countable(text))
    n_said = found.hits + found.substitutions + found.deletions
    counts = (n_said, found.hits, found.substitutions, found.deletions, found.insertions)
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN].rpartition(' ')[0]} ..."
    return f"| {case.name} | {' | '.join(map(str, counts))} | {shown} |"


def _countable(text: str) -> str:
    """Return words as scoring compares them, and each digit as one: "two, three" may be written as 23."""
    return re.sub(r"\d", r" \g<0> ", re.sub(r"\bone\b", "1", normalised(text, "en")))


def _save(folder: Path, case: Case) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = WaveFile(folder / f"{case.name.replace(',', '').replace(' ', '-')}.wav", SAMPLE_RATE)
        file.write(as_s16(case.sound).tobytes())
        file.close()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
