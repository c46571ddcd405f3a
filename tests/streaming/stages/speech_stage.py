"""A stage that speaks, what is committed for it, and what is read from what it tells."""

from collections.abc import Sequence
from typing import Any

from simul_whisper import SpeechConfig
from streaming.events import Event, SpeechSkipped, Spoken, Translation, Words
from streaming.sessions.event_log import EventFilter
from streaming.stages.speech import SpeechStage
from tests.speaking import ToneVoices
from tests.streaming.serving import PATIENCE_S
from tests.streaming.working import HandClock
from tests.tones import WORDS
from tests.translating import words_of

HEARING_ALL = EventFilter(speech=True)
CONFIG = SpeechConfig()
# What is a word to everybody: the smiley has nothing to be spoken.
SPOKEN_WORDS = [word.strip() for word in WORDS if any(character.isalnum() for character in word)]


def said(text: str, start_s: float = 0.0, utterance: int = 1, language: str | None = "en") -> Words:
    words = tuple(words_of(text, start_s, language))
    return Words(words, words[-1].end_s, utterance)


def translated(text: str, target: str = "de", start_s: float = 0.0, end_s: float = 1.0, utterance: int = 1) -> Event:
    return Translation(target, tuple(words_of(text, start_s, target)), start_s, end_s, utterance)


def staged(
    voices: ToneVoices, config: SpeechConfig = CONFIG, targets: Sequence[str] = ("",), **more: Any
) -> SpeechStage:
    """A stage that waits for its voice, on a clock that stands."""
    options: dict[str, Any] = {"clock": HandClock(), "waits": True, "timeout_s": PATIENCE_S} | more
    return SpeechStage(voices, config, targets, **options)


def run(stage: SpeechStage, *events: Event) -> list[Event]:
    return [*stage.feed(events), *stage.flush()]


def skips(events: Sequence[Event]) -> list[SpeechSkipped]:
    return [each for each in events if isinstance(each, SpeechSkipped)]


def text_of(events: Sequence[Event], target: str = "") -> str:
    """What is spoken."""
    told = [each for each in events if isinstance(each, Spoken) and each.target == target]
    return " ".join(each.text for each in told if each.text)
