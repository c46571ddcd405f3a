"""`simul-whisper interpret`: a microphone or a recording, spoken in another language, with captions beside it."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import SAMPLE_RATE, ConfigError
from streaming.cli.live import (
    FAILED,
    INTERRUPTED,
    add_caption_flags,
    captions_on,
    ctrl_c,
    is_ready,
    microphone_of,
    only_python_writes_errors,
    records_of,
    running_worker,
    show_devices,
)
from streaming.cli.options import Configs, add_settings, add_translation_settings, add_voice_settings, configs_from
from streaming.cli.output_files import check_captions
from streaming.cli.recordings import SOURCES_HELP, add_audio_options, audio_from, opened_recording
from streaming.cli.speech import (
    add_speech_settings,
    check_speech_file,
    opened_voices,
    speech_from,
    spoken_language,
    spoken_of_several,
    spoken_text,
    why_silent,
)
from streaming.cli.translation import opened_translator, stages_from

if TYPE_CHECKING:
    from streaming.audio.capture import Capture
    from streaming.audio.paced import PacedRecording
    from streaming.audio.playback import OutputOpener, Playback
    from streaming.output.terminal import Captions
    from streaming.sessions.pool import SessionHandle
    from streaming.stages.speech import SpeechStage

_MICROPHONE = "mic"
# More than the stage ever tells ahead; at the end it tells all that may be behind.
_SPARE_S, _MOST_BEHIND_S = 60.0, 600.0
_CHUNK_SAMPLES = SAMPLE_RATE // 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Speak the translation of a microphone or a recording, with captions beside it. Of several languages in --to "
        "the first is spoken and all are shown; without a translation, the transcript is spoken."
    )
    parser.add_argument(
        "source",
        nargs="?",
        default=_MICROPHONE,
        metavar="mic|FILE",
        help=f"what is interpreted (default: mic); a recording is heard at the pace of speech: {SOURCES_HELP}",
    )
    parser.add_argument("--device", metavar="NAME_OR_INDEX", help="the microphone, or a part of its name")
    parser.add_argument("--output-device", metavar="NAME_OR_INDEX", help="the loudspeaker, or a part of its name")
    parser.add_argument("--list-devices", action="store_true", help="list microphones and loudspeakers, and exit")
    parser.add_argument(
        "--speak", metavar="FILE.wav", help="write what is spoken to this WAV file, not to a loudspeaker"
    )
    parser.add_argument(
        "--half-duplex",
        action="store_true",
        help="without headphones: the microphone is not listened to while the voice sounds, and half a second after it",
    )
    add_caption_flags(parser)
    add_speech_settings(parser)
    add_audio_options(parser)
    add_voice_settings(parser)
    add_translation_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        stack.enter_context(only_python_writes_errors())
        return _show_devices() if options.list_devices else _Job(options, stack).run()


def _show_devices() -> int:
    from streaming.audio.devices import Direction

    for direction in Direction:
        print(f"{direction.value}s:")
        show_devices(direction)
    return 0


def _check(options: argparse.Namespace, configs: Configs) -> None:
    """Raise ConfigError for flags that do not go together."""
    check_captions(options.format, options.output, configs.engine.targets)
    if options.source != _MICROPHONE and audio_from(options).channels == "separate":
        raise ConfigError("one stream is interpreted; leave out --channels separate")
    if options.source != _MICROPHONE and (options.device or options.half_duplex):
        raise ConfigError("--device and --half-duplex are about a microphone; a recording does not hear the voice")
    if options.speak and options.output_device:
        raise ConfigError("--speak writes a file in place of a loudspeaker; leave out --output-device or --speak")
    if options.speak and options.half_duplex:
        raise ConfigError("--half-duplex is for a voice that sounds; --speak writes it to a file")
    if options.speak:
        check_speech_file(Path(options.speak), (options.source, options.output))


class _Job:
    """One run. Whatever can be refused is, before a model is loaded."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        if options.translate:
            options.task = "translate"
        self._options, self._stack = options, stack
        self._configs = configs_from(options)
        self._speech = speech_from(options, self._configs)
        _check(options, self._configs)
        self._open_source = self._source()
        self._playback = self._output()
        self._voices = opened_voices(self._speech)
        self._translator = opened_translator(self._configs, options)
        self._records = records_of(stack, options, self._configs) if options.output else []

    def run(self) -> int:
        from streaming.output.aloud import Aloud
        from streaming.output.live_captions import listen

        stop = self._stack.enter_context(ctrl_c())
        worker = self._stack.enter_context(running_worker(self._configs.session))
        if not is_ready(worker, stop):
            return INTERRUPTED
        why = why_silent(self._voices, spoken_language(self._configs.engine))
        captions = self._stack.enter_context(captions_on(self._options, self._configs))
        source = self._open_source()
        captions.say(f"listening to {source.name}; Ctrl-C ends")
        self._open_output(captions, why)
        handle = worker.open(voice=self._configs.voice)
        speaker = self._run_stages(handle, why)
        aloud = Aloud(self._playback, speaker, half_duplex=self._options.half_duplex) if speaker else None
        ended_well = listen(source, handle, captions, lambda: stop.is_asked, self._records, aloud)
        return self._status(source, ended_well=ended_well, is_aloud=aloud is not None)

    def _source(self) -> "Callable[[], Capture | PacedRecording]":
        """Return what opens the microphone or begins the recording."""
        options = self._options
        if options.source == _MICROPHONE:
            from streaming.audio.capture import Capture

            microphone = microphone_of(options.device)
            return lambda: self._ended(Capture(microphone))
        from streaming.audio.files import chunked
        from streaming.audio.paced import PacedRecording

        recording = self._stack.enter_context(opened_recording(options.source, audio_from(options)))
        chunks = chunked(recording.sources[0].blocks, _CHUNK_SAMPLES)
        return lambda: PacedRecording(options.source, chunks)

    def _ended(self, capture: "Capture") -> "Capture":
        self._stack.callback(capture.end)
        return capture

    def _output(self) -> "Playback":
        """Return what plays, not opened; a loudspeaker that was named and is not there is refused."""
        from streaming.audio.playback import Playback

        most_s = min(self._speech.most_behind, _MOST_BEHIND_S) + _SPARE_S
        playback = Playback(self._opener(most_s))
        self._stack.callback(playback.close)
        return playback

    def _opener(self, most_s: float) -> "OutputOpener":
        wanted = self._options.output_device
        if self._options.speak:
            from streaming.audio.speech_file import SpeechFile

            return SpeechFile(Path(self._options.speak), most_s)
        from streaming.audio.devices import Direction, find_device, list_devices
        from streaming.audio.loudspeaker import Loudspeaker

        if wanted is not None:
            find_device(list_devices(Direction.OUTPUT), wanted, Direction.OUTPUT)
        return Loudspeaker(wanted, most_s)

    def _open_output(self, captions: "Captions", why_silent: str | None) -> None:
        """Open what plays, and tell what can be heard; without it, or without a voice, there are captions."""
        if why_silent is not None:
            captions.say(f"nothing is spoken: {why_silent}; the captions go on")
            return
        from streaming.audio.capture import DeviceError

        try:
            self._playback.open()
        except DeviceError as error:
            if self._options.speak:
                raise
            captions.say(f"nothing is heard: {error}; see --list-devices and --output-device; the captions go on")
            return
        where = "written to" if self._options.speak else "heard from"
        captions.say(f"the voice is {where} {self._playback.name}{self._advice()}")
        if several := spoken_of_several(self._configs.engine):
            captions.say(several)

    def _advice(self) -> str:
        if self._options.source != _MICROPHONE or self._options.speak:
            return ""
        if self._options.half_duplex:
            return "; while it sounds, the microphone is not listened to"
        return "; wear headphones, so that the microphone does not hear it, or give --half-duplex"

    def _run_stages(self, handle: "SessionHandle", why_silent: str | None) -> "SpeechStage | None":
        from streaming.stages.speech import SpeechStage
        from streaming.stages.stage import run_stage

        for each in stages_from(self._configs, self._translator, drafts=True, is_live=True):
            run_stage(handle.log, each)
        if why_silent is not None:
            return None
        stage = SpeechStage(self._voices, self._speech, (spoken_text(self._configs),))
        run_stage(handle.log, stage)
        return stage

    def _status(self, source: "Capture | PacedRecording", *, ended_well: bool, is_aloud: bool) -> int:
        from streaming.audio.paced import PacedRecording

        failures = []
        if any(record.is_broken for record in self._records):
            failures.append(f"{self._options.output}: the end of the captions is missing")
        if self._options.speak and is_aloud and self._playback.is_away:
            failures.append(f"{self._options.speak}: the end of what was spoken is missing")
        if isinstance(source, PacedRecording) and source.error:
            failures.append(str(source.error))
        for failure in failures:
            print(f"simul-whisper: {failure}", file=sys.stderr)
        return 0 if ended_well and not failures else FAILED
