"""`simul-whisper transcribe`: audio files to text or captions, streamed as if they were spoken."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, ConfigError, SimulWhisperError
from streaming.cli.options import (
    Configs,
    ProgressBar,
    add_settings,
    add_translation_settings,
    add_voice_settings,
    session_configs_from,
)
from streaming.cli.output_files import Destination, destinations
from streaming.cli.output_options import add_output_options, format_from, texts_apart
from streaming.cli.recordings import SOURCES_HELP, Speakers, add_audio_options, audio_from, opened_recording
from streaming.cli.translation import opened_translator, stages_from
from streaming.evaluation.metrics_log import MetricsLog
from streaming.events import Event, Language, TranslationSkipped
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import CAPTION_FORMATS, Format
from streaming.output.notices import notice_of
from streaming.settings import RecordingConfig

if TYPE_CHECKING:
    from simul_whisper import Model, Translator
    from streaming.audio.files import Recording, Source
    from streaming.evaluation.replay import Emission
    from streaming.sessions.session import Session
    from streaming.stages.stage import Stage

_BAD_INPUT = 2
_INTERRUPTED = 130

Chunks = Iterator[NDArray[np.float32]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=SOURCES_HELP)
    parser.add_argument(
        "--realtime", action="store_true", help="read at the pace of speech; chunks that are late are decoded together"
    )
    add_output_options(parser)
    parser.add_argument(
        "--output",
        metavar="FILE|DIR/",
        help="write to FILE instead of standard output; in a folder each file gets one of its own",
    )
    parser.add_argument(
        "--log", metavar="FILE", help="write a metrics log (JSONL) that simulstream and omnisteval read"
    )
    parser.add_argument("--quiet", action="store_true", help="do not print the summary at the end")
    add_audio_options(parser)
    add_voice_settings(parser, "With any of these, only speech is decoded, as by listen; without, everything is.")
    add_translation_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    configs, audio = session_configs_from(options), audio_from(options)
    is_separate = audio.channels == "separate"
    if options.log and is_separate:
        raise ConfigError("a metrics log is of one stream; leave out --log or --channels separate")
    # So that impossible flags are refused before a model is loaded.
    format_from(options, None)
    with ExitStack() as files:
        targets = configs.engine.targets
        places = destinations(
            files, options.output, options.format, options.files, by_channel=is_separate, targets=targets
        )
        log = (
            MetricsLog(files.enter_context(closing(DurableText(options.log, is_synced=False)))) if options.log else None
        )
        translator = opened_translator(configs, options)
        model = _loaded(configs.session)
        if log:
            log.model_loaded(model.info.load_duration_s)
        job = _Job(options, model, translator, configs, audio, log)
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
    """What all recordings have in common."""

    def __init__(
        self,
        options: argparse.Namespace,
        model: "Model",
        translator: "Translator | None",
        configs: Configs,
        audio: RecordingConfig,
        log: MetricsLog | None,
    ) -> None:
        self._options, self._model, self._translator, self._configs = options, model, translator, configs
        self._audio, self._log = audio, log

    def transcribe(self, source: str, place: Destination) -> int:
        """Stream one recording and return its exit status; the others are still done when it is bad."""
        interruption, listeners = _Interruption(), list[_Listener]()
        try:
            with opened_recording(source, self._audio) as recording, interruption:
                listeners += self._listeners(source, recording, place)
                # In turns, so that what is said first is written first.
                for turn in zip_longest(*(self._emissions(each, interruption) for each in listeners)):
                    for listener, emission in zip(listeners, turn, strict=True):
                        if emission:
                            self._write(listener, emission)
                for listener in listeners:
                    listener.end()
        except (ConfigError, OutputError):
            # The next recording would meet the same.
            raise
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
        if not self._options.quiet:
            for listener in listeners:
                print(listener.cost.summary(listener.name, self._model, self._translator), file=sys.stderr)
        return 0

    def _listeners(self, source: str, recording: "Recording", place: Destination) -> "list[_Listener]":
        """Return who writes down each source of the recording: in one place with labels, or captions in a file each."""
        speakers = Speakers(place.write)
        return [self._listener(source, each, place, speakers) for each in recording.sources]

    def _listener(self, name: str, source: "Source", place: Destination, speakers: Speakers) -> "_Listener":
        from streaming.sessions.session import Session

        config = self._configs.session
        language = None if config.language == "auto" else config.language
        return _Listener(
            name=f"{Path(name).name} {source.label}".strip(),
            blocks=source.blocks,
            session=Session(config, self._model, self._configs.voice, drafts=False),
            stages=stages_from(self._configs, self._translator, is_live=self._options.realtime),
            outputs=self._outputs(name, source.label, place, speakers, language),
            cost=_Cost(language),
        )

    def _outputs(
        self, name: str, label: str, place: Destination, speakers: Speakers, language: str | None
    ) -> "list[_Output]":
        """Return where the texts of a source go, and in which format: captions are a file for each."""
        fields = {"file": name} if place.is_shared else {}
        fields |= {"channel": label} if label else {}
        outputs = []
        for texts in texts_apart(self._options.format, self._configs.engine.targets):
            write: Callable[[str], None] = place.write
            if self._options.format in CAPTION_FORMATS:
                write = place.labelled(label).labelled(texts[0]).write
            elif label and self._options.format == "text":
                write = speakers.lines(label)
            outputs.append(_Output(format_from(self._options, language, fields=fields, texts=texts), write))
        return outputs

    def _emissions(self, listener: "_Listener", interruption: "_Interruption") -> "Iterator[Emission]":
        from streaming.audio.files import chunked
        from streaming.evaluation.replay import chunk_samples, replay, replay_realtime

        config, voice = self._configs.session, self._configs.voice
        chunks = interruption.until(chunked(listener.blocks, chunk_samples(config, voice)))
        if self._options.realtime:
            return replay_realtime(listener.session, chunks, interruption.sleep, stages=listener.stages)
        return replay(listener.session, chunks, coalesce=not voice.vad, stages=listener.stages)

    def _write(self, listener: "_Listener", emission: "Emission") -> None:
        # What translators tell between two chunks is no chunk.
        if self._log and emission.audio_s > listener.cost.audio_s:
            if not listener.cost.audio_s:
                self._log.start(listener.name)
            self._log.chunk(emission.audio_s, emission.compute_s, emission.words)
        listener.cost.add(emission)
        emitted_s = emission.ready_s if self._options.realtime else emission.audio_s
        listener.write(emission.events, emitted_s)
        for event in emission.events:
            if isinstance(event, TranslationSkipped):
                print(f"simul-whisper: {listener.name}: {notice_of(event)}", file=sys.stderr)


@dataclass(frozen=True)
class _Output:
    """One or several texts on their way to one place."""

    format: Format
    write: Callable[[str], None]


@dataclass(frozen=True)
class _Listener:
    """Who writes down one source of a recording."""

    name: str
    blocks: Chunks
    session: "Session"
    stages: "Sequence[Stage]"
    outputs: list[_Output]
    cost: "_Cost"

    def write(self, events: Sequence[Event], emitted_s: float) -> None:
        for output in self.outputs:
            output.write("".join(output.format.feed(event, emitted_s) for event in events))

    def end(self) -> None:
        """Write what is still open, if there was anything at all."""
        for output in self.outputs if self.cost.audio_s else ():
            output.write(output.format.end())


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
        self._compute_s = self._stage_s = 0.0
        self._lags_s: list[float] = []

    def add(self, emission: "Emission") -> None:
        self.audio_s = emission.audio_s
        self._compute_s += emission.compute_s
        self._stage_s += emission.stage_s
        self._lags_s += [emission.ready_s - word.end_s for word in emission.words if word.is_spoken]
        for event in emission.events:
            if isinstance(event, Language):
                self._language = event.language

    def summary(self, name: str, model: "Model", translator: "Translator | None") -> str:
        info, mean_lag = model.info, sum(self._lags_s) / max(1, len(self._lags_s))
        per_second_s = [each_s / max(self.audio_s, 1e-9) for each_s in (self._compute_s, self._stage_s)]
        parts = [
            f"{name}: {self.audio_s:.1f} s, language {self._language or 'unknown'}",
            f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}",
            f"{per_second_s[0]:.2f} s of computation per second of audio",
            f"words {mean_lag:.2f} s after they were spoken" if self._lags_s else "no words",
            *(
                [f"translated by {translator.description}, in {per_second_s[1]:.2f} s per second of audio"]
                if translator
                else []
            ),
        ]
        return " | ".join(parts)
