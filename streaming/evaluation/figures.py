"""Figures of an evaluation: quality, delay and cost, summed over clips. Pure, but for the memory it asks after."""

import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

import numpy as np

from simul_whisper import AlignAttConfig, Timing
from streaming.evaluation.intervals import intervals
from streaming.evaluation.results import BY_WHISPER, ClipResult, Translating, timing_of
from streaming.evaluation.scoring import (
    CHARACTER_LANGUAGES,
    Edits,
    bleu,
    chrf,
    edits,
    first_word_s,
    has_last_unit,
    has_loop,
    laal_s,
    normalised,
    unit_delays,
    units,
)

_QUALITY = (
    "wer wer_offline wer_bound cer cer_offline cer_bound edits bleu bleu_offline bleu_bound chrf chrf_offline "
    "chrf_bound lost_last_words"
).split()
# Ends of names of figures, and the texts that these are of.
_TEXTS = {"": "text", "_offline": "offline", "_bound": "bound"}
_TRANSLATION_QUALITY = "bleu bleu_offline chrf chrf_offline".split()


def report(
    results: Sequence[ClipResult], config: AlignAttConfig, translating: Translating = BY_WHISPER
) -> dict[str, Any]:
    """Return the figures of all clips, of each (language, kind), and every clip's text, ready for JSON.

    The same of the translations stand, by target, under `translations`.
    """
    rows = [_row(result) for result in results]
    return {
        "settings": asdict(config),
        "translation": asdict(translating.config) if config.targets else None,
        "overall": summary(results, config.task),
        "groups": {name: summary(group, config.task) for name, group in grouped(results).items()},
        "translations": {
            target: {"by": translating.by(target), **_translation_report(translated(results, target))}
            for target in config.targets
        },
        "intervals": intervals(rows),
        "clips": rows,
    }


def translated(results: Iterable[ClipResult], target: str) -> list[ClipResult]:
    """Return what the clips became in a target: those that are spoken in it became nothing."""
    return [result.translations[target] for result in results if target in result.translations]


def _translation_report(found: Sequence[ClipResult]) -> dict[str, Any]:
    return {
        "overall": translation_summary(found),
        "groups": {name: translation_summary(group) for name, group in grouped(found).items()},
    }


def grouped(results: Iterable[ClipResult]) -> dict[str, list[ClipResult]]:
    """Return the results by language and kind, named as `en/short`, in order."""
    groups = dict[str, list[ClipResult]]()
    for result in sorted(results, key=lambda each: (each.lang, each.kind)):
        groups.setdefault(f"{result.lang}/{result.kind}", []).append(result)
    return groups


def summary(results: Sequence[ClipResult], task: str) -> dict[str, Any]:
    """Return quality, delay (s) and cost (compute seconds per audio second) over these clips; None: not measurable."""
    scored = [result for result in results if result.reference]
    quality = _translation_quality(scored) if task == "translate" else _transcript_quality(scored)
    return {
        "clips": len(results),
        "audio_s": round(sum(result.duration_s for result in results), 1),
        **dict.fromkeys(_QUALITY),
        **quality,
        **_faults(results),
        **_delays([result for result in scored if result.delays_s]),
        **_drafts([result for result in scored if result.delays_s]),
        **_bounds(scored if all(result.foreseen is not None for result in scored) else []),
        **_costs(results),
    }


def translation_summary(results: Sequence[ClipResult]) -> dict[str, Any]:
    """Return the quality and the delay (s) of translations into one language; None: not measurable."""
    scored = [result for result in results if result.reference]
    return {
        "clips": len(results),
        "scored": len(scored),
        "audio_s": round(sum(result.duration_s for result in results), 1),
        **dict.fromkeys(_TRANSLATION_QUALITY),
        **_translation_quality(scored),
        "loops": sum(_loops(result) for result in results),
        "skipped_s": _rounded(sum((each.to_s - each.from_s for result in results for each in result.skipped), 0.0)),
        **_delays([result for result in scored if result.delays_s]),
    }


def _transcript_quality(scored: Sequence[ClipResult]) -> dict[str, Any]:
    """Error rates in per cent: of words, and of characters in languages without spaces."""
    by_words = [result for result in scored if result.text_lang not in CHARACTER_LANGUAGES]
    by_characters = [result for result in scored if result.text_lang in CHARACTER_LANGUAGES]
    compared = [result for result in scored if result.offline is not None]
    return {
        **{f"wer{end}": _percent(_edits(by_words, text)) for end, text in _TEXTS.items()},
        **{f"cer{end}": _percent(_edits(by_characters, text)) for end, text in _TEXTS.items()},
        "edits": asdict(_edits(scored, "text")) if scored else None,
        "lost_last_words": sum(_has_lost_last(result) for result in compared) if compared else None,
    }


