"""What has been told, so that it is passed over when a new session hears the same audio again. Pure."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import dropwhile
from typing import TypeVar

from simul_whisper import Word
from streaming.events import (
    Draft,
    Event,
    SpeechEnded,
    SpeechSkipped,
    Spoken,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.replay.recovery import RECOVERY, Recovery

_Told = TypeVar("_Told", bound=Event)
_WITH_WORDS = (Words, Draft, Translation, TranslationDraft)


class _Text:
    """What has been told of the transcript, or of one translation. told_s: up to where, on the client's clock."""

    def __init__(self, same_word_s: float, told_s: float = 0.0) -> None:
        self._same_word_s = same_word_s
        self.told_s = self.told_before_s = told_s
        self.is_catching_up = self._has_last = False
        # Whether a mark was told after the last word.
        self._is_marked = False
        self._last: Word | None = None

    def start_anew(self, from_s: float) -> None:
        """A new session hears the audio from here."""
        self.told_before_s = self.told_s
        self.is_catching_up, self._has_last = from_s < self.told_s, False

    def new(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """Return the words that have not been told, which count as told from now on."""
        new = self._unknown(words)
        if new:
            self.is_catching_up = False
            self._last = next((word for word in reversed(new) if word.is_spoken), self._last)
            self._is_marked = not new[-1].text.rstrip()[-1:].isalnum()
            self.told_s = max(self.told_s, *(word.end_s for word in new))
        return new

    def _unknown(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """Those after the last one that was told, which may be heard later than before."""
        for n, word in enumerate(words):
            is_last = self.is_catching_up and self._last is not None and self._are_same(word, self._last)
            if (word.start_s + word.end_s) / 2 > self.told_before_s:
                new = words[n + (is_last and not self._has_last) :]
                return tuple(dropwhile(_is_mark, new)) if self.is_catching_up and self._is_marked else new
            self._has_last |= is_last
        return ()

    def _are_same(self, word: Word, other: Word) -> bool:
        texts = [each.text.strip(" .,?!").lower() for each in (word, other)]
        return texts[0] == texts[1] and abs(word.start_s - other.start_s) <= self._same_word_s


class _Sound:
    """What has been spoken of one text. spoken_s: up to where, on the client's clock."""

    def __init__(self, spoken_s: float) -> None:
        self.spoken_s = self.spoken_before_s = spoken_s

    def is_new(self, start_s: float, end_s: float, *, is_whole: bool) -> bool:
        """Whether a sentence, or a part of one, has not been spoken to its end; it counts as spoken when it has."""
        if (start_s + end_s) / 2 <= self.spoken_before_s:
            return False
        if is_whole:
            self.spoken_s = max(self.spoken_s, end_s)
        return True


class Deduplicator:
    """What has been told, in seconds since the client's start, over sessions that each begin to count at 0."""

    def __init__(self, recovery: Recovery = RECOVERY) -> None:
        self._recovery = recovery
        self._session_start_s = self._silence_s = 0.0
        self._words = self._text()
        # By target; of those that are not chosen any more, nothing is waited for.
        self._translations = dict[str, _Text]()
        self._targets: tuple[str, ...] = ()
        self._sounds = dict[str, _Sound]()
        self._speech: tuple[str, ...] = ()

    def choose(self, targets: Sequence[str]) -> None:
        """What follows is translated into these languages."""
        for target in targets:
            if target not in self._targets:
                # What was heard before is not translated, nor when it is heard again.
                self._translations[target] = self._text(self._words.told_s)
        self._targets = tuple(targets)

    def choose_speech(self, speech: Sequence[str]) -> None:
        """What follows of these texts is spoken."""
        for text in speech:
            if text not in self._speech:
                self._sounds[text] = _Sound(self._words.told_s)
        self._speech = tuple(speech)

    def told(self, event: Event) -> Event | None:
        """Return an event of the present session with its times set right; None for words that are known.

        There are no drafts either while such words are said again.
        """
        event = _shifted(event, self._session_start_s)
        if isinstance(event, Words | Translation):
            new = self._text_of(event).new(event.words)
            return replace(event, words=new) if new else None
        if isinstance(event, Draft | TranslationDraft) and self._text_of(event).is_catching_up:
            return None
        if isinstance(event, TranslationSkipped):
            return self._newly_skipped(event)
        if isinstance(event, Spoken):
            span = (event.source_start_s, event.source_end_s)
            return event if self._sound_of(event).is_new(*span, is_whole=event.is_last) else None
        if isinstance(event, SpeechSkipped):
            return event if self._sound_of(event).is_new(event.from_s, event.to_s, is_whole=True) else None
        # A pause that is heard again is no news, and no word after it is taken back.
        if isinstance(event, SpeechEnded) and event.at_s > self._words.told_before_s:
            self._silence_s = max(self._silence_s, event.at_s)
            self._words.told_s = min(self._words.told_s, event.at_s)
        return event

    def start_anew(self, from_s: float) -> None:
        """A new session hears the audio from here."""
        self._session_start_s = from_s
        for text in (self._words, *self._translations.values()):
            text.start_anew(from_s)
        for sound in self._sounds.values():
            sound.spoken_before_s = sound.spoken_s

    def needed_from_s(self, received_s: float) -> float:
        """Return from where audio must be kept, so that a new session could be played it; received: by the server."""
        translated_s = [self._translations[target].told_s for target in self._targets]
        told_s = min([self._silence_s, *translated_s, *(self._sounds[text].spoken_s for text in self._speech)])
        before_word_s = self._words.told_s - self._recovery.before_word_s
        return max(told_s, before_word_s, received_s - self._recovery.after_receipt_s)

    @property
    def heard_s(self) -> float:
        """Up to where all has been told for certain: the last word, or the pause after it."""
        return max(self._silence_s, self._words.told_s)

    def _newly_skipped(self, event: TranslationSkipped) -> TranslationSkipped | None:
        text = self._text_of(event)
        if event.to_s <= text.told_before_s:
            return None
        text.told_s = max(text.told_s, event.to_s)
        return replace(event, from_s=max(event.from_s, text.told_before_s))

    def _text_of(self, event: Words | Draft | Translation | TranslationDraft | TranslationSkipped) -> _Text:
        if isinstance(event, Words | Draft):
            return self._words
        return self._translations.setdefault(event.target, self._text())

    def _sound_of(self, event: Spoken | SpeechSkipped) -> _Sound:
        return self._sounds.setdefault(event.target, _Sound(0.0))

    def _text(self, told_s: float = 0.0) -> _Text:
        return _Text(self._recovery.same_word_s, told_s)


def _is_mark(word: Word) -> bool:
    return not word.is_spoken


def _shifted(event: _Told, by_s: float) -> _Told:
    times = {each.name: getattr(event, each.name) + by_s for each in fields(event) if each.name.endswith("_s")}
    if isinstance(event, _WITH_WORDS):
        words = tuple(replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in event.words)
        return replace(event, words=words, **times)
    return replace(event, **times)
