"""`transcribe --engine whisper-cli`: whisper.cpp hears the recordings, and what it writes comes out as ours does."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from simul_whisper import SAMPLE_RATE, ConfigError
from streaming.cli.hearing import Chunks, Cost
from streaming.cli.interruption import Interruption
from streaming.cli.options import Configs, changed_settings, translation_flags
from streaming.settings import VoiceConfig

if TYPE_CHECKING:
    from streaming.engines.whisper_cli import Asked
    from streaming.evaluation.replay import Emission

OURS, WHISPER_CLI = "simul-whisper", "whisper-cli"
# The settings that mean something to it; targets are refused by the name of their flag.
_PASSED = ("language", "task", "init_prompt", "static_init_prompt", "decoder_type", "beam_size", "targets")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add --engine, and what tells where another one is."""
    group = parser.add_argument_group(
        "another engine", "To compare with whisper.cpp; its words come when it has finished."
    )
    group.add_argument("--engine", choices=(OURS, WHISPER_CLI), default=OURS, help=f"what hears (default: {OURS})")
    group.add_argument("--engine-path", metavar="FILE", help="the program, if it is not found by its name")
    group.add_argument("--engine-model", metavar="FILE", help="its model, such as ggml-base.bin")


def check_engine(options: argparse.Namespace, configs: Configs) -> None:
    """Raise ConfigError for flags that have no meaning for the engine that was chosen."""
    if options.engine == OURS:
        given = [flag for flag in ("--engine-path", "--engine-model") if getattr(options, flag[2:].replace("-", "_"))]
        if given:
            raise ConfigError(f"{given[0]} needs --engine {WHISPER_CLI}")
        return
    useless = {
        "--to": bool(configs.engine.targets),
        "--realtime": options.realtime,
        "--log": options.log,
        "--speak": options.speak,
        "flags of voice activity": configs.voice != VoiceConfig(vad=False),
    }
    found = [flag for flag, is_given in useless.items() if is_given]
    found += [*translation_flags(options), *changed_settings(options, configs.engine, but=_PASSED)]
    if found:
        hint = "; its model is given with --engine-model" if {"--model", "--model-path"} & set(found) else ""
        raise ConfigError(
            f"{WHISPER_CLI} has no use for {', '.join(found)}; leave {'it' if len(found) == 1 else 'them'} out{hint}"
        )
    if not options.engine_model:
        raise ConfigError(f"--engine {WHISPER_CLI} needs its model: --engine-model ggml-base.bin")


class WhisperCliHearing:
    """Raises BackendError where the program or its model is missing."""

    interrupted = f"interrupted; {WHISPER_CLI} was stopped before it had told any words"

    def __init__(self, options: argparse.Namespace, configs: Configs) -> None:
        from streaming.engines.whisper_cli import WhisperCli

        self._program = WhisperCli(options.engine_path or "", options.engine_model)
        self._model = Path(options.engine_model).name
        self._asked = _asked(options, configs)

    def emissions(self, blocks: Chunks, interruption: Interruption) -> "Iterator[Emission]":
        """For each piece of audio yield nothing told, so that others have their turn; at the end, all that is told."""
        from streaming.engines.whisper_cli import wav_file
        from streaming.evaluation.replay import Emission

        n_samples = 0
        with tempfile.TemporaryDirectory(prefix="simul-whisper-") as folder:
            audio = Path(folder) / "audio.wav"
            with wav_file(audio) as write:
                for block in interruption.until(blocks):
                    write(block)
                    n_samples += len(block)
                    yield Emission((), audio_s=0.0, ready_s=0.0, compute_s=0.0)
            started, audio_s = time.perf_counter(), n_samples / SAMPLE_RATE
            with tqdm(desc=self._program.name, total=100, unit="%", leave=False, disable=None) as bar:
                for percent in interruption.until(self._program.run(audio, self._asked)):
                    bar.update(percent - bar.n)
            if interruption.is_wanted:
                return
            events = tuple(self._program.events(audio, audio_s, self._asked))
            compute_s = time.perf_counter() - started
            yield Emission(events, audio_s, audio_s + compute_s, compute_s)

    def summary(self, name: str, cost: Cost) -> str:
        compute_s = cost.per_second(cost.compute_s)
        told = "" if cost.lags_s else ", no words"
        return cost.summary(
            name, f"{self._program.name}, model {self._model}", f"{compute_s:.2f} s per second of audio{told}"
        )


def _asked(options: argparse.Namespace, configs: Configs) -> "Asked":
    from streaming.engines.whisper_cli import Asked

    config = configs.engine
    is_search_chosen = changed_settings(options, config, only=("decoder_type", "beam_size"))
    return Asked(
        language=config.language,
        is_translated=config.task == "translate",
        prompt=" ".join(filter(None, (config.static_init_prompt, config.init_prompt))),
        n_beams=config.n_beams if is_search_chosen else None,
    )
