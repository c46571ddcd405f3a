"""What a client has told, so that it can pass over it when a new session hears the same audio again. Pure."""

from dataclasses import fields, replace
from itertools import dropwhile
from typing import TypeVar

from simul_whisper import Word
from streaming.client.recovery import RECOVERY, Recovery
from streaming.events import Draft, Event, SpeechEnded, Translation, Words

_Told = TypeVar("_Told", bound=Event)


class Deduplicator:
    """What has been told, in seconds since the client's start, over sessions that each begin to count at 0."""

    def __init__(self, recovery: Recovery = RECOVERY) -> None:
        self._recovery = recovery
        self._session_start_s = 0.0
        self._last_word_s = self._silence_s = self._told_before_s = 0.0
        self._is_catching_up = self._has_last = False
        self._last: Word | None = None

    def told(self, event: Event) -> Event | None:
        """Return an event of the present session with its times set right; None for words that are known.

        There are no drafts either while such words are said again.
        """
        event = _shifted(event, self._session_start_s)
        if isinstance(event, Words):
            new = self._unknown(event.words)
            if not new:
                return None
            self._is_catching_up = False
            self._last = next((word for word in reversed(new) if word.is_spoken), self._last)
            self._last_word_s = max(self._last_word_s, *(word.end_s for word in new))
            return replace(event, words=new)
        if isinstance(event, Draft) and self._is_catching_up:
            return None
        # A pause that is heard again is no news, and no word after it is taken back.
        if isinstance(event, SpeechEnded) and event.at_s > self._told_before_s:
            self._silence_s = max(self._silence_s, event.at_s)
            self._last_word_s = min(self._last_word_s, event.at_s)
        return event

    def _unknown(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """Return the words that have not been told: those after the last one, which may be heard later than before."""
        for n, word in enumerate(words):
            is_last = self._is_catching_up and self._last is not None and self._are_same(word, self._last)
            if (word.start_s + word.end_s) / 2 > self._told_before_s:
                new = words[n + (is_last and not self._has_last) :]
                return tuple(dropwhile(_is_mark, new)) if self._is_catching_up else new
            self._has_last |= is_last
        return ()

    def _are_same(self, word: Word, other: Word) -> bool:
        texts = [each.text.strip(" .,?!").lower() for each in (word, other)]
        return texts[0] == texts[1] and abs(word.start_s - other.start_s) <= self._recovery.same_word_s

    def start_anew(self, from_s: float) -> None:
        """A new session hears the audio from here."""
        self._session_start_s, self._told_before_s = from_s, self._last_word_s
        self._is_catching_up, self._has_last = from_s < self._last_word_s, False

    def needed_from_s(self, received_s: float) -> float:
        """Return from where audio must be kept, so that a new session could be played it; received: by the server."""
        before_word_s = self._last_word_s - self._recovery.before_word_s
        return max(self._silence_s, before_word_s, received_s - self._recovery.after_receipt_s)

    @property
    def heard_s(self) -> float:
        """Up to where all has been told for certain: the last word, or the pause after it."""
        return max(self._silence_s, self._last_word_s)


def _is_mark(word: Word) -> bool:
    return not word.is_spoken


def _shifted(event: _Told, by_s: float) -> _Told:
    times = {each.name: getattr(event, each.name) + by_s for each in fields(event) if each.name.endswith("_s")}
    if isinstance(event, Words | Draft | Translation):
        words = tuple(replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in event.words)
        return replace(event, words=words, **times)
    return replace(event, **times)
