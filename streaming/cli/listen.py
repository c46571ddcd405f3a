"""`simul-whisper listen`: live captions of a microphone, on the terminal and in a file."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simul_whisper import AlignAttConfig, BackendError
from streaming.cli.options import (
    Configs,
    ProgressBar,
    add_settings,
    add_translation_settings,
    add_voice_settings,
    configs_from,
)
from streaming.cli.output_files import check_captions, labelled_path
from streaming.cli.output_options import add_output_options, format_from, texts_apart
from streaming.cli.translation import opened_translator, stages_from
from streaming.output.durable import DurableText
from streaming.output.texts import TRANSCRIPT

if TYPE_CHECKING:
    from streaming.audio.microphone import Microphone
    from streaming.output.live_captions import Record
    from streaming.output.terminal import Captions
    from streaming.sessions.worker import Worker

_FAILED = 2
_INTERRUPTED = 130
_POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME_OR_INDEX", help="the microphone, or a part of its name")
    parser.add_argument("--list-devices", action="store_true", help="list the microphones, and exit")
    add_output_options(parser)
    parser.add_argument("--output", metavar="FILE", help="also write to FILE, safely on the disk after each passage")
    parser.add_argument("--translate", action="store_true", help="translate into English; the same as --task translate")
    add_voice_settings(parser)
    add_translation_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        stack.enter_context(_only_python_writes_errors())
        if options.list_devices:
            return _show_devices()
        if options.translate:
            options.task = "translate"
        configs = configs_from(options)
        check_captions(options.format, options.output, configs.engine.targets)
        from streaming.audio.capture import Capture
        from streaming.output.live_captions import listen
        from streaming.stages.stage import run_stage

        microphone = _microphone(options.device)
        records = _records(stack, options, configs) if options.output else []
        translator = opened_translator(configs, options)
        stop = stack.enter_context(_ctrl_c())
        worker = stack.enter_context(_running_worker(configs.session))
        if not _is_ready(worker, stop):
            return _INTERRUPTED
        captions = stack.enter_context(_captions(options, configs))
        capture = Capture(microphone)
        stack.callback(capture.end)
        captions.say(f"listening to {capture.name}; Ctrl-C ends")
        handle = worker.open(voice=configs.voice)
        for stage in stages_from(configs, translator, drafts=True, is_live=True):
            run_stage(handle.log, stage)
        ended_well = listen(capture, handle, captions, lambda: stop.is_asked, records)
    is_broken = any(record.is_broken for record in records)
    if is_broken:
        print(f"simul-whisper: {options.output}: the end of the captions is missing", file=sys.stderr)
    return 0 if ended_well and not is_broken else _FAILED


def _show_devices() -> int:
    from streaming.audio.devices import list_devices

    for device in list_devices():
        mark = "*" if device.is_default else " "
        print(f"{mark} {device.index:3} {device.name}  ({device.host}, {device.channels} channels, {device.rate} Hz)")
    return 0


def _microphone(wanted: str | None) -> "Microphone":
    """Return the microphone; one that is not there is refused before a model is loaded."""
    from streaming.audio.devices import find_device, list_devices
    from streaming.audio.microphone import Microphone

    find_device(list_devices(), wanted)
    return Microphone(wanted)


def _language(config: AlignAttConfig) -> str | None:
    return None if config.language == "auto" else config.language


def _records(stack: ExitStack, options: argparse.Namespace, configs: Configs) -> "list[Record]":
    """Return the files that are written; captions are a file for each language."""
    from streaming.output.live_captions import Record

    records = []
    for texts in texts_apart(options.format, configs.engine.targets):
        label = texts[0] if len(texts) == 1 else ""
        file = stack.enter_context(closing(DurableText(labelled_path(Path(options.output), label))))
        records.append(Record(file, format_from(options, _language(configs.engine), texts=texts)))
    return records


@contextmanager
def _captions(options: argparse.Namespace, configs: Configs) -> "Iterator[Captions]":
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
def _running_worker(config: AlignAttConfig) -> "Iterator[Worker]":
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


def _is_ready(worker: "Worker", stop: "_Stop") -> bool:
    """Wait for the model; False when it is not waited for any more. Raises BackendError when it cannot be used."""
    while not stop.is_asked:
        health = worker.wait_ready(_POLL_S)
        if health.is_ready:
            return True
        if health.message:
            raise BackendError(health.message)
    return False


class _Stop:
    is_asked = False


@contextmanager
def _ctrl_c() -> Iterator[_Stop]:
    """The first Ctrl-C, or SIGTERM, asks to stop; the second one does not wait for what was heard."""
    stop = _Stop()

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
def _only_python_writes_errors() -> Iterator[None]:
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
