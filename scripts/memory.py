"""What hearing a recording takes of memory, stage by stage, in megabytes; and which files most of it is from.

python -m scripts.memory RECORDING [--model base] [--language en] [--chunk 1]

Linux only: elsewhere nothing tells it apart. The exit status is 2 for bad input.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BAD_INPUT = 2
_KIB, _MB = 1024, 1e6
_MOST_FILES = 8


@dataclass(frozen=True)
class Resident:
    """Bytes in memory: of this process alone, and of files, which the system shares among processes and can let go;
    the sum, and the most that it has been."""

    own: int
    of_files: int
    at_most: int

    @property
    def all(self) -> int:
        return self.own + self.of_files


def resident(status: str) -> Resident:
    """Read `/proc/self/status`."""
    fields = {line.split(":")[0]: line.split() for line in status.splitlines()}
    names = ("RssAnon", "RssFile", "RssShmem", "VmHWM")
    own, of_files, shared, at_most = (int(fields[name][1]) * _KIB for name in names)
    return Resident(own, of_files + shared, at_most)


def by_file(smaps: str) -> Counter[str]:
    """Read `/proc/self/smaps`: bytes in memory by the file that they are from, as the name of the file says."""
    found, name = Counter[str](), ""
    for line in smaps.splitlines():
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):
            name = Path(rest[4]).name if len(rest) == 5 else "[own]"
        elif first == "Rss:":
            found[name] += int(rest[0]) * _KIB
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if sys.platform != "linux":
        print("memory: only Linux tells what memory is for", file=sys.stderr)
        return _BAD_INPUT
    print(f"{'MB':24}{'all':>8}{'own':>8}{'of files':>10}{'at most':>9}")
    _row("Python")
    from simul_whisper import SimulWhisperError

    try:
        for stage in _stages(options):
            _row(stage)
    except SimulWhisperError as error:
        print(f"memory: {error}", file=sys.stderr)
        return _BAD_INPUT
    print()
    for name, n_bytes in by_file(Path("/proc/self/smaps").read_text("utf-8")).most_common(_MOST_FILES):
        print(f"{n_bytes / _MB:8.0f} {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", metavar="RECORDING")
    parser.add_argument("--model", default="base", help="(default: %(default)s)")
    parser.add_argument("--language", default="en", help="(default: %(default)s)")
    parser.add_argument("--chunk", type=float, default=1.0, metavar="SECONDS", help="(default: 1)")
    return parser


def _stages(options: argparse.Namespace) -> Iterator[str]:
    """Do one thing after the other, and yield what has been done."""
    from simul_whisper import SAMPLE_RATE, AlignAttConfig, PaddedAlignAttWhisper, load_model
    from streaming.audio.files import chunked, read_audio

    yield "libraries"
    config = AlignAttConfig(model_name=options.model, language=options.language).validated()
    samples = read_audio(options.recording)
    model = load_model(config)
    yield f"{options.model} loaded"
    listener = PaddedAlignAttWhisper(config, model)
    for chunk in chunked([samples], round(options.chunk * SAMPLE_RATE)):
        listener.insert_audio(chunk)
        listener.infer()
    listener.infer(is_last=True)
    yield f"{len(samples) / SAMPLE_RATE:.0f} s heard"


def _row(stage: str) -> None:
    found = resident(Path("/proc/self/status").read_text("utf-8"))
    numbers = (found.all, found.own, found.of_files, found.at_most)
    cells = (f"{n / _MB:{width}.0f}" for n, width in zip(numbers, (8, 8, 10, 9), strict=True))
    print(f"{stage:24}{''.join(cells)}")


if __name__ == "__main__":
    sys.exit(main())
