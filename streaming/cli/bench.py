"""`simul-whisper bench`: quality, delay and cost over a set of recordings with references."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from simul_whisper import AlignAttConfig, ConfigError, Model, SimulWhisperError, load_model
from streaming.cli.options import ProgressBar, add_settings, config_from
from streaming.manifest import Clip, load_manifest

_BAD_INPUT = 2


def add_command(commands: Any) -> None:
    parser = commands.add_parser("bench", help="measure quality, delay and cost on recordings with references")
    add_selection(parser)
    parser.add_argument(
        "--offline", action=argparse.BooleanOptionalAction, default=True, help="also decode clips whole"
    )
    parser.add_argument("--json", metavar="FILE", help="keep all figures and every clip's text")
    parser.add_argument(
        "--coreml-reference",
        action="store_true",
        help="with --backend coreml: run the package in NumPy, on any machine, to measure what it writes",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the manifest and the flags that choose among its clips."""
    parser.add_argument("manifest", metavar="DIR_OR_MANIFEST", help="manifest.jsonl, or the folder that holds it")
    parser.add_argument("--only-lang", metavar="CODES", help="clips of these languages only, such as en,de")
    parser.add_argument("--only-kind", metavar="KINDS", help="clips of these kinds only, such as short,long")
    parser.add_argument("--skip", metavar="IDS", default="", help="leave these clips out")


def run(options: argparse.Namespace) -> int:
    # Here, because scoring needs packages of the bench extra that the other commands do without.
    from streaming.evaluation import report

    config = config_from(options)
    if options.coreml_reference:
        config.coreml_compute_units = "CPU_ONLY"
    clips = selected_clips(options)
    bar = ProgressBar()
    try:
        model = load_model(config, bar, _reference_runtime() if options.coreml_reference else None)
    finally:
        bar.close()
    if options.coreml_reference and model.info.encoder_backend != "coreml":
        raise ConfigError(f"--coreml-reference: {model.info.fallback_reason or 'needs --backend coreml'}")
    results, status = _evaluated(clips, model, config, offline=options.offline)
    figures = {"model": vars(model.info), **report(results, config)}
    if options.json:
        _write(Path(options.json), figures)
    print(_table(figures))
    return status


def _reference_runtime() -> Any:
    # coremltools takes seconds to import.
    from simul_whisper.coreml.reference import REFERENCE
    from streaming.cli.coreml_check import silence_coremltools

    silence_coremltools()
    return REFERENCE


def selected_clips(options: argparse.Namespace) -> list[Clip]:
    """Return the chosen clips, one at least. Raises ManifestError and ConfigError."""
    clips = load_manifest(options.manifest)
    languages = options.only_lang.split(",") if options.only_lang else {clip.lang for clip in clips}
    kinds = options.only_kind.split(",") if options.only_kind else {clip.kind for clip in clips}
    skipped = options.skip.split(",")
    chosen = [clip for clip in clips if clip.lang in languages and clip.kind in kinds and clip.id not in skipped]
    if not chosen:
        raise ConfigError(f"{options.manifest}: no clip is of the languages and kinds asked for")
    return chosen


def _evaluated(clips: list[Clip], model: Model, config: AlignAttConfig, *, offline: bool) -> tuple[list[Any], int]:
    """Return the results of the clips that could be read, and the exit status."""
    from streaming.evaluation import evaluate_clip

    results, status = [], 0
    for clip in tqdm(clips, desc="clips", leave=False):
        try:
            results.append(evaluate_clip(clip, model, config, offline=offline))
        except SimulWhisperError as error:
            print(f"simul-whisper: {error}", file=sys.stderr)
            status = _BAD_INPUT
    if not results:
        raise ConfigError("no clip could be read")
    return results, status


def _write(path: Path, figures: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


_COLUMNS = ("clips", "audio_s", "wer", "wer_offline", "bleu", "chrf", "compute_per_audio_s", "first_word_s", "laal_s")


def _table(figures: dict[str, Any]) -> str:
    """Return the figures as text: a line for each group, then costs and the model."""
    columns = (*_COLUMNS, "laal_ca_s", "words_without_speech")
    titles = [f"{column.replace('compute_per_audio_s', 'cost'):>9}" for column in columns]
    lines = [" ".join([f"{'':14}", *titles])]
    for name, group in {**figures["groups"], "overall": figures["overall"]}.items():
        cells = [f"{_cell(group[column]):>{len(title)}}" for column, title in zip(columns, titles, strict=True)]
        lines.append(" ".join([f"{name:14}", *cells]))
    overall = figures["overall"]
    stages = ", ".join(f"{name} {share}" for name, share in overall["stages"].items())
    step = overall["decode_step_ms"]
    lines.append(f"compute seconds per audio second: {stages}")
    lines.append(f"decode step: median {step['median']} ms, 95th percentile {step['p95']} ms")
    lines.append(f"peak memory: {overall['peak_memory_mb']} MB")
    lines.append("model: " + ", ".join(f"{key} {value}" for key, value in figures["model"].items()))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:g}"
