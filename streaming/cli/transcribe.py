"""`simul-whisper transcribe`: audio files to text or captions, streamed as if they were spoken."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import AlignAttConfig, ConfigError, SimulWhisperError
from streaming.cli.hearing import Cost, Hearing, Streamed
from streaming.cli.interruption import Interruption
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
from streaming.cli.speech_files import SpeechFiles, add_speaking_options, heard_by, opened_speaking, spoken_targets
from streaming.cli.translation import opened_translator
from streaming.cli.whisper_cli import WHISPER_CLI, WhisperCliHearing, add_engine_options, check_engine
from streaming.evaluation.metrics_log import MetricsLog
from streaming.events import Event, SpeechSkipped, TranslationSkipped
from streaming.output.durable import DurableText, OutputError
from streaming.output.formats import CAPTION_FORMATS, Format
from streaming.output.notices import notice_of
from streaming.settings import RecordingConfig

if TYPE_CHECKING:
    from simul_whisper import Model
    from streaming.audio.files import Recording, Source
    from streaming.evaluation.replay import Emission
    from streaming.output.speech_track import SpeechTrack

_BAD_INPUT = 2
_INTERRUPTED = 130


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
    add_voice_settings(parser, is_on=False)
    add_translation_settings(parser)
    add_speaking_options(parser)
    add_engine_options(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    configs, audio = session_configs_from(options), audio_from(options)
    is_separate = audio.channels == "separate"
    if options.log and is_separate:
        raise ConfigError("a metrics log is of one stream; leave out --log or --channels separate")
    # So that impossible flags are refused before a model is loaded.
    format_from(options, None)
    check_engine(options, configs)
    with ExitStack() as files:
        targets = configs.engine.targets
        places = destinations(
            files, options.output, options.format, options.files, by_channel=is_separate, targets=targets
        )
        log = (
            MetricsLog(files.enter_context(closing(DurableText(options.log, is_synced=False)))) if options.log else None
        )
        speech = SpeechFiles(files, options, spoken_targets(options, configs))
        hearing = _opened(options, configs, log)
        job = _Job(options, hearing, configs, audio, log, speech)
        statuses = [job.transcribe(n, place) for n, place in enumerate(places)]
    return max(statuses)


def _opened(options: argparse.Namespace, configs: Configs, log: MetricsLog | None) -> Hearing:
    """Return what hears, loaded."""
    if options.engine == WHISPER_CLI:
        return WhisperCliHearing(options, configs)
    translator, speaking = opened_translator(configs, options), opened_speaking(options, configs)
    model = _loaded(configs.session)
    if log:
        log.model_loaded(model.info.load_duration_s)
    return Streamed(model, translator, speaking, configs, realtime=options.realtime)


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
        hearing: Hearing,
        configs: Configs,
        audio: RecordingConfig,
        log: MetricsLog | None,
        speech: SpeechFiles,
    ) -> None:
        self._options, self._hearing, self._configs = options, hearing, configs
        self._audio, self._log, self._speech = audio, log, speech

    def transcribe(self, n_source: int, place: Destination) -> int:
        """Stream one recording and return its exit status; the others are still done when it is bad."""
        source, interruption, listeners = self._options.files[n_source], Interruption(), list[_Listener]()
        try:
            with opened_recording(source, self._audio) as recording, interruption:
                listeners += self._listeners(n_source, recording, place, interruption)
                # In turns, so that what is said first is written first.
                for turn in zip_longest(*(each.emissions for each in listeners)):
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
            print(f"simul-whisper: {self._hearing.interrupted}", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        if not self._options.quiet:
            for listener in listeners:
                print(self._hearing.summary(listener.name, listener.cost), file=sys.stderr)
        return 0

    def _listeners(
        self, n_source: int, recording: "Recording", place: Destination, interruption: Interruption
    ) -> "list[_Listener]":
        """Return who writes down each source of the recording: in one place with labels, or captions in a file each."""
        speakers = Speakers(place.write)
        return [self._listener(n_source, each, place, speakers, interruption) for each in recording.sources]

    def _listener(
        self, n_source: int, source: "Source", place: Destination, speakers: Speakers, interruption: Interruption
    ) -> "_Listener":
        config, name = self._configs.session, self._options.files[n_source]
        language = None if config.language == "auto" else config.language
        tracks = self._speech.tracks(n_source, source.label)
        return _Listener(
            name=f"{Path(name).name} {source.label}".strip(),
            emissions=self._hearing.emissions(heard_by(tracks, source.blocks), interruption),
            outputs=self._outputs(name, source.label, place, speakers, language),
            tracks=tracks,
            cost=Cost(language),
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

    def _write(self, listener: "_Listener", emission: "Emission") -> None:
        # What translators tell between two chunks is no chunk.
        if self._log and emission.audio_s > listener.cost.audio_s:
            if not listener.cost.audio_s:
                self._log.start(listener.name)
            self._log.chunk(emission.audio_s, emission.compute_s, emission.words)
        listener.cost.add(emission)
        emitted_s = emission.ready_s if self._options.realtime else emission.audio_s
        if emission.events:
            listener.write(emission.events, emitted_s)
        listener.speak(emission, max(emitted_s, emission.stages_ready_s) if self._options.realtime else emitted_s)
        for event in emission.events:
            if isinstance(event, TranslationSkipped | SpeechSkipped):
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
    emissions: "Iterator[Emission]"
    outputs: list[_Output]
    tracks: "list[SpeechTrack]"
    cost: Cost

    def write(self, events: Sequence[Event], emitted_s: float) -> None:
        for output in self.outputs:
            output.write("".join(output.format.feed(event, emitted_s) for event in events))

    def speak(self, emission: "Emission", emitted_s: float) -> None:
        for track in self.tracks:
            for event in emission.events:
                track.feed(event, emitted_s)
            track.write_until(emission.audio_s)

    def end(self) -> None:
        """Write what is still open, if there was anything at all."""
        for track in self.tracks:
            track.end()
        for output in self.outputs if self.cost.audio_s else ():
            output.write(output.format.end())
