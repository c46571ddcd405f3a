"""One text that is spoken in a session: what waits to be spoken, what was left out, and how late it is."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from simul_whisper import SpeechConfig
from streaming.events import (
    Event,
    Flushed,
    Recognised,
    SpeechEnded,
    SpeechSkipped,
    SpeechStarted,
    Spoken,
    Translation,
    Words,
)
from streaming.stages.metrics import SpeechMetrics, label_of
from streaming.stages.pace import Pace
from streaming.stages.phrases import Phrase, PhraseCutter

TRANSCRIPT = ""
"""The name of the text that is no translation."""

_MOST_WAITING = 1_000


@dataclass(frozen=True)
class Waiting:
    """A phrase, and when its text was known."""

    phrase: Phrase
    known_s: float


class SpokenTarget:
    """All times of the clock that the stage goes by are `now_s`. target: a language; empty: the transcript."""

    def __init__(self, target: str, config: SpeechConfig, metrics: SpeechMetrics) -> None:
        self.target, self.pace, self.waiting = target, Pace(config), deque[Waiting]()
        self._config, self._metrics, self._cutter = config, metrics, PhraseCutter()
        self._label = label_of(target)
        # Languages without a voice, which was told.
        self._impossible = set[str]()
        # The sentence that was asked for last.
        self._begun: int | None = None
        # The sentence of which sound was told whose end was not, and at which rate.
        self._sounding: int | None = None
        self._rate = 0
        # The newest utterance, and the newest of those that are over: what comes of it later is all that comes.
        self._utterance = self._over = 0

    # What is heard

    def hear(self, event: Event, language: str | None, now_s: float) -> None:
        """Take an event. language: that of words that do not tell theirs."""
        if isinstance(event, Words | Translation | SpeechStarted):
            self._utterance = max(self._utterance, event.utterance)
        if isinstance(event, Words) and self.target == TRANSCRIPT and event.words:
            for word in event.words:
                self._add(self._cutter.hear([word], language or "", event.utterance, word.start_s, word.end_s), now_s)
        elif isinstance(event, Translation) and event.target == self.target and event.words:
            start_s, end_s = event.source_start_s, event.source_end_s
            self._add(self._cutter.hear(event.words, self.target, event.utterance, start_s, end_s), now_s)
            # A translator tells the rest of a sentence at once.
            if event.utterance <= self._over:
                self.end(now_s)
        elif isinstance(event, SpeechEnded | Flushed | Recognised):
            self._over = self._utterance
            self.end(now_s)

    def end(self, now_s: float) -> None:
        """The sentence is over."""
        self._add(self._cutter.end(), now_s)

    def refuse(self, language: str) -> None:
        """There is no voice for a language: pass over what waits, and what comes, in it. The first text was told."""
        self._impossible.add(language)
        waiting, self.waiting = self.waiting, deque[Waiting]()
        for each in waiting:
            self._add([each.phrase], each.known_s)

    def clear(self) -> None:
        """Forget what was not told, and what was told and is not heard."""
        self._cutter.end()
        self.waiting.clear()
        self.pace.stop()
        self._begun = self._sounding = None

    def _add(self, phrases: Iterable[Phrase], now_s: float) -> None:
        for phrase in phrases:
            if phrase.language in self._impossible:
                self._metrics.skipped.labels(self._label).inc(phrase.is_last)
            else:
                self.waiting.append(Waiting(phrase, now_s))

    # What is told

    def behind_s(self, now_s: float) -> float:
        """Return how much speech waits to be heard, told or not."""
        return self.pace.ahead_s(now_s) + sum(self.pace.guess_s(each.phrase.text) for each in self.waiting)

    def next(self, now_s: float) -> tuple[Waiting, float, bool]:
        """Return what is spoken next, how much else waits to be heard, and whether a sentence begins with it."""
        each = self.waiting.popleft()
        begins, self._begun = each.phrase.sentence != self._begun, each.phrase.sentence
        return each, self.behind_s(now_s), begins

    def spoken(self, phrase: Phrase, text: str, pcm: bytes, rate: int, now_s: float) -> Spoken:
        """Tell sound. text: what is said in it."""
        self._sounding, self._rate = phrase.sentence, rate
        told = Spoken(self.target, text, pcm, rate, phrase.start_s, phrase.end_s, False, phrase.utterance)
        self.pace.tell(told.duration_s, now_s)
        self._metrics.sound_s.labels(self._label).inc(told.duration_s)
        return told

    def ended(self, phrase: Phrase) -> list[Event]:
        """A phrase is done: tell that the sentence is over, if it ends with it and something of it was spoken."""
        told = self._end(phrase)
        self._metrics.sentences.labels(self._label).inc(len(told))
        return told

    def skipped(self, phrases: list[Phrase], why: str) -> list[Event]:
        """Tell that these, which follow each other, are not spoken; who hears the sentence need not wait for them."""
        self._metrics.skipped.labels(self._label).inc()
        text = " ".join(phrase.text for phrase in phrases if phrase.text)
        skipped = SpeechSkipped(self.target, text, phrases[0].start_s, phrases[-1].end_s, why)
        return [skipped, *self._end(phrases[-1])]

    def left_out(self, now_s: float) -> list[Event]:
        """Leave out the oldest sentences, the newest never, when too much waits to be heard."""
        most_s, told = self._config.most_behind, list[Event]()
        if self.behind_s(now_s) <= most_s and len(self.waiting) <= _MOST_WAITING:
            return []
        while self.behind_s(now_s) > most_s / 2 or len(self.waiting) > _MOST_WAITING / 2:
            if not (phrases := self._oldest()):
                break
            self.waiting = deque(each for each in self.waiting if each.phrase.sentence != phrases[0].sentence)
            told += self.skipped(phrases, self._why_behind)
        return told

    def leave_all_out(self, why: str) -> list[Event]:
        """Leave out all that waits, sentence by sentence."""
        told = list[Event]()
        for sentence in dict.fromkeys(each.phrase.sentence for each in self.waiting):
            phrases = [each.phrase for each in self.waiting if each.phrase.sentence == sentence and each.phrase.text]
            told += self.skipped(phrases, why) if phrases else []
        self.waiting.clear()
        return told

    @property
    def n_waiting(self) -> int:
        """How many sentences wait."""
        return len({each.phrase.sentence for each in list(self.waiting)})

    def _end(self, phrase: Phrase) -> list[Event]:
        if not phrase.is_last or phrase.sentence != self._sounding:
            return []
        self._sounding = None
        return [Spoken(self.target, "", b"", self._rate, phrase.start_s, phrase.end_s, True, phrase.utterance)]

    @property
    def _why_behind(self) -> str:
        return f"speech is more than {self._config.most_behind:g} s behind"

    def _oldest(self) -> list[Phrase]:
        """Return the phrases of the oldest sentence that was not begun; none where that is the newest."""
        sentences = [each.phrase.sentence for each in self.waiting if each.phrase.sentence != self._begun]
        if not sentences or sentences[0] == self.waiting[-1].phrase.sentence:
            return []
        return [each.phrase for each in self.waiting if each.phrase.sentence == sentences[0]]
