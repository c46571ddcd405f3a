"""The figures of `simul-whisper bench` as text: tables of quality, delay and cost, those of each translation and of
speech, then what the model is.
"""

from collections.abc import Mapping
from typing import Any

# Titles of the columns; those without a figure in any line are left out.
_QUALITY = {
    "clips": "clips",
    "audio_s": "audio s",
    "wer": "WER",
    "wer_offline": "whole",
    "wer_bound": "bound",
    "wer_foreseen": "foreseen",
    "cer": "CER",
    "cer_offline": "whole",
    "cer_bound": "bound",
    "bleu": "BLEU",
    "bleu_offline": "whole",
    "bleu_bound": "bound",
    "chrf": "chrF",
    "chrf_offline": "whole",
    "chrf_bound": "bound",
    "lost_last_words": "lost last",
    "loops": "loops",
    "words_without_speech": "inserted",
    "languages_right": "lang right",
    "languages_detected": "of",
}
_TRANSLATION_QUALITY = {
    "clips": "clips",
    "scored": "scored",
    "audio_s": "audio s",
    "bleu": "BLEU",
    "bleu_offline": "whole",
    "chrf": "chrF",
    "chrf_offline": "whole",
    "loops": "loops",
    "skipped_s": "left out s",
}
_DELAYS = {
    "first_word_s": "first",
    "first_word_ca_s": "first ca",
    "laal_s": "LAAL",
    "laal_ca_s": "LAAL ca",
    "final_word_s": "final",
    "final_word_max_s": "worst",
    "finish_s": "finish",
}
_DRAFTS = {"laal_shown_s": "shown", "drafts_right": "right %", "flicker": "flicker"}
_INTERVALS = {
    "errors": "errors %",
    "errors_above_bound": "above bound",
    "first_word_ca_s": "first ca",
    "laal_ca_s": "LAAL ca",
    "laal_shown_s": "shown",
    "drafts_right": "right %",
    "flicker": "flicker",
    "compute_per_audio_s": "cost",
}
_PERCENT = ("errors", "errors_above_bound", "drafts_right")
_COST = {"compute_per_audio_s": "cost"}
_FORESIGHT = {"laal_end_s": "spoken", "laal_chunk_s": "chunk", "laal_earliest_s": "earliest"}
_SPEECH = {
    "sentences": "sentences",
    "left_out": "left out",
    "sound_s": "sound s",
    "first_sound_s": "first sound s",
    "heard_after_s": "heard after s",
    "voice_per_audio_s": "voice cost",
    "wer_again": "WER again",
}
_OMNISTEVAL = {
    "yaal_s": "YAAL",
    "yaal_ca_s": "YAAL ca",
    "stream_laal_s": "StreamLAAL",
    "stream_laal_ca_s": "StreamLAAL ca",
    "long_yaal_s": "LongYAAL",
    "long_yaal_ca_s": "LongYAAL ca",
}


def table(figures: Mapping[str, Any], *, with_omnisteval: bool) -> str:
    groups, overall = _groups(figures), figures["overall"]
    found = _OMNISTEVAL if with_omnisteval else {}
    step = overall["decode_step_ms"]
    stages = [f"{name} {share}" for name, share in overall["stages"].items() if share]
    return "\n".join(
        [
            *_lines("quality", groups, _filled(_QUALITY, groups)),
            "",
            *_lines(
                "seconds", groups, _DELAYS | _filled(_DRAFTS, groups) | _COST | _filled(_FORESIGHT, groups) | found
            ),
            "",
            *_intervals("95 of 100", figures["intervals"]),
            *_intervals("minus before", figures["differences"]),
            *(line for target, each in figures["translations"].items() for line in _translation(target, each, found)),
            *_speech(figures["speech"]),
            "compute seconds per audio second: " + ", ".join(stages),
            f"decode step: median {_cell(step['median'])} ms, 95th percentile {_cell(step['p95'])} ms",
            f"peak memory: {overall['peak_memory_mb']} MB",
            "model: " + _model(figures["model"]),
        ]
    )


def _model(said: Mapping[str, Any]) -> str:
    """Return what ran, without what was left empty; languages are many."""
    return ", ".join(f"{key} {value}" for key, value in said.items() if key != "languages" and value != "")


def _translation(target: str, figures: Mapping[str, Any], found: dict[str, str]) -> list[str]:
    groups = _groups(figures)
    return [
        f"into {target}, by {figures['by']}:",
        *_lines("quality", groups, _filled(_TRANSLATION_QUALITY, groups)),
        "",
        *_lines("seconds", groups, _DELAYS | found),
        "",
    ]


def _speech(figures: Mapping[str, Any]) -> list[str]:
    return [*_lines("speech", figures, _filled(_SPEECH, figures)), ""] if figures else []


def _intervals(title: str, groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table of figures with where they lie in 95 of 100 cases."""
    cells = {name: {key: _interval(key, found) for key, found in group.items()} for name, group in groups.items()}
    columns = _filled(_INTERVALS, cells)
    return [*_lines(title, cells, columns), ""] if columns else []


def _interval(name: str, found: Mapping[str, float] | None) -> str | None:
    if found is None:
        return None
    places = 1 if name in _PERCENT else 2
    value, *ends = (f"{found[key]:.{places}f}" for key in ("value", "low", "high") if key in found)
    return f"{value} ({' to '.join(ends)})" if ends else value


def _groups(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {**figures["groups"], "overall": figures["overall"]}


def _filled(columns: Mapping[str, str], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    has_figure = {key: any(group.get(key) is not None for group in groups.values()) for key in columns}
    return {key: title for key, title in columns.items() if has_figure[key]}


def _lines(title: str, groups: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    cells = {name: [_cell(group.get(key)) for key in columns] for name, group in groups.items()}
    rows = [[title, *columns.values()], *([name, *of_group] for name, of_group in cells.items())]
    widths = [max(6, *map(len, column)) for column in list(zip(*rows, strict=True))[1:]]
    return [
        "  ".join([f"{name:14}", *(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))])
        for name, *row in rows
    ]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value}"
