"""`simul-whisper` with the model and the voice of tones in place of real ones. Run it as a script, or fork it from a
process that has imported all of it, so that it starts at once.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Not what knows PortAudio, which would see the devices of the first process.
_IMPORTED = (
    "pytest tests.speaking streaming.cli.interpret streaming.output.aloud streaming.output.live_captions "
    "streaming.stages.speech"
).split()


def forked(arguments: Sequence[str], environment: Mapping[str, str], out: Path, err: Path) -> ForkServerProcess:
    """Return the program, running. It writes to two files."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_run_with, args=(list(arguments), dict(environment), out, err))
    process.start()
    return process


def _run_with(arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    sys.exit(_main(arguments))


def _main(arguments: list[str]) -> int:
    import simul_whisper
    from streaming.cli import main
    from tests.speaking import LoudVoice, ToneVoices
    from tests.tones import tone_model

    voices = ToneVoices(LoudVoice(), ("en", "es"))
    vars(simul_whisper).update(load_model=lambda *_: tone_model(), open_voices=lambda *_: voices)
    return main(arguments)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(_main(sys.argv[1:]))
