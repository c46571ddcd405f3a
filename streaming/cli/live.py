"""What the commands share that show live captions: the worker, the captions, the files and the ends."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simul_whisper import AlignAttConfig, BackendError
from streaming.cli.options import Configs, ProgressBar
from streaming.cli.output_files import labelled_path
from streaming.cli.output_options import add_output_options, format_from, texts_apart
from streaming.output.durable import DurableText
from streaming.output.texts import TRANSCRIPT

if TYPE_CHECKING:
    from streaming.audio.devices import Direction
    from streaming.audio.microphone import Microphone
    from streaming.output.live_captions import Record
    from streaming.output.terminal import Captions
    from streaming.sessions.worker import Worker

FAILED = 2
INTERRUPTED = 130
_POLL_S = 0.2


def add_caption_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of captions: how they are shown, where they are kept, and whether they are English."""
    add_output_options(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="also write the captions to FILE, safely on the disk after each passage"
    )
    parser.add_argument("--translate", action="store_true", help="translate into English; the same as --task translate")


def show_devices(direction: "Direction") -> int:
    from streaming.audio.devices import list_devices

    devices = list_devices(direction)
    if not devices:
        print("      none")
    for device in devices:
        mark = "*" if device.is_default else " "
        print(f"{mark} {device.index:3} {device.name}  ({device.host}, {device.channels} channels, {device.rate} Hz)")
    return 0


def microphone_of(wanted: str | None) -> "Microphone":
    """Return the microphone; one that is not there is refused before a model is loaded."""
    from streaming.audio.devices import find_device, list_devices
    from streaming.audio.microphone import Microphone

    find_device(list_devices(), wanted)
    return Microphone(wanted)


def _language(config: AlignAttConfig) -> str | None:
    return None if config.language == "auto" else config.language


def records_of(stack: ExitStack, options: argparse.Namespace, configs: Configs) -> "list[Record]":
    """Return the files that are written; captions are a file for each language."""
    from streaming.output.live_captions import Record

    records = []
    for texts in texts_apart(options.format, configs.engine.targets):
        label = texts[0] if len(texts) == 1 else ""
        file = stack.enter_context(closing(DurableText(labelled_path(Path(options.output), label))))
        records.append(Record(file, format_from(options, _language(configs.engine), texts=texts)))
    return records


@contextmanager
def captions_on(options: argparse.Namespace, configs: Configs) -> "Iterator[Captions]":
    """Captions for people on a terminal; else, or where another format is to be seen, what that makes of them."""
    from streaming.output.terminal import PlainCaptions, is_screen, open_screen

    shown, targets = "text" if options.output else options.format, configs.engine.targets
    if shown == "text" and not options.times and is_screen():
        with open_screen(language=_language(configs.engine), targets=targets) as screen:
            yield screen
    else:
        written = format_from(options, _language(configs.engine), name=shown, texts=(TRANSCRIPT, *targets))
        yield PlainCaptions(written, sys.stdout, sys.stderr)


@contextmanager
def running_worker(config: AlignAttConfig) -> "Iterator[Worker]":
    from simul_whisper import load_model
    from streaming.sessions.worker import Worker

    bar = ProgressBar()
    worker = Worker(lambda: load_model(config, bar), config)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        bar.close()


def is_ready(worker: "Worker", stop: "Stop") -> bool:
    """Wait for the model; False when it is not waited for any more. Raises BackendError when it cannot be used."""
    while not stop.is_asked:
        health = worker.wait_ready(_POLL_S)
        if health.is_ready:
            return True
        if health.message:
            raise BackendError(health.message)
    return False


class Stop:
    is_asked = False


@contextmanager
def ctrl_c() -> Iterator[Stop]:
    """The first Ctrl-C, or SIGTERM, asks to stop; the second one does not wait for what was heard."""
    stop = Stop()

    def ask(number: int, frame: object) -> None:  # noqa: ARG001
        if stop.is_asked:
            raise KeyboardInterrupt
        stop.is_asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def only_python_writes_errors() -> Iterator[None]:
    """PortAudio and ALSA write to file descriptor 2 whatever happens to a device, in the middle of the captions."""
    if not _is_descriptor_2(sys.stderr):
        yield
        return
    before = sys.stderr
    before.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=before.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(sys.stderr.fileno(), 2)
        sys.stderr.close()
        sys.stderr = before


def _is_descriptor_2(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 2)
    except (AttributeError, OSError):
        return False
