"""Results of an evaluation, made by hand."""

from collections.abc import Sequence
from dataclasses import replace

from simul_whisper import Timing, Word
from streaming.evaluation.replay import Emission
from streaming.evaluation.results import ClipResult
from streaming.events import Event, Language, Translation, Words

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
    emissions=(),
)


def emission(audio_s: float, texts: Sequence[str], *, late_s: float = 0.0, language: str | None = None) -> Emission:
    """late_s: how long after the audio the words were there. language: one that was found just then."""
    words = Words(tuple(Word(text, 0.0, 0.0, 1.0) for text in texts), audio_s)
    events: tuple[Event, ...] = (Language(language), words) if language else (words,)
    return Emission(events, audio_s, audio_s + late_s, late_s, Timing(total_s=late_s))


def told(text: str, target: str = "es") -> Translation:
    return Translation(target, (Word(text, 0.0, 0.0, 1.0, target),), 0.0, 0.0)


def result(*emissions: Emission, **changes: object) -> ClipResult:
    fields = {"emissions": emissions, "text_lang": changes.get("lang", BLANK.text_lang)} | changes
    return replace(BLANK, **fields)  # type: ignore[arg-type]


def said(text: str, **changes: object) -> ClipResult:
    """All of it at the end."""
    return result(emission(4.0, [text]), **changes)