def _translation_quality(scored: Sequence[ClipResult]) -> dict[str, Any]:
    """BLEU and chrF, lower-cased; scored: all in one language."""
    references = [result.reference or "" for result in scored]
    figures: dict[str, Any] = {}
    for end, name in _TEXTS.items():
        texts = [text for text in (getattr(result, name) for result in scored) if text is not None]
        if scored and len(texts) == len(scored):
            language = scored[0].text_lang
            figures |= {f"bleu{end}": _rounded(bleu(references, texts, language, lowercase=True))}
            figures |= {f"chrf{end}": _rounded(chrf(references, texts, lowercase=True))}
    return figures


def _faults(results: Sequence[ClipResult]) -> dict[str, Any]:
    """Counts that should be 0, but for the languages, which should all be right."""
    detected = [result for result in results if result.is_detected]
    return {
        "loops": sum(_loops(result) for result in results),
        "words_without_speech": sum(len(r.text.split()) for r in results if r.reference == ""),
        "languages_detected": len(detected) or None,
        "languages_right": sum(r.language == r.lang for r in detected) if detected else None,
    }


def _delays(spoken: Sequence[ClipResult]) -> dict[str, Any]:
    """spoken: clips with a reference and with words."""
    final_words = [result.final_word_s or 0.0 for result in spoken]
    return {
        "first_word_s": _mean(first_word_s(result.delays_s) for result in spoken),
        "first_word_ca_s": _mean(first_word_s(result.delays_ca_s) for result in spoken),
        "laal_s": _mean(_laal_s(result, result.delays_s) for result in spoken),
        "laal_ca_s": _mean(_laal_s(result, result.delays_ca_s) for result in spoken),
        "final_word_s": _mean(final_words),
        "final_word_max_s": _rounded(max(final_words)) if final_words else None,
        "finish_s": _mean(result.finish_s for result in spoken),
    }


def _drafts(spoken: Sequence[ClipResult]) -> dict[str, Any]:
    """Delay (s) and quality of drafts. Flicker is normalised erasure, of 1912.03393."""
    drafted = [(result, result.shown) for result in spoken if result.shown]
    n_words, n_drafted = sum(len(seen.delays_s) for _, seen in drafted), sum(seen.n_drafted for _, seen in drafted)
    return {
        "laal_shown_s": _mean(_laal_s(result, seen.delays_s) for result, seen in drafted),
        "drafts_right": round(100 * sum(seen.n_right for _, seen in drafted) / n_drafted, 1) if n_drafted else None,
        "flicker": _rounded(sum(seen.n_taken_back for _, seen in drafted) / n_words) if n_words else None,
    }


def _lags(result: ClipResult) -> dict[str, Any]:
    """Return what intervals need to know of a clip with a reference and with words."""
    lags = {"first_word_ca_s": first_word_s(result.delays_ca_s), "laal_ca_s": _laal_s(result, result.delays_ca_s)}
    if not result.shown:
        return lags
    delays_s, counts = result.shown.delays_s, ("n_drafted", "n_right", "n_taken_back")
    return {
        **lags,
        "laal_shown_s": _laal_s(result, delays_s),
        "shown_s": delays_s,
        "n_shown": len(delays_s),
        **{name: getattr(result.shown, name) for name in counts},
    }


def _laal_s(result: ClipResult, delays_s: Sequence[float]) -> float:
    return laal_s(delays_s, result.duration_s, _n_units(result))


def _bounds(foreseen: Sequence[ClipResult]) -> dict[str, Any]:
    """LAAL of those who told the words of the last reading as they end, in whole chunks, or once they are read.

    foreseen: all of the scored clips, or none.
    """
    by_words = [r for r in foreseen if r.text_lang == r.lang and r.lang not in CHARACTER_LANGUAGES]
    return {
        "wer_foreseen": _percent(sum((edits(r.reference or "", _foreseen_text(r), r.lang) for r in by_words), Edits())),
        "laal_end_s": _mean(_foreseen_laal_s(r, "end_s") for r in foreseen),
        "laal_chunk_s": _mean(_foreseen_laal_s(r, "chunk_s") for r in foreseen),
        "laal_earliest_s": _mean(_foreseen_laal_s(r, "earliest_s") for r in foreseen),
    }


