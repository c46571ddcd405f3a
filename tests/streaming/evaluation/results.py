"""Results of an evaluation, made by hand."""

from collections.abc import Sequence
from dataclasses import replace

from simul_whisper import Timing, Word
from streaming.evaluation.results import ClipResult, Telling

BLANK = ClipResult(
    id="tide",
    lang="en",
    kind="short",
    duration_s=4.0,
    reference="The tide turns.",
    segments=(),
    text_lang="en",
    offline=None,
    is_detected=False,
    tellings=(),
)


def telling(audio_s: float, texts: Sequence[str], *, late_s: float = 0.0, language: str | None = None) -> Telling:
    """late_s: how long after the audio the words were there."""
    words = tuple(Word(text, 0.0, 0.0, 1.0) for text in texts)
    return Telling(words, audio_s, audio_s + late_s, late_s, Timing(total_s=late_s), language)


def result(*tellings: Telling, **changes: object) -> ClipResult:
    fields = {"tellings": tellings, "text_lang": changes.get("lang", BLANK.text_lang)} | changes
    return replace(BLANK, **fields)  # type: ignore[arg-type]


def said(text: str, **changes: object) -> ClipResult:
    """All of it at the end."""
    return result(telling(4.0, [text]), **changes)
