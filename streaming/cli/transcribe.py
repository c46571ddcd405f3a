"""`simul-whisper transcribe`: audio files to text or captions, streamed as if they were spoken."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import zip_longest
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
from streaming.audio.files import Recording, Source, chunked
from streaming.cli.options import ProgressBar, add_settings, config_from
from streaming.cli.recordings import (
    SOURCES_HELP,
    Speakers,
    add_audio_options,
    audio_from,
    file_of_channel,
    opened_recording,
)
from streaming.evaluation.metrics_log import MetricsLog
from streaming.evaluation.replay import Emission, replay, replay_realtime
from streaming.output.formats import FORMATS, Sink, Writable, open_sink

_BAD_INPUT = 2
_INTERRUPTED = 130


def add_command(commands: Any) -> None:
    parser = commands.add_parser("transcribe", help="transcribe or translate audio files, streamed")
    parser.add_argument("files", nargs="+", metavar="FILE", help=SOURCES_HELP)
    parser.add_argument("--realtime", action="store_true", help="at the pace of speech; late chunks are taken together")
    parser.add_argument("--format", choices=FORMATS, default="text", help="what is written (default: text)")
    parser.add_argument("--times", action="store_true", help="with --format text: a line per update, with its times")
    parser.add_argument("--output", metavar="FILE", help="write there, not to standard output")
    parser.add_argument(
        "--log", metavar="FILE", help="write a metrics log (JSONL) that simulstream and omnisteval read"
    )
    parser.add_argument("--quiet", action="store_true", help="no closing line on standard error")
    add_audio_options(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config, audio = config_from(options), audio_from(options)
    if options.log and audio.channels == "separate":
        raise ConfigError("a metrics log is of one stream; leave --log or --channels separate out")
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
        statuses = [_transcribe(name, model, config, options, output, log) for name in options.files]
    return max(statuses)


def _opened(name: str) -> TextIO:
    try:
        return Path(name).open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error.strerror}") from error


def _transcribe(
    name: str,
    model: Model,
    config: AlignAttConfig,
    options: argparse.Namespace,
    output: TextIO,
    log: MetricsLog | None,
) -> int:
    """Stream one recording and return its exit status; the others are still done when it is bad."""
    interruption, listeners = _Interruption(), list[_Listener]()
    try:
        with ExitStack() as stack:
            recording = stack.enter_context(opened_recording(name, audio_from(options)))
            stack.enter_context(interruption)
            listeners += _listeners(stack, recording, model, config, options, output)
            sleep = interruption.sleep if options.realtime else None
            # In turns, so that what is said first is written first.
            for turn in zip_longest(*(listener.emissions(sleep) for listener in listeners)):
                for listener, emission in zip(listeners, turn, strict=True):
                    if emission:
                        listener.write(emission, log, realtime=options.realtime)
                if interruption.is_wanted:
                    break
            for listener in listeners:
                listener.end(is_cut_off=interruption.is_wanted)
    except SimulWhisperError as error:
        for listener in listeners:
            listener.end()
        print(f"simul-whisper: {error}", file=sys.stderr)
        if interruption.is_wanted:
            sys.exit(_INTERRUPTED)
        return _BAD_INPUT
    if interruption.is_wanted:
        print("simul-whisper: interrupted; what was heard is written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    if not options.quiet:
        for listener in listeners:
            print(listener.summary(), file=sys.stderr)
    return 0


def _listeners(
    stack: ExitStack,
    recording: Recording,
    model: Model,
    config: AlignAttConfig,
    options: argparse.Namespace,
    output: TextIO,
) -> "list[_Listener]":
    """Return who writes down each source of the recording: on the output, with labels, or captions in a file each."""
    speakers, listeners = Speakers(output), []
    for source in recording.sources:
        stream: Writable = output
        if source.label and options.format == "text":
            stream = speakers.lines(source.label)
        elif source.label and options.format == "jsonl":
            stream = speakers.rows(source.label)
        elif source.label:
            stream = stack.enter_context(_opened(str(file_of_channel(options.output, source.label))))
        sink = open_sink(options.format, stream, with_times=options.times)
        listeners.append(_Listener(Path(recording.name), source, PaddedAlignAttWhisper(config, model), config, sink))
    return listeners


class _Listener:
    """Writes down one source of a recording, and adds up what that costs."""

    def __init__(
        self, path: Path, source: Source, whisper: PaddedAlignAttWhisper, config: AlignAttConfig, sink: Sink
    ) -> None:
        self._path, self._source, self._whisper, self._sink = path, source, whisper, sink
        self._chunks = chunked(source.blocks, round(config.segment_length * SAMPLE_RATE))
        self._cost = _Cost()

    def emissions(self, sleep: Callable[[float], None] | None) -> Iterator[Emission]:
        """sleep: what waits for the pace of speech; None to wait for nothing."""
        return replay_realtime(self._whisper, self._chunks, sleep) if sleep else replay(self._whisper, self._chunks)

    def write(self, emission: Emission, log: MetricsLog | None, *, realtime: bool) -> None:
        if log and not self._cost.audio_s:
            log.start(self._path)
        self._cost.add(emission)
        self._sink.feed(emission.update, emission.ready_s if realtime else emission.audio_s)
        if log:
            log.chunk(emission.audio_s, emission.compute_s, emission.update.words)

    def end(self, *, is_cut_off: bool = False) -> None:
        """is_cut_off: what was heard is still to be decoded."""
        if is_cut_off:
            self._sink.feed(self._whisper.infer(is_last=True))
        self._sink.end()

    def summary(self) -> str:
        return self._cost.summary(f"{self._path.name} {self._source.label}".strip(), self._whisper)


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

    def summary(self, name: str, whisper: PaddedAlignAttWhisper) -> str:
        info, mean_lag = whisper.info, sum(self._lags_s) / max(1, len(self._lags_s))
        parts = [
            f"{name}: {self.audio_s:.1f} s, language {whisper.language}",
            f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}",
            f"{self._compute_s / max(self.audio_s, 1e-9):.2f} s of computation per second of audio",
            f"words {mean_lag:.2f} s after they were spoken" if self._lags_s else "no words",
        ]
        return " | ".join(parts)
