"""The figures of `simul-whisper bench` as text: a table of quality, one of delay and cost, and what the model is."""

from collections.abc import Mapping
from typing import Any

# Titles of the columns; those without a figure in any line are left out.
_QUALITY = {
    "clips": "clips",
    "audio_s": "audio s",
    "wer": "WER",
    "wer_offline": "whole",
    "wer_foreseen": "foreseen",
    "cer": "CER",
    "cer_offline": "whole",
    "bleu": "BLEU",
    "bleu_offline": "whole",
    "chrf": "chrF",
    "chrf_offline": "whole",
    "lost_last_words": "lost last",
    "loops": "loops",
    "words_without_speech": "inserted",
    "languages_right": "lang right",
    "languages_detected": "of",
}
_DELAYS = {
    "first_word_s": "first",
    "laal_s": "LAAL",
    "laal_ca_s": "LAAL ca",
    "final_word_s": "final",
    "final_word_max_s": "worst",
    "finish_s": "finish",
    "compute_per_audio_s": "cost",
}
_FORESIGHT = {"laal_end_s": "spoken", "laal_chunk_s": "chunk", "laal_earliest_s": "earliest"}
_OMNISTEVAL = {
    "yaal_s": "YAAL",
    "yaal_ca_s": "YAAL ca",
    "stream_laal_s": "StreamLAAL",
    "long_yaal_s": "LongYAAL",
    "long_yaal_ca_s": "LongYAAL ca",
}


def table(figures: Mapping[str, Any], *, with_omnisteval: bool) -> str:
    groups = {**figures["groups"], "overall": figures["overall"]}
    overall = figures["overall"]
    delays = _DELAYS | _filled(_FORESIGHT, groups) | (_OMNISTEVAL if with_omnisteval else {})
    step, stages = overall["decode_step_ms"], overall["stages"]
    return "\n".join(
        [
            *_lines("quality", groups, _filled(_QUALITY, groups)),
            "",
            *_lines("seconds", groups, delays),
            "",
            "compute seconds per audio second: " + ", ".join(f"{name} {share}" for name, share in stages.items()),
            f"decode step: median {_cell(step['median'])} ms, 95th percentile {_cell(step['p95'])} ms",
            f"peak memory: {overall['peak_memory_mb']} MB",
            "model: " + ", ".join(f"{key} {value}" for key, value in figures["model"].items()),
        ]
    )


def _filled(columns: Mapping[str, str], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    has_figure = {key: any(group.get(key) is not None for group in groups.values()) for key in columns}
    return {key: title for key, title in columns.items() if has_figure[key]}


def _lines(title: str, groups: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    widths = {key: max(6, len(name)) for key, name in columns.items()}
    lines = [[f"{title:14}", *(f"{name:>{widths[key]}}" for key, name in columns.items())]]
    for name, group in groups.items():
        lines.append([f"{name:14}", *(f"{_cell(group.get(key)):>{width}}" for key, width in widths.items())])
    return ["  ".join(line) for line in lines]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value}"
