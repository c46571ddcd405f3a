"""`simul-whisper listen`: live captions of a microphone, on the terminal and in a file."""

import argparse
import sys
from contextlib import ExitStack

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
from streaming.cli.options import add_settings, add_translation_settings, add_voice_settings, configs_from
from streaming.cli.output_files import check_captions
from streaming.cli.translation import opened_translator, stages_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME_OR_INDEX", help="the microphone, or a part of its name")
    parser.add_argument("--list-devices", action="store_true", help="list the microphones, and exit")
    add_caption_flags(parser)
    add_voice_settings(parser)
    add_translation_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        stack.enter_context(only_python_writes_errors())
        if options.list_devices:
            from streaming.audio.devices import Direction

            return show_devices(Direction.INPUT)
        if options.translate:
            options.task = "translate"
        configs = configs_from(options)
        check_captions(options.format, options.output, configs.engine.targets)
        from streaming.audio.capture import Capture
        from streaming.output.live_captions import listen
        from streaming.stages.stage import run_stage

        microphone = microphone_of(options.device)
        records = records_of(stack, options, configs) if options.output else []
        translator = opened_translator(configs, options)
        stop = stack.enter_context(ctrl_c())
        worker = stack.enter_context(running_worker(configs.session))
        if not is_ready(worker, stop):
            return INTERRUPTED
        captions = stack.enter_context(captions_on(options, configs))
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
    return 0 if ended_well and not is_broken else FAILED