def _foreseen_text(result: ClipResult) -> str:
    return "".join(word.text for word in result.foreseen or ())


def _foreseen_laal_s(result: ClipResult, time: str) -> float | None:
    pieces = [(word.text, getattr(word, time)) for word in result.foreseen or ()]
    delays_s = unit_delays(pieces, result.text_lang)
    return _laal_s(result, delays_s) if delays_s else None


def _costs(results: Sequence[ClipResult]) -> dict[str, Any]:
    audio_s = sum(result.duration_s for result in results)
    timing = timing_of(results)
    heard_s = sum(emission.compute_s for result in results for emission in result.emissions)
    text_s = sum(emission.stage_s for result in results for emission in result.emissions)
    stages = _stages(timing, heard_s) | {"text": text_s}
    return {
        "compute_per_audio_s": _rounded((heard_s + text_s) / audio_s),
        "stages": {name: _rounded(seconds / audio_s) for name, seconds in stages.items()},
        "decode_step_ms": _step_ms(timing),
        "peak_memory_mb": _peak_memory_mb(),
    }


def _edits(results: Iterable[ClipResult], text: str) -> Edits:
    """text: streamed, or one of the other texts; clips without it do not count."""
    return sum((each for each in (_edits_of(result, text) for result in results) if each), Edits())


def _edits_of(result: ClipResult, text: str) -> Edits | None:
    heard = getattr(result, text)
    return None if heard is None else edits(result.reference or "", heard, result.text_lang)


def _has_lost_last(result: ClipResult) -> bool:
    """Whether the last word of the reference is heard offline, and not streamed."""
    is_translation = result.text_lang != result.lang
    if not result.reference or result.offline is None or is_translation:
        return False
    streamed, whole = (
        has_last_unit(result.reference, text, result.text_lang) for text in (result.text, result.offline)
    )
    return whole and not streamed


def _loops(result: ClipResult) -> bool:
    """Whether the text loops, and not because that was said."""
    return has_loop(result.text, result.text_lang) and not has_loop(result.reference or "", result.text_lang)


def _n_units(result: ClipResult) -> int:
    return len(units(normalised(result.reference or "", result.text_lang), result.text_lang))


def _stages(timing: Timing, heard_s: float) -> dict[str, float]:
    """Steps count together; translation: that by Whisper; other: what a session takes besides the engine."""
    known = {
        "mel": timing.mel_s,
        "encode": timing.encode_s,
        "language": timing.language_s,
        "prefill": timing.prefill_s,
        "steps": sum(timing.step_s),
        "commit": timing.commit_s,
        "translation": timing.translation_s,
    }
    return known | {"other": heard_s - sum(known.values())}


def _step_ms(timing: Timing) -> dict[str, float | None]:
    if not timing.step_s:
        return {"median": None, "p95": None}
    median, p95 = np.percentile(timing.step_s, [50, 95]) * 1000
    return {"median": _rounded(float(median)), "p95": _rounded(float(p95))}


def _row(result: ClipResult) -> dict[str, Any]:
    is_scored = bool(result.reference) and result.text_lang == result.lang
    counted, of_bound = (_edits_of(result, text) if is_scored else None for text in ("text", "bound"))
    return {
        **{name: getattr(result, name) for name in ("id", "lang", "kind", "duration_s", "bound")},
        "language": result.language,
        "errors": counted and counted.errors,
        "errors_bound": of_bound and of_bound.errors,
        "n_reference": counted and counted.n_reference,
        "compute_s": sum(emission.compute_s + emission.stage_s for emission in result.emissions),
        **(_lags(result) if result.reference and result.delays_s else {}),
        "lost_last_word": _has_lost_last(result),
        "foreseen": result.foreseen and [asdict(word) for word in result.foreseen],
        **_text_row(result),
        "translations": {
            target: _text_row(each) | {"skipped": [asdict(one) for one in each.skipped]}
            for target, each in result.translations.items()
        },
    }


def _text_row(result: ClipResult) -> dict[str, Any]:
    return {
        **{name: getattr(result, name) for name in ("reference", "text", "offline")},
        "loops": _loops(result),
        "delays_s": result.delays_s,
        "delays_ca_s": result.delays_ca_s,
        "final_word_s": result.final_word_s,
        "finish_s": result.finish_s,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(mean(known)) if known else None


def _percent(counted: Edits) -> float | None:
    return None if counted.rate is None else round(100 * counted.rate, 2)


def _rounded(value: float) -> float:
    return round(value, 3)


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
