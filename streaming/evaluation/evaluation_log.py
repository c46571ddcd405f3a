"""The logs of an evaluation in the forms that omnisteval and simulstream read, and the latencies that omnisteval finds.

omnisteval is run as the program it is, by the command that stands in `score.sh` beside the logs, so that anybody gets
the same from them. Clips whose reference has segments are segmented anew, after 2509.17349; the others count whole.
"""

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from simul_whisper import BackendError
from streaming.evaluation.manifest import Segment
from streaming.evaluation.metrics_log import MetricsLog
from streaming.evaluation.results import ClipResult
from streaming.evaluation.scoring import CHARACTER_LANGUAGES, units

# Our names of omnisteval's scores, which are in milliseconds. CU: by the audio's clock; CA: with computation.
_SCORES = {
    "YAAL (CU)": "yaal_s",
    "YAAL (CA)": "yaal_ca_s",
    "LongLAAL (CU)": "stream_laal_s",
    "LongLAAL (CA)": "stream_laal_ca_s",
    "LongYAAL (CU)": "long_yaal_s",
    "LongYAAL (CA)": "long_yaal_ca_s",
}
NAMES = tuple(_SCORES.values())
_FILES = {"hypothesis_file": "hypotheses.jsonl", "ref_sentences_file": "references.txt"}
_SEGMENTATION = "segmentation.yaml"


def write_logs(folder: Path, results: Iterable[ClipResult]) -> list[Path]:
    """Write the logs of clips of one language and kind, and return the folders they are in: one, or two.

    Clips without a reference are left out. Raises OSError.
    """
    scored = [result for result in results if result.reference]
    whole = [result for result in scored if not result.segments]
    segmented = [result for result in scored if result.segments]
    parts = {folder: whole, folder.with_name(f"{folder.name}-segments"): segmented}
    for part, clips in parts.items():
        if clips:
            _write(part, clips)
    return [part for part, clips in parts.items() if clips]


def folder_name(group: str) -> str:
    return re.sub(r"[^\w.-]+", "-", group)


def has_omnisteval() -> bool:
    return find_spec("omnisteval") is not None


def latencies(folder: Path) -> dict[str, float | None]:
    """Run the command of `score.sh` and return those of NAMES that it finds; its report stays in the folder.

    Raises BackendError when omnisteval fails.
    """
    arguments = shlex.split(_command_line(folder / "score.sh"))[1:]
    ran = subprocess.run(
        [sys.executable, "-m", "omnisteval.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"omnisteval failed on {folder}: {reason}")
    return _read_scores(folder / "scores.tsv")


def _write(folder: Path, clips: Sequence[ClipResult]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as stream:
        _log(MetricsLog(stream), clips)
    (folder / "simulstream.yaml").write_text("detokenizer_type: simuleval\nlatency_unit: spm\n", encoding="utf-8")
    pieces = [(clip, segment) for clip in clips for segment in _segments(clip)]
    _write_lines(folder / _FILES["hypothesis_file"], (json.dumps(_row(clip), ensure_ascii=False) for clip in clips))
    _write_lines(folder / _FILES["ref_sentences_file"], (" ".join(segment.text.split()) for _, segment in pieces))
    _write_lines(folder / _SEGMENTATION, (f"- {json.dumps(_place(clip, segment))}" for clip, segment in pieces))
    script = f'#!/bin/sh\ncd "$(dirname "$0")" || exit\n{_command(clips)}\n'
    (folder / "score.sh").write_text(script, encoding="utf-8")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _command(clips: Sequence[ClipResult]) -> str:
    unit = "--char_level" if clips[0].text_lang in CHARACTER_LANGUAGES else "--word_level"
    files = " ".join(f"--{flag} {name}" for flag, name in _FILES.items())
    mode = f"longform --speech_segmentation {_SEGMENTATION}" if clips[0].segments else "shortform"
    return f"omnisteval {mode} {files} {unit} --output_folder ."


def _command_line(script: Path) -> str:
    return script.read_text(encoding="utf-8").splitlines()[-1]


def _log(log: MetricsLog, clips: Iterable[ClipResult]) -> None:
    for clip in clips:
        log.start(_source(clip))
        for emission in clip.emissions:
            log.chunk(emission.audio_s, emission.compute_s, emission.words)


def _source(clip: ClipResult) -> str:
    # Readers cut off what looks like a suffix, and an id may have a dot.
    return f"{clip.id}.wav"


def _segments(clip: ClipResult) -> tuple[Segment, ...]:
    return clip.segments or (Segment(0.0, clip.duration_s, clip.reference or ""),)


def _place(clip: ClipResult, segment: Segment) -> dict[str, Any]:
    duration_s = round(segment.end_s - segment.start_s, 3)
    return {"wav": _source(clip), "offset": segment.start_s, "duration": duration_s}


def _row(clip: ClipResult) -> dict[str, Any]:
    """A line of SimulEval's log, in milliseconds: a delay for each word, or character."""
    # A mark that stands alone, such as a dash, has no delay.
    said = [unit for unit in units(clip.text, clip.text_lang) if any(letter.isalnum() for letter in unit)]
    return {
        "source": _source(clip),
        "prediction": ("" if clip.text_lang in CHARACTER_LANGUAGES else " ").join(said),
        "delays": [round(1000 * delay_s, 1) for delay_s in clip.delays_s],
        "elapsed": [round(1000 * delay_s, 1) for delay_s in clip.delays_ca_s],
        "source_length": round(1000 * clip.duration_s, 1),
    }


def _read_scores(path: Path) -> dict[str, float | None]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {_SCORES[name]: _seconds(value) for name, value in rows if name in _SCORES}


def _seconds(milliseconds: str) -> float | None:
    value = float(milliseconds)
    return None if math.isnan(value) else round(value / 1000, 3)
