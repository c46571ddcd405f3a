"""Streams a set of recordings with references through the engine, and sums up quality, delay and cost.

Delays are measured on the audio's own clock; the computation-aware ones add the time that computing took, as if the
audio had come in real time.
"""

import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, Timing
from streaming.manifest import Clip
from streaming.replay import replay
from streaming.scoring import (
    CHARACTER_LANGUAGES,
    Edits,
    bleu,
    character_edits,
    chrf,
    first_word_s,
    laal_s,
    normalised,
    word_edits,
)
from streaming.sources import chunked, read_audio

_WHOLE_WINDOW_S = 30.0


@dataclass(frozen=True)
class ClipResult:
    """One clip, streamed and, in `offline`, decoded as a whole (None when that was not asked for).

    delays_s, delays_ca_s: per word, the audio heard and the time passed when it came.
    """

    id: str
    lang: str
    kind: str
    duration_s: float
    reference: str | None
    text: str
    offline: str | None
    language: str | None
    delays_s: tuple[float, ...]
    delays_ca_s: tuple[float, ...]
    timing: Timing


def evaluate_clip(clip: Clip, model: Model, config: AlignAttConfig, *, offline: bool) -> ClipResult:
    """Stream a clip in chunks of `segment_length`, in its own language unless the config names one."""
    samples = read_audio(clip.path)
    if config.language == "auto" and clip.lang not in ("none", "multi"):
        config = replace(config, language=clip.lang)
    whisper = PaddedAlignAttWhisper(config, model)
    pieces, delays, delays_ca, timings = list[str](), list[float](), list[float](), list[Timing]()
    for emission in replay(whisper, chunked([samples], round(config.segment_length * SAMPLE_RATE))):
        words = emission.update.words
        pieces += [word.text for word in words]
        n_spoken = sum(word.is_spoken for word in words)
        delays += [emission.audio_s] * n_spoken
        delays_ca += [emission.ready_s] * n_spoken
        timings.append(emission.update.timing)
    return ClipResult(
        id=clip.id,
        lang=clip.lang,
        kind=clip.kind,
        duration_s=len(samples) / SAMPLE_RATE,
        reference=clip.translation_en if config.task == "translate" else clip.transcript,
        text="".join(pieces).strip(),
        offline=_decoded_whole(samples, model, config) if offline else None,
        language=whisper.language,
        delays_s=tuple(delays),
        delays_ca_s=tuple(delays_ca),
        timing=Timing.sum_of(timings),
    )


def _decoded_whole(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> str:
    """Decode with everything known from the start: the bound that streaming is compared with."""
    whole = replace(config, padding_len=_WHOLE_WINDOW_S, audio_max_len=_WHOLE_WINDOW_S)
    whisper = PaddedAlignAttWhisper(whole, model)
    whisper.insert_audio(samples)
    return whisper.infer(is_last=True).text.strip()


def report(results: Sequence[ClipResult], config: AlignAttConfig) -> dict[str, Any]:
    """Return the figures of all clips, of each (language, kind), and every clip's text, ready for JSON."""
    groups = sorted({(result.lang, result.kind) for result in results})
    return {
        "settings": asdict(config),
        "overall": summary(results, config.task),
        "groups": {
            f"{lang}/{kind}": summary([r for r in results if (r.lang, r.kind) == (lang, kind)], config.task)
            for lang, kind in groups
        },
        "clips": [_row(result) for result in results],
    }


def summary(results: Sequence[ClipResult], task: str) -> dict[str, Any]:
    """Return quality, delay (s) and cost (compute seconds per audio second) over these clips; None: not measurable."""
    audio_s = sum(result.duration_s for result in results)
    timing = Timing.sum_of(result.timing for result in results)
    scored = [result for result in results if result.reference]
    spoken = [result for result in scored if result.delays_s]
    return {
        "clips": len(results),
        "audio_s": round(audio_s, 1),
        **_quality(scored, task),
        "words_without_speech": sum(len(r.text.split()) for r in results if r.reference == ""),
        "compute_per_audio_s": _rounded(timing.total_s / audio_s),
        "stages": {name: _rounded(seconds / audio_s) for name, seconds in _stages(timing).items()},
        "decode_step_ms": _step_ms(timing),
        "first_word_s": _mean(first_word_s(result.delays_s) for result in spoken),
        "laal_s": _mean(laal_s(r.delays_s, r.duration_s, _n_words(r)) for r in spoken),
        "laal_ca_s": _mean(laal_s(r.delays_ca_s, r.duration_s, _n_words(r)) for r in spoken),
        "peak_memory_mb": _peak_memory_mb(),
    }


def _quality(scored: Sequence[ClipResult], task: str) -> dict[str, Any]:
    """Error rates for transcripts and BLEU, chrF for translations, streamed and offline, in per cent."""
    references = [result.reference or "" for result in scored]
    if task == "translate":
        texts = [result.text for result in scored]
        whole = [result.offline for result in scored if result.offline is not None]
        complete = len(whole) == len(scored) > 0
        return {
            "wer": None,
            "wer_offline": None,
            "bleu": _rounded(bleu(references, texts, lowercase=True)) if scored else None,
            "bleu_offline": _rounded(bleu(references, whole, lowercase=True)) if complete else None,
            "chrf": _rounded(chrf(references, texts, lowercase=True)) if scored else None,
        }
    streamed = sum((_edits(r, r.text) for r in scored), Edits())
    offline = sum((_edits(r, r.offline) for r in scored if r.offline is not None), Edits())
    return {"wer": _percent(streamed), "wer_offline": _percent(offline), "bleu": None, "chrf": None}


def _edits(result: ClipResult, text: str) -> Edits:
    count = character_edits if result.lang in CHARACTER_LANGUAGES else word_edits
    return count(result.reference or "", text, result.lang)


def _n_words(result: ClipResult) -> int:
    text = normalised(result.reference or "", result.lang)
    return len("".join(text.split())) if result.lang in CHARACTER_LANGUAGES else len(text.split())


def _stages(timing: Timing) -> dict[str, float]:
    steps_s = sum(timing.step_s)
    known = {"mel": timing.mel_s, "encode": timing.encode_s, "prefill": timing.prefill_s, "steps": steps_s}
    return known | {"other": timing.total_s - sum(known.values())}


def _step_ms(timing: Timing) -> dict[str, float | None]:
    if not timing.step_s:
        return {"median": None, "p95": None}
    median, p95 = np.percentile(timing.step_s, [50, 95]) * 1000
    return {"median": _rounded(float(median)), "p95": _rounded(float(p95))}


def _row(result: ClipResult) -> dict[str, Any]:
    row = asdict(result)
    del row["timing"]
    counted = _edits(result, result.text) if result.reference else None
    return row | {"errors": counted and counted.errors, "n_reference": counted and counted.n_reference}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(mean(known)) if known else None


def _percent(edits: Edits) -> float | None:
    return None if edits.rate is None else round(100 * edits.rate, 2)


def _rounded(value: float) -> float:
    return round(value, 3)


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
