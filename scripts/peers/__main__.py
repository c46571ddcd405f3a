"""Our engine beside its peers, on the same recordings, weights, chunks and cores: quality, delay, cost, and ratios.

python -m scripts.peers DIR_OR_MANIFEST [--only-lang en] [--limit 10] [--peers faster-whisper,wlk-alignatt]

Peers are no dependencies: one that is not installed is passed over. Each runs in a process of its own, one after the
other. The exit status is 2 for bad input, also of a single clip, and 1 when a system failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.peers.engine import settings
from scripts.peers.figures import Measured, measured, table
from scripts.peers.job import SAMPLE_RATE, Job, Recording, Report
from scripts.peers.systems import OURS, PEERS, SYSTEMS
from simul_whisper import ConfigError, SimulWhisperError
from simul_whisper.weights import load_weights, model_directory
from streaming.audio.files import read_audio
from streaming.cli.bench import add_selection, selected_clips
from streaming.evaluation.manifest import Clip

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            return run(options, Path(folder))
    except SimulWhisperError as error:
        _say(str(error))
        return _BAD_INPUT
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_selection(parser)
    parser.add_argument("--limit", type=_positive, metavar="N", help="the first N of these clips only")
    parser.add_argument("--model", default="base", help="a faster-whisper model, by name or directory (default: base)")
    parser.add_argument("--chunk", type=float, default=1.0, metavar="SECONDS", help="for all that stream (default: 1)")
    parser.add_argument(
        "--threads", type=_positive, default=2, metavar="N", help="threads, and cores on Linux (default: 2)"
    )
    parser.add_argument("--config", metavar="FILE", help="settings of our engine, as for simul-whisper")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="NAMES", help="(default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write all figures and every clip's text to FILE")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return int(text)


def run(options: argparse.Namespace, folder: Path) -> int:
    names = [OURS, *_peers(options.peers)]
    clips = selected_clips(options)[: options.limit]
    recordings = list(_recordings(clips, folder))
    if not recordings:
        raise ConfigError("no clip could be read")
    status = 0 if len(recordings) == len(clips) else _BAD_INPUT
    job, systems = _job(options, recordings, folder), dict[str, Measured]()
    settings(job)
    for name in _installed(names):
        heard = listened(replace(job, system=name))
        if heard:
            systems[name] = measured(heard, _with_durations(clips, recordings))
        else:
            _say(f"{name} failed")
            status = _FAILED
    print(table({name: each.figures for name, each in systems.items()}))
    if options.json:
        _write(Path(options.json), options, systems)
    return status


def _peers(names: str) -> list[str]:
    peers = names.split(",") if names else []
    if unknown := [name for name in peers if name not in PEERS]:
        raise ConfigError(f"--peers: got {unknown[0]!r}, expected some of {', '.join(PEERS)}")
    return peers


def _installed(names: Sequence[str]) -> Iterator[str]:
    """Yield what can run; say how to install the others."""
    for name in names:
        if SYSTEMS[name].is_installed:
            yield name
        else:
            _say(f"{name} is left out; install it with: pip install {SYSTEMS[name].pip}")


def _recordings(clips: Sequence[Clip], folder: Path) -> Iterator[Recording]:
    """Write the samples of each clip for all systems; say which cannot be read."""
    for number, clip in enumerate(clips):
        try:
            samples = read_audio(clip.path)
        except SimulWhisperError as error:
            _say(str(error))
            continue
        np.save(path := folder / f"{number}.npy", samples)
        language = None if clip.lang in ("none", "multi") else clip.lang
        yield Recording(clip.id, str(clip.path), str(path), len(samples) / SAMPLE_RATE, language)


def _with_durations(clips: Sequence[Clip], recordings: Sequence[Recording]) -> dict[str, Clip]:
    """The clips by id, as long as their files are."""
    by_id = {clip.id: clip for clip in clips}
    return {each.id: replace(by_id[each.id], duration_s=each.duration_s) for each in recordings}


def _job(options: argparse.Namespace, recordings: Sequence[Recording], folder: Path) -> Job:
    directory = model_directory(options.model)
    if not (directory / "model.bin").exists():
        raise ConfigError(f"--model: {directory} has no model.bin; expected a faster-whisper model, which all can load")
    return Job(
        system=OURS,
        model=options.model,
        config=options.config,
        directory=str(directory),
        decoder=str(_decoder(options.model, folder)),
        output=str(folder / "report.json"),
        chunk_s=options.chunk,
        threads=options.threads,
        recordings=tuple(recordings),
    )


def _decoder(model: str, folder: Path) -> Path:
    weights = load_weights(model)
    arrays: dict[str, Any] = {name: value for name, value in weights.tensors.items() if name.startswith("decoder.")}
    arrays |= {"alignment_heads": np.array(weights.alignment_heads), "dims": json.dumps(asdict(weights.dims))}
    np.savez(path := folder / "decoder.npz", **arrays)
    return path


def listened(job: Job) -> Report | None:
    """Run a system in a process of its own; None when it failed, which it says itself."""
    output = Path(job.output)
    job.write(path := output.with_name("job.json"))
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "scripts.peers.child", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(job.threads)}
    child = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return Report.read(output) if child.returncode == 0 else None


def _write(path: Path, options: argparse.Namespace, systems: dict[str, Measured]) -> None:
    values = {"options": vars(options), "systems": {name: asdict(each) for name, each in systems.items()}}
    try:
        path.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
