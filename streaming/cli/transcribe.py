"""`simul-whisper transcribe`: audio files to text or captions, streamed as if they were spoken."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, SimulWhisperError
from streaming.cli.options import ProgressBar, add_settings, add_voice_settings, session_configs_from
from streaming.cli.output_files import Destination, destinations
from streaming.cli.output_options import add_output_options, format_from
from streaming.evaluation.metrics_log import MetricsLog
from streaming.events import Language
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import Format
from streaming.settings import VoiceConfig

if TYPE_CHECKING:
    from simul_whisper import Model
    from streaming.evaluation.replay import Emission
    from streaming.sessions.session import Session

_BAD_INPUT = 2
_INTERRUPTED = 130

Chunks = Iterator[NDArray[np.float32]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="wav, flac, mp3, ogg, m4a, mp4, webm ...")
    parser.add_argument("--realtime", action="store_true", help="at the pace of speech; late chunks are taken together")
    add_output_options(parser)
    parser.add_argument(
        "--output",
        metavar="FILE|DIR/",
        help="write there, not to standard output; in a folder each file gets one of its own",
    )
    parser.add_argument(
        "--log", metavar="FILE", help="write a metrics log (JSONL) that simulstream and omnisteval read"
    )
    parser.add_argument("--quiet", action="store_true", help="no closing line on standard error")
    add_voice_settings(parser, "With any of these, only speech is decoded, as by listen; without, everything is.")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config, voice = session_configs_from(options)
    # So that impossible flags are refused before a model is loaded.
    format_from(options, None)
    with ExitStack() as files:
        places = destinations(files, options.output, options.format, options.files)
        log = (
            MetricsLog(files.enter_context(closing(DurableText(options.log, is_synced=False)))) if options.log else None
        )
        model = _loaded(config)
        if log:
            log.model_loaded(model.info.load_duration_s)
        job = _Job(options, model, config, voice, log)
        statuses = [job.transcribe(source, place) for source, place in zip(options.files, places, strict=True)]
    return max(statuses)


def _loaded(config: AlignAttConfig) -> "Model":
    # Here and below, because `--help` and bad flags do without the engine.
    from simul_whisper import load_model

    bar = ProgressBar()
    try:
        return load_model(config, bar)
    finally:
        bar.close()


class _Job:
    """What all files have in common."""

    def __init__(
        self,
        options: argparse.Namespace,
        model: "Model",
        config: AlignAttConfig,
        voice: VoiceConfig,
        log: MetricsLog | None,
    ) -> None:
        self._options, self._model, self._config, self._voice, self._log = options, model, config, voice, log

    def transcribe(self, source: str, place: Destination) -> int:
        """Stream one file and return its exit status; the others are still done when it is bad."""
        from streaming.sessions.session import Session

        session = Session(self._config, self._model, self._voice, drafts=False)
        language = None if self._config.language == "auto" else self._config.language
        written = format_from(self._options, language, file=source if place.is_shared else None)
        cost, interruption = _Cost(language), _Interruption()
        try:
            with interruption:
                for emission in self._emissions(session, source, interruption):
                    if self._log and not cost.audio_s:
                        self._log.start(source)
                    self._write(emission, place, written)
                    cost.add(emission)
        except OutputError:
            raise
        except SimulWhisperError as error:
            if cost.audio_s:
                place.write(written.end())
            print(f"simul-whisper: {error}", file=sys.stderr)
            if interruption.is_wanted:
                sys.exit(_INTERRUPTED)
            return _BAD_INPUT
        if interruption.is_wanted:
            print("simul-whisper: interrupted; what was heard is written", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        if not self._options.quiet:
            print(cost.summary(source, self._model), file=sys.stderr)
        return 0

    def _emissions(self, session: "Session", source: str, interruption: "_Interruption") -> "Iterator[Emission]":
        from streaming.evaluation.replay import chunk_samples, replay, replay_realtime

        chunks = interruption.until(_chunks(source, chunk_samples(self._config, self._voice)))
        if self._options.realtime:
            return replay_realtime(session, chunks, interruption.sleep)
        return replay(session, chunks, coalesce=not self._voice.vad)

    def _write(self, emission: "Emission", place: Destination, written: Format) -> None:
        emitted_s = emission.ready_s if self._options.realtime else emission.audio_s
        place.write("".join(written.feed(event, emitted_s) for event in emission.events))
        if self._log:
            self._log.chunk(emission.audio_s, emission.compute_s, emission.words)


def _chunks(source: str, n_samples: int) -> Chunks:
    """Yield what the user has named, in pieces of `n_samples`. Raises AudioFormatError."""
    from streaming.audio.files import audio_blocks, chunked

    return chunked(audio_blocks(Path(source)), n_samples)


class _Interruption:
    """Ctrl-C ends the audio, and what waits for it; what is decoded and written goes on, unless it comes again."""

    def __init__(self) -> None:
        self.is_wanted = self._is_waiting = False

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        # Elsewhere Ctrl-C is ignored, or somebody else's.
        if self._before is signal.default_int_handler and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, self._before)

    def until(self, chunks: Chunks) -> Chunks:
        """Yield the chunks until Ctrl-C."""
        while not self.is_wanted:
            chunk = self._waiting(lambda: next(chunks, None))
            if chunk is None:
                return
            yield chunk

    def sleep(self, seconds: float) -> None:
        self._waiting(lambda: time.sleep(0 if self.is_wanted else seconds))

    def _waiting(self, wait: Callable[[], Any]) -> Any:
        """Return what `wait` does, or None after Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self._is_waiting = True
            result = wait()
            self._is_waiting = False
            return result
        return None

    def _note(self, *_: object) -> None:
        self.is_wanted = True
        signal.signal(signal.SIGINT, self._before)
        if self._is_waiting:
            self._is_waiting = False
            raise KeyboardInterrupt


class _Cost:
    """What a file has cost so far, and the language spoken in it."""

    def __init__(self, language: str | None) -> None:
        self.audio_s = 0.0
        self._language = language
        self._compute_s = 0.0
        self._lags_s: list[float] = []

    def add(self, emission: "Emission") -> None:
        self.audio_s = emission.audio_s
        self._compute_s += emission.compute_s
        self._lags_s += [emission.ready_s - word.end_s for word in emission.words if word.is_spoken]
        for event in emission.events:
            if isinstance(event, Language):
                self._language = event.language

    def summary(self, source: str, model: "Model") -> str:
        info, mean_lag = model.info, sum(self._lags_s) / max(1, len(self._lags_s))
        parts = [
            f"{Path(source).name}: {self.audio_s:.1f} s, language {self._language or 'unknown'}",
            f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}",
            f"{self._compute_s / max(self.audio_s, 1e-9):.2f} s of computation per second of audio",
            f"words {mean_lag:.2f} s after they were spoken" if self._lags_s else "no words",
        ]
        return " | ".join(parts)
