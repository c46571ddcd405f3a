"""`simul-whisper bench`: quality, delay and cost over a set of recordings with references."""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from simul_whisper import AlignAttConfig, BackendError, ConfigError, ModelError, SimulWhisperError
from streaming.cli.bench_table import table
from streaming.cli.options import (
    Configs,
    ProgressBar,
    add_settings,
    add_translation_settings,
    add_voice_settings,
    configs_from,
    session_configs_from,
)
from streaming.cli.speech import add_speech_settings, opened_voices, speech_flags, speech_from, why_silent
from streaming.cli.translation import opened_translator
from streaming.evaluation.manifest import Clip, load_manifest
from streaming.output.texts import TRANSCRIPT

if TYPE_CHECKING:
    from simul_whisper import Model, ModelInfo
    from streaming.evaluation.results import Bound, ClipResult, Translating
    from streaming.evaluation.speaking import Speaking

_BAD_INPUT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument(
        "--offline",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also decode clips whole, and with faster-whisper, where it is installed",
    )
    _add_hearing(parser)
    parser.add_argument(
        "--foresight",
        action="store_true",
        help="also read clips of up to 30 s anew after every chunk: how soon could each word have been told?",
    )
    parser.add_argument(
        "--coreml-reference",
        action="store_true",
        help="with --backend coreml, --decoder-backend coreml or both: run their packages in NumPy, on any machine, to "
        "measure what they write",
    )
    parser.add_argument(
        "--speech",
        action="store_true",
        help="also speak all translations, or the transcript where there is none: how late is that heard, and at what "
        "cost?",
    )
    parser.add_argument(
        "--hear-again", action="store_true", help="with --speech: decode what was spoken, and compare it with its text"
    )
    _add_reports(parser)
    add_settings(parser)
    add_translation_settings(parser)
    add_speech_settings(parser)
    add_voice_settings(parser)
    parser.set_defaults(run=run)


def _add_hearing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine-alone",
        action="store_true",
        help="hear every sample, in the language of the manifest, without drafts; else as a listener gets it",
    )
    parser.add_argument(
        "--detect-language",
        action=argparse.BooleanOptionalAction,
        help="whether to detect the language, or take it from the manifest (default: detect it, but for --engine-alone "
        "and --language)",
    )


