"""`simul-whisper connect`: a file, standard input or a microphone to a server, its words to standard output."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, ConfigError, checked_targets, language_code
from streaming.cli.options import add_options, listed, options_from, terms_file
from streaming.cli.output_options import add_output_options, format_from
from streaming.cli.speech import check_speech_file
from streaming.output.formats import CAPTION_FORMATS
from streaming.output.texts import TRANSCRIPT
from streaming.settings import RecordingConfig

if TYPE_CHECKING:
    from streaming.audio.wave_file import WaveFile
    from streaming.client import Client, ClientEvent, Disconnected, Reconnected
    from streaming.events import Spoken

_FAILED = 2
_SPOKEN_RATE = 24_000
_PIECE_SAMPLES = SAMPLE_RATE // 10
_POLL_S = 0.2

Samples = NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="such as ws://127.0.0.1:8000")
    parser.add_argument("source", metavar="FILE|URL|-|mic", help="- is raw audio: s16le, mono, 16 kHz")
    parser.add_argument("--language", default="", help="such as German or de, or auto (default: the server's)")
    parser.add_argument("--task", choices=("transcribe", "translate"), help="(default: the server's)")
    parser.add_argument(
        "--to", type=listed, default=(), metavar="NAME,...", help="languages to translate into beside the transcript"
    )
    parser.add_argument(
        "--speak",
        type=Path,
        metavar="FILE.wav",
        help="write what the server speaks to a WAV file, one sentence after another: the first of --to, or without it "
        "what is said",
    )
    parser.add_argument(
        "--terms",
        type=terms_file,
        metavar="FILE",
        help="names and terms to listen for, one a line (default: the server's)",
    )
    add_output_options(parser)
    parser.add_argument("--realtime", action="store_true", help="send a file at the pace of speech")
    parser.add_argument("--token", default="", help="the server's token; safer in $SIMUL_WHISPER_TOKEN")
    parser.add_argument("--device", metavar="NAME_OR_INDEX", help="the microphone, or a part of its name")
    add_options(parser, RecordingConfig, "what is heard of a recording")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options_from(RecordingConfig, options).channels == "separate":
        raise ConfigError("a connection hears one stream; give --channels mix, or the number of one")
    options.to = checked_targets(options.to)
    if options.to and options.format in CAPTION_FORMATS:
        raise ConfigError(f"{options.format} holds one language; with --to, give --format text or jsonl")
    is_elsewhere = options.source in ("-", "mic") or options.source.startswith(("http://", "https://"))
    if not is_elsewhere and not Path(options.source).is_file():
        raise ConfigError(f"{options.source}: no such file")
    if options.speak:
        check_speech_file(options.speak, (options.source,))
    return asyncio.run(_connect(options))


async def _connect(options: argparse.Namespace) -> int:
    # Here, because the other commands do without the live extra.
    from streaming.client import Client, Disconnected, Reconnected
    from streaming.events import Failed, Spoken
    from streaming.output.terminal import PlainCaptions

    named = {"language": options.language, "task": options.task, "terms": options.terms}
    settings = {name: value for name, value in named.items() if value}
    code = language_code(options.language or "auto")
    language = None if code == "auto" else code
    captions = PlainCaptions(format_from(options, language, texts=(TRANSCRIPT, *options.to)), sys.stdout, sys.stderr)
    last: ClientEvent | None = None
    speech = [*options.to, TRANSCRIPT][:1] if options.speak else []
    with _SpokenFile(options.speak) as spoken:
        async with Client(
            options.url, token=options.token, settings=settings, targets=options.to, speech=speech, drafts=False
        ) as client:
            speaking = asyncio.create_task(_speak(client, options))
            _end_at_ctrl_c(speaking)
            try:
                async for last in client:
                    if client.session:
                        spoken.begin()
                    if isinstance(last, Disconnected | Reconnected):
                        captions.say(_notice(last))
                    elif isinstance(last, Spoken):
                        spoken.write(last)
                    else:
                        captions.show(last)
            finally:
                speaking.cancel()
                with suppress(asyncio.CancelledError):
                    await speaking
    return _FAILED if isinstance(last, Failed) else 0


class _SpokenFile:
    """Sounds one after another, at the rate of most voices. path: None: there are none. Raises ConfigError.

    What was in the file before is there until `begin`: the server may refuse, or the user think better of it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: WaveFile | None = None
        if path is None:
            return
        self._was_there = path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> "_SpokenFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
        elif self._path and not self._was_there:
            self._path.unlink(missing_ok=True)

    def begin(self) -> None:
        """Make the file, the first time."""
        # Here, because the other commands do without the live extra.
        from streaming.audio.wave_file import WaveFile

        if self._path and not self._file:
            try:
                self._file = WaveFile(self._path, _SPOKEN_RATE)
            except OSError as error:
                raise ConfigError(f"{self._path}: cannot be written: {error.strerror}") from error

    def write(self, spoken: "Spoken") -> None:
        from streaming.audio.pcm import resampled

        if self._file:
            try:
                self._file.write(resampled(spoken.pcm, spoken.rate, _SPOKEN_RATE))
            except OSError as error:
                raise ConfigError(f"{self._path}: cannot be written any more: {error.strerror}") from error


def _notice(event: "Disconnected | Reconnected") -> str:
    from streaming.client import Disconnected

    if isinstance(event, Disconnected):
        return f"{event.message}; trying again"
    if event.is_resumed:
        return "connected again; nothing is lost"
    return f"connected again, in a new session, which hears the audio from {event.from_s:.1f} s on"


async def _speak(client: "Client", options: argparse.Namespace) -> None:
    from streaming.client import paced

    source = _source(options)
    try:
        async for samples in paced(source) if options.realtime else source:
            await client.send(samples, drop_oldest=options.source == "mic")
    finally:
        # Also when cancelled by Ctrl-C: what was heard is still written.
        client.end()


def _end_at_ctrl_c(speaking: "asyncio.Task[None]") -> None:
    """The first Ctrl-C ends the audio, the second one the program."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        speaking.cancel()

    # Windows has no such handlers; there Ctrl-C ends the program.
    with suppress(NotImplementedError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, stop)


def _source(options: argparse.Namespace) -> AsyncIterator[Samples]:
    if options.source == "mic":
        return _microphone(options.device)
    if options.source == "-":
        return _standard_input()
    return _recording(options.source, options_from(RecordingConfig, options))


async def _recording(source: str, config: RecordingConfig) -> AsyncIterator[Samples]:
    from streaming.audio.files import chunked
    from streaming.cli.recordings import opened_recording

    with opened_recording(source, config) as recording:
        for samples in chunked(recording.sources[0].blocks, _PIECE_SAMPLES):
            yield samples


async def _standard_input() -> AsyncIterator[Samples]:
    from streaming.audio.pcm import PcmDecoder
    from streaming.settings import PcmFormat

    decoder = PcmDecoder(PcmFormat())
    # As much as there is, at most that.
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), 2 * _PIECE_SAMPLES):
        yield decoder.feed(data)


async def _microphone(wanted: str | None) -> AsyncIterator[Samples]:
    from streaming.audio.capture import Capture, samples_and_notices
    from streaming.audio.microphone import Microphone

    with ExitStack() as stack:
        capture = Capture(Microphone(wanted))
        stack.callback(capture.end)
        while True:
            samples, notices = samples_and_notices(await asyncio.to_thread(capture.read, _POLL_S))
            for notice in notices:
                print(f"simul-whisper: {notice}", file=sys.stderr)
            yield samples
