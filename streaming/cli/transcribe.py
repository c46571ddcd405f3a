"""`simul-whisper transcribe`: audio files to text or captions, streamed as if they were spoken."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    ConfigError,
    Model,
    PaddedAlignAttWhisper,
    SimulWhisperError,
    load_model,
)
from streaming.audio.files import audio_blocks, chunked
from streaming.cli.options import ProgressBar, add_settings, config_from
from streaming.evaluation.metrics_log import MetricsLog
from streaming.evaluation.replay import Emission, replay, replay_realtime
from streaming.output.formats import FORMATS, Sink, open_sink

_BAD_INPUT = 2
_INTERRUPTED = 130


def add_command(commands: Any) -> None:
    parser = commands.add_parser("transcribe", help="transcribe or translate audio files, streamed")
    parser.add_argument("files", nargs="+", metavar="FILE", help="wav, flac, mp3, ogg, m4a, mp4, webm ...")
    parser.add_argument("--realtime", action="store_true", help="at the pace of speech; late chunks are taken together")
    parser.add_argument("--format", choices=FORMATS, default="text", help="what is written (default: text)")
    parser.add_argument("--times", action="store_true", help="with --format text: a line per update, with its times")
    parser.add_argument("--output", metavar="FILE", help="write there, not to standard output")
    parser.add_argument(
        "--log", metavar="FILE", help="write a metrics log (JSONL) that simulstream and omnisteval read"
    )
    parser.add_argument("--quiet", action="store_true", help="no closing line on standard error")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = config_from(options)
    with ExitStack() as files:
        output = files.enter_context(_opened(options.output)) if options.output else sys.stdout
        log = MetricsLog(files.enter_context(_opened(options.log))) if options.log else None
        bar = ProgressBar()
        try:
            model = load_model(config, bar)
        finally:
            bar.close()
        if log:
            log.model_loaded(model.info.load_duration_s)
        statuses = [_transcribe(Path(name), model, config, options, output, log) for name in options.files]
    return max(statuses)


def _opened(name: str) -> TextIO:
    try:
        return Path(name).open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error.strerror}") from error


def _transcribe(
    path: Path,
    model: Model,
    config: AlignAttConfig,
    options: argparse.Namespace,
    output: TextIO,
    log: MetricsLog | None,
) -> int:
    """Stream one file and return its exit status; the others are still done when it is bad."""
    whisper = PaddedAlignAttWhisper(config, model)
    sink = open_sink(options.format, output, with_times=options.times)
    cost, interruption = _Cost(), _Interruption()
    try:
        with interruption:
            for emission in _emissions(whisper, path, config, interruption.sleep if options.realtime else None):
                if log and not cost.audio_s:
                    log.start(path)
                _write(emission, sink, log, realtime=options.realtime)
                cost.add(emission)
                if interruption.is_wanted:
                    break
    except SimulWhisperError as error:
        sink.end()
        print(f"simul-whisper: {error}", file=sys.stderr)
        if interruption.is_wanted:
            sys.exit(_INTERRUPTED)
        return _BAD_INPUT
    if interruption.is_wanted:
        sink.feed(whisper.infer(is_last=True))
        sink.end()
        print("simul-whisper: interrupted; what was heard is written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    sink.end()
    if not options.quiet:
        print(cost.summary(path, whisper), file=sys.stderr)
    return 0


class _Interruption:
    """Ctrl-C ends a sleep, but waits while something is decoded and written; the second one does not wait."""

    def __init__(self) -> None:
        self.is_wanted = self._is_asleep = False

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        # Elsewhere Ctrl-C is ignored, or somebody else's.
        if self._before is signal.default_int_handler and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, self._before)

    def sleep(self, seconds: float) -> None:
        with suppress(KeyboardInterrupt):
            self._is_asleep = True
            time.sleep(0 if self.is_wanted else seconds)
            self._is_asleep = False

    def _note(self, *_: object) -> None:
        self.is_wanted = True
        signal.signal(signal.SIGINT, self._before)
        if self._is_asleep:
            raise KeyboardInterrupt


def _emissions(
    whisper: PaddedAlignAttWhisper, path: Path, config: AlignAttConfig, sleep: Callable[[float], None] | None
) -> Iterator[Emission]:
    """sleep: what waits for the pace of speech; None to wait for nothing."""
    chunks = chunked(audio_blocks(path), round(config.segment_length * SAMPLE_RATE))
    return replay_realtime(whisper, chunks, sleep) if sleep else replay(whisper, chunks)


def _write(emission: Emission, sink: Sink, log: MetricsLog | None, *, realtime: bool) -> None:
    sink.feed(emission.update, emission.ready_s if realtime else emission.audio_s)
    if log:
        log.chunk(emission.audio_s, emission.compute_s, emission.update.words)


class _Cost:
    """What a file has cost so far."""

    def __init__(self) -> None:
        self.audio_s = 0.0
        self._compute_s = 0.0
        self._lags_s: list[float] = []

    def add(self, emission: Emission) -> None:
        self.audio_s = emission.audio_s
        self._compute_s += emission.compute_s
        self._lags_s += [emission.ready_s - word.end_s for word in emission.update.words if word.is_spoken]

    def summary(self, path: Path, whisper: PaddedAlignAttWhisper) -> str:
        info, mean_lag = whisper.info, sum(self._lags_s) / max(1, len(self._lags_s))
        parts = [
            f"{path.name}: {self.audio_s:.1f} s, language {whisper.language}",
            f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}",
            f"{self._compute_s / max(self.audio_s, 1e-9):.2f} s of computation per second of audio",
            f"words {mean_lag:.2f} s after they were spoken" if self._lags_s else "no words",
        ]
        return " | ".join(parts)
