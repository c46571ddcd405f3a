"""What a reader is told of a session that replicas have in turn: each thing once; times and utterances count on.

A replica's session begins to count anew. Of what it hears again, nothing is told again; what was open stays open. Pure.
"""

from dataclasses import replace
from typing import TypeVar

from simul_whisper import SAMPLE_RATE
from streaming.events import (
    AudioDropped,
    BackendChanged,
    Cleared,
    CutShort,
    Draft,
    Ended,
    Event,
    Flushed,
    Language,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    Words,
)
from streaming.replay.deduplication import Deduplicator
from streaming.replay.recovery import Recovery
from streaming.sessions.request import TRANSCRIPT

# Times are sums: those of two sessions differ a little, but never by half a sample.
_EPSILON_S = 0.5 / SAMPLE_RATE
_NUMBERED = (Words, Draft, Translation, TranslationDraft, SpeechStarted, SpeechEnded, Language, CutShort)
_Numbered = Words | Draft | Translation | TranslationDraft | SpeechStarted | SpeechEnded | Language | CutShort
_CLOSING = (SpeechEnded, Flushed, Cleared, AudioDropped)
_Any = TypeVar("_Any", bound=_Numbered)


class Retelling:
    """targets: languages that recognition itself translates into."""

    def __init__(self, recovery: Recovery, targets: tuple[str, ...] = ()) -> None:
        self._recovery, self._words = recovery, Deduplicator(recovery)
        self._words.choose(targets)
        # Whether a session was lost; until then, all is told as it comes.
        self._is_again = False
        # The utterance that was told last, whether it goes on, and since when; the number that comes to those of the
        # present session, None while that is not known.
        self._utterance, self._is_open, self._started_s = 0, False, 0.0
        # Whether the end of that one was heard among words that had been told, and was not told for that reason; and
        # whether beginnings are told at all.
        self._has_missed_end = self._has_start = False
        self._offset: int | None = 0
        # Up to where utterances have been told to their ends, and nothing before can follow.
        self._closed_s = self._settled_s = 0.0
        # Up to where words were told, now and when the present session began.
        self._told_s = self._told_before_s = self._cut_s = 0.0
        self._language = ""
        self._changes = set[BackendChanged]()
        # Of which texts a draft is shown, and which of these are of a session that was lost.
        self._drafts, self._stale = set[str](), set[str]()

    def choose(self, targets: tuple[str, ...]) -> None:
        """What follows is translated into these languages."""
        self._words.choose(targets)

    def told(self, event: Event) -> list[Event]:
        """Return what a reader is to be told for an event of the present session."""
        once = self._words.told(event)
        if once is None or isinstance(once, Ended):
            return []
        if not self._is_again:
            self._note(once)
            return [once]
        if self._is_known(once):
            if isinstance(once, SpeechEnded) and self._is_open and once.at_s > self._started_s:
                self._has_missed_end = True
            return []
        told = list[Event]()
        if isinstance(once, SpeechStarted) and self._is_open:
            told.append(self._noted(SpeechEnded(self._told_s, self._utterance)))
        fresh = self._numbered(once) if isinstance(once, _NUMBERED) else once
        withdrawn = self._withdrawn(fresh)
        self._note(fresh)
        # A draft gives way to the words that it was of, and is gone before anything else.
        return [*told, fresh, *withdrawn] if isinstance(fresh, Words | Translation) else [*told, *withdrawn, fresh]

    def start_anew(self, from_s: float) -> None:
        """A new session hears the audio from here."""
        self._words.start_anew(from_s)
        self._is_again, self._offset = True, None
        self._told_before_s, self._has_missed_end = self._told_s, False
        self._stale = set(self._drafts)

    def dropped(self, event: AudioDropped) -> list[Event]:
        """Return what a reader is to be told where audio can be heard by no session any more."""
        told = list[Event]()
        if self._is_open and self._has_start:
            told.append(self._noted(SpeechEnded(max(self._started_s, self._told_s), self._utterance)))
        return [*told, *self._withdrawn(event), self._noted(event)]

    def needed_from_s(self, received_s: float) -> float:
        """Return from where audio must be kept, so that a new session could be played it; received: by the replica."""
        return max(self._words.needed_from_s(received_s), self._settled_s)

    @property
    def heard_s(self) -> float:
        """Up to where all has been told for certain."""
        return max(self._words.heard_s, self._settled_s)

    def _is_known(self, event: Event) -> bool:
        if isinstance(event, SpeechStarted):
            is_same = self._is_open and not (self._has_missed_end and event.at_s > self._told_s)
            return is_same or event.at_s < self._closed_s - _EPSILON_S
        if isinstance(event, SpeechEnded):
            is_before = event.at_s < max(self._started_s, self._told_before_s - self._recovery.same_word_s)
            return is_before or not self._is_open
        if isinstance(event, Language):
            return event.language == self._language
        if isinstance(event, BackendChanged):
            return event in self._changes
        if isinstance(event, CutShort):
            return event.at_s <= max(self._cut_s, self._told_before_s)
        if isinstance(event, Draft | TranslationDraft):
            return not event.words and _text_of(event) not in self._drafts
        return False

    def _numbered(self, event: _Any) -> _Any:
        """Count the utterance among those that were told."""
        if self._is_open or self._is_of_the_last(event):
            number = self._utterance
        elif self._offset is None:
            number = self._utterance + 1
        else:
            number = max(event.utterance + self._offset, self._utterance + 1)
        self._offset = number - event.utterance
        return replace(event, utterance=number)

    def _is_of_the_last(self, event: _Numbered) -> bool:
        """Whether these are words of an utterance whose end was told already."""
        words = event.words if isinstance(event, Words | Draft | Translation | TranslationDraft) else ()
        return bool(words) and (words[0].start_s + words[0].end_s) / 2 < self._closed_s

    def _withdrawn(self, event: Event) -> list[Event]:
        """Return what takes back drafts of a session that was lost, because nothing else will."""
        if isinstance(event, Draft | TranslationDraft):
            self._stale.discard(_text_of(event))
            return []
        if isinstance(event, Words | Translation):
            texts = self._stale & {_text_of(event)}
        else:
            texts = self._stale if isinstance(event, (*_CLOSING, Recognised)) else set[str]()
        self._stale = self._stale - texts
        number = max(1, self._utterance)
        return [self._noted(Draft((), number) if not text else TranslationDraft(text, (), number)) for text in texts]

    def _noted(self, event: Event) -> Event:
        self._note(event)
        return event

    def _note(self, event: Event) -> None:
        if isinstance(event, _NUMBERED):
            self._is_open = self._is_open or event.utterance > self._utterance
            self._utterance = max(self._utterance, event.utterance)
        if isinstance(event, SpeechStarted):
            self._started_s, self._has_start = event.at_s, True
        elif isinstance(event, Words):
            self._told_s = max(self._told_s, *(word.end_s for word in event.words))
        elif isinstance(event, Draft | TranslationDraft):
            (self._drafts.add if event.words else self._drafts.discard)(_text_of(event))
        elif isinstance(event, Language):
            self._language = event.language
        elif isinstance(event, BackendChanged):
            self._changes.add(event)
        elif isinstance(event, CutShort):
            self._cut_s = event.at_s
        elif isinstance(event, _CLOSING):
            self._close(event)

    def _close(self, event: SpeechEnded | Flushed | Cleared | AudioDropped) -> None:
        self._is_open = self._has_missed_end = False
        at_s = event.to_s if isinstance(event, AudioDropped) else event.at_s
        self._closed_s = max(self._closed_s, at_s)
        if not isinstance(event, SpeechEnded):
            self._settled_s = max(self._settled_s, at_s)


def _text_of(event: Words | Draft | Translation | TranslationDraft) -> str:
    return TRANSCRIPT if isinstance(event, Words | Draft) else event.target