def _add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write all figures and every clip's text to FILE")
    parser.add_argument(
        "--before", metavar="FILE", help="compare, clip by clip, with the figures that another run has written to FILE"
    )
    parser.add_argument(
        "--log",
        metavar="DIR",
        help="write the logs that omnisteval and simulstream read, and score them with omnisteval",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the manifest and the flags that choose among its clips."""
    parser.add_argument("manifest", metavar="DIR_OR_MANIFEST", help="manifest.jsonl, or the folder that holds it")
    parser.add_argument("--only-lang", metavar="CODES", help="clips of these languages only, such as en,de")
    parser.add_argument("--only-kind", metavar="KINDS", help="clips of these kinds only, such as short,long")
    parser.add_argument(
        "--part",
        choices=("all", "tune", "kept"),
        default="all",
        help="tune: the two thirds to try settings on; kept: the third to look at once, at the end; the names of clips "
        "decide (default: all)",
    )
    parser.add_argument("--skip", metavar="IDS", default="", help="leave these clips out")


def run(options: argparse.Namespace) -> int:
    # Here, because scoring needs packages of the bench extra that the other commands do without.
    from streaming.evaluation.figures import report
    from streaming.evaluation.intervals import intervals

    configs = _configs(options)
    config, voice = configs.engine, configs.voice
    if options.coreml_reference:
        config.coreml_compute_units = "CPU_ONLY"
    clips = selected_clips(options)
    before = _clips_before(options.before, clips, configs)
    translating, speaking = _translating(configs, clips, options), _speaking(configs, clips, options)
    model = _loaded(config, options)
    results, status = _evaluated(clips, model, configs, translating, options)
    figures = {
        "model": {"pipeline": model.info.pipeline, **vars(model.info)},
        "voice": vars(voice) if voice.vad else None,
        **(found := report(results, config, translating)),
        "differences": intervals(found["clips"], before) if before else {},
        "speech": _spoken(results, speaking, (model, config) if options.hear_again else None) if speaking else {},
    }
    _complain_of_translations(results, config.targets)
    if options.log:
        _log(Path(options.log), results, figures)
    if options.json:
        _write(Path(options.json), figures)
    print(table(figures, with_omnisteval=bool(options.log)))
    return status


def _configs(options: argparse.Namespace) -> Configs:
    """Return the settings. Raises ConfigError for flags that do not go together."""
    configs = session_configs_from(options) if options.engine_alone else configs_from(options)
    if options.engine_alone and configs.voice.vad:
        raise ConfigError("--engine-alone and flags of voice activity exclude each other")
    if options.foresight and not options.engine_alone:
        raise ConfigError("--foresight needs --engine-alone")
    language = configs.engine.language
    if options.detect_language and language != "auto":
        raise ConfigError(f"--detect-language and language = {language!r} exclude each other")
    return configs


def _loaded(config: AlignAttConfig, options: argparse.Namespace) -> "Model":
    # Here, because `--help` and bad flags do without the engine.
    from simul_whisper import load_model

    bar = ProgressBar()
    try:
        model = load_model(config, bar, _reference_runtime() if options.coreml_reference else None)
    finally:
        bar.close()
    if options.coreml_reference:
        _check_coreml(model.info)
    return model


def _check_coreml(info: "ModelInfo") -> None:
    """Raise ConfigError unless all runs in Core ML that was asked to, and something does."""
    parts = (
        (info.requested_backend, info.encoder_backend, info.fallback_reason),
        (info.decoder_requested_backend, info.decoder_backend, info.decoder_fallback_reason),
    )
    for requested, backend, reason in parts:
        if requested == "coreml" != backend:
            raise ConfigError(f"--coreml-reference: {reason}")
    if "coreml" not in (info.encoder_backend, info.decoder_backend):
        raise ConfigError("--coreml-reference: needs --backend coreml or --decoder-backend coreml")


def _translating(configs: Configs, clips: list[Clip], options: argparse.Namespace) -> "Translating":
    """Open what translates text, if anything has to. Raises ConfigError for a clip that it could not translate."""
    from streaming.evaluation.results import NOT_ONE_LANGUAGE, Translating

    translator = opened_translator(configs, options)
    written = {"en"} if configs.engine.task == "translate" else {clip.lang for clip in clips} - set(NOT_ONE_LANGUAGE)
    for source, target in product(sorted(written), configs.stage_targets):
        if translator and source != target:
            translator.check_pair(source, target)
    return Translating(configs.translation, translator)


def _speaking(configs: Configs, clips: list[Clip], options: argparse.Namespace) -> "Speaking | None":
    """Return what speaks all translations, or the transcript where there is none; None without --speech.

    Raises ConfigError for flags that do not go together.
    """
    if not options.speech:
        if given := [*speech_flags(options), *(["--hear-again"] if options.hear_again else [])]:
            raise ConfigError(f"{given[0]} needs --speech")
        return None
    config = speech_from(options, configs)
    voices = opened_voices(config)
    from streaming.evaluation.speaking import Speaking

    targets = tuple(configs.engine.targets) or (TRANSCRIPT,)
    # How long voices take to load is no delay of a phrase; one that cannot be had is told where it is missed.
    written = {"en"} if configs.engine.task == "translate" else {clip.lang for clip in clips}
    for language in sorted({target or each for target in targets for each in written}):
        why_silent(voices, language)
    return Speaking(voices, config, targets)


def _spoken(
    results: "list[ClipResult]", speaking: "Speaking", hears: "tuple[Model, AlignAttConfig] | None"
) -> dict[str, Any]:
    """Speak what was told of each clip, as if that had come in real time, and return the figures of each target.

    hears: what hears it again, if that is wanted.
    """
    from streaming.evaluation.heard_again import HeardAgain, again_figures, hear_again
    from streaming.evaluation.speaking import speak, speech_figures
    from streaming.events import SpeechSkipped
    from streaming.stages.metrics import label_of

    skipped, again = list[SpeechSkipped](), dict[str, list[HeardAgain]]()
    for result in tqdm(results, desc="speech", leave=False):
        told = speak(result.emissions, speaking)
        skipped += (each for each in told if isinstance(each, SpeechSkipped))
        if hears:
            for target in speaking.targets:
                language = target or result.text_lang
                again.setdefault(target, []).append(hear_again(result.id, told, target, language, *hears))
    for why in dict.fromkeys(each.why for each in skipped):
        n = sum(each.why == why for each in skipped)
        _complain(f"{n} {'sentence was' if n == 1 else 'sentences were'} not spoken: {why}")
    figures = speech_figures(speaking.metrics)
    for target, heard in again.items():
        figures.setdefault(label_of(target), {}).update(again_figures(heard))
    return figures


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
    if options.part != "all":
        clips = [clip for clip in clips if clip.is_kept == (options.part == "kept")]
    chosen = [clip for clip in clips if clip.lang in languages and clip.kind in kinds and clip.id not in skipped]
    if not chosen:
        raise ConfigError(f"{options.manifest}: no clip is of the languages, kinds and part that you asked for")
    return chosen


def _evaluated(
    clips: list[Clip], model: "Model", configs: Configs, translating: "Translating", options: argparse.Namespace
) -> "tuple[list[ClipResult], int]":
    """Return the results of the clips that could be read, and the exit status."""
    from streaming.evaluation.results import Listener, evaluate_clip

    detects = not options.engine_alone if options.detect_language is None else options.detect_language
    listener = Listener(configs.voice, detects=detects, drafts=not options.engine_alone)
    bound = _bound(configs.engine) if options.offline else None
    results, status = [], 0
    for clip in tqdm(clips, desc="clips", leave=False):
        try:
            results.append(
                evaluate_clip(
                    clip,
                    model,
                    configs.engine,
                    offline=options.offline,
                    bound=bound,
                    foresight=options.foresight,
                    listener=listener,
                    translating=translating,
                )
            )
        except SimulWhisperError as error:
            _complain(error)
            status = _BAD_INPUT
    if not results:
        raise ConfigError("no clip could be read")
    return results, status


def _bound(config: AlignAttConfig) -> "Bound | None":
    """Return what decodes clips whole besides ours; say why nothing does."""
    try:
        from streaming.evaluation.bound import FasterWhisper

        return FasterWhisper(config)
    except (BackendError, ModelError) as error:
        _complain(f"the bound is left out: {error}")
        return None


def _clips_before(path: str | None, clips: list[Clip], configs: Configs) -> list[dict[str, Any]]:
    """Return those of these clips that are in figures that bench has written, and say what else is compared.

    Raises ConfigError.
    """
    if path is None:
        return []
    ids = {clip.id for clip in clips}
    try:
        figures = json.loads(Path(path).read_text(encoding="utf-8"))
        before = [{"id": clip["id"], **clip} for clip in figures["clips"] if clip["id"] in ids]
        was_alone = not figures["voice"]
    except OSError as error:
        raise ConfigError(f"--before: {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"--before: {path}: expected figures that bench --json has written") from error
    if not before:
        raise ConfigError(f"--before: {path}: none of these clips is in it, so there is nothing to compare")
    if was_alone == configs.voice.vad:
        heard = ("what a listener gets", "the engine alone")
        _complain(f"--before: {path} is of {heard[was_alone]}, and this run of {heard[not was_alone]}")
    return before


def _complain_of_translations(results: "list[ClipResult]", targets: Sequence[str]) -> None:
    """Say what keeps translations from being there, or from being scored."""
    from streaming.evaluation.figures import translated

    for target in targets:
        found = translated(results, target)
        if not any(each.reference for each in found):
            _complain(f"no clip has a translation to compare with; write it in the manifest, as translation_{target}")
        skipped = [one for each in found for one in each.skipped]
        for why in dict.fromkeys(one.why for one in skipped):
            skipped_s = sum(one.to_s - one.from_s for one in skipped if one.why == why)
            _complain(f"{skipped_s:.1f} s of speech were not translated into {target}: {why}")


def _log(folder: Path, results: "list[ClipResult]", figures: dict[str, Any]) -> None:
    """Write the logs of all texts, and add to their figures what omnisteval says of them."""
    from streaming.evaluation.evaluation_log import has_omnisteval
    from streaming.evaluation.figures import translated

    _log_groups(folder, results, figures["groups"])
    for target, each in figures["translations"].items():
        _log_groups(folder, translated(results, target), each["groups"], f"-to-{target}")
    if not has_omnisteval():
        _complain(f"YAAL and StreamLAAL: pip install OmniSTEval, then run every score.sh in {folder}")


def _log_groups(folder: Path, results: "list[ClipResult]", groups: dict[str, dict[str, Any]], suffix: str = "") -> None:
    from streaming.evaluation.evaluation_log import NAMES, folder_name, has_omnisteval, latencies, write_logs
    from streaming.evaluation.figures import grouped

    for name, group in grouped(results).items():
        groups[name] |= dict.fromkeys(NAMES)
        try:
            parts = write_logs(folder / folder_name(f"{name}{suffix}"), group)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
        for part in parts if has_omnisteval() else ():
            try:
                groups[name] |= latencies(part)
            except BackendError as error:
                _complain(error)


def _complain(message: object) -> None:
    print(f"simul-whisper: {message}", file=sys.stderr)


def _write(path: Path, figures: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
