"""One target of a session: what is told of it, and what was left out."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from simul_whisper import SimultaneousTranslation, Translated, Word
from streaming.events import Event, Translation, TranslationDraft, TranslationSkipped
from streaming.stages.metrics import TranslationMetrics

_MOST_TIMES = 1_000
_Span = tuple[float, float]


class TranslatedTarget:
    """impossible: the languages that the translator does not translate from. may_draft: no draft has failed lately."""

    def __init__(self, target: str, source_threshold: int, metrics: TranslationMetrics) -> None:
        self.target, self.text = target, SimultaneousTranslation(target, source_threshold)
        self.impossible = set[str]()
        self.may_draft = True
        self._metrics = metrics
        self._utterance = 1
        self._shown: tuple[Word, ...] = ()
        self._told_since_draft = False
        # Since when the translator has failed, why; and what was left out since that was told.
        self._outage = ""
        self._untold: _Span | None = None
        # Ends of words, and when they were heard.
        self._times: deque[tuple[float, float]] = deque(maxlen=_MOST_TIMES)

    def hear(self, words: Sequence[Word], utterance: int) -> None:
        """Take words, but those in languages that cannot be translated."""
        self._utterance = utterance
        self._times.append((words[-1].end_s, time.monotonic()))
        for word in words:
            if (word.language or "") in self.impossible:
                self.text.end_sentence()
            else:
                self.text.hear([word], utterance)

    def hear_draft(self, words: Sequence[Word], utterance: int) -> None:
        self._utterance = utterance
        is_possible = not any((word.language or "") in self.impossible for word in words)
        self.text.hear_draft(words if is_possible else (), utterance)

    def ready(self) -> list[Event]:
        """Tell what needs no translator, and pass over what cannot be translated."""
        events = self.told(self.text.ready())
        while (request := self.text.next_request()) and request.sentence.source in self.impossible:
            self.text.lose(request)
            events += self.told(self.text.ready())
        return events

    def told(self, translated: Iterable[Translated]) -> list[Event]:
        events = list[Event]()
        for each in translated:
            events.append(Translation(self.target, each.words, each.source_start_s, each.source_end_s, each.utterance))
            self._told_since_draft = True
            self._metrics.words.labels(self.target).inc(len(each.words))
            for heard_s in self._heard_until(each.source_end_s):
                self._metrics.delay_s.labels(self.target).observe(time.monotonic() - heard_s)
        return events

    def skipped(self, spans: Sequence[_Span], why: str, *, is_outage: bool) -> list[Event]:
        """Tell what is left out. is_outage: the translator does not work, which is told once until it does again."""
        if not spans:
            return []
        from_s, to_s = spans[0][0], spans[-1][1]
        self._heard_until(to_s)
        self._metrics.skipped.labels(self.target).inc(len(spans))
        if self._outage:
            self._untold = (self._untold[0] if self._untold else from_s, to_s)
            return []
        if is_outage:
            self._outage = why
        return [TranslationSkipped(self.target, from_s, to_s, why)]

    def recovered(self) -> list[Event]:
        """The translator works again, or is not needed any more: tell what else was left out since it failed."""
        untold, why = self._untold, self._outage
        self._untold, self._outage, self.may_draft = None, "", True
        return [TranslationSkipped(self.target, *untold, why)] if untold else []

    def drafted(self, *, is_coming: bool) -> list[Event]:
        """Tell the draft, if it is news. is_coming: a newer one comes soon, so it only replaces what was told."""
        draft = self.text.draft
        if _text(draft) == _text(self._shown) or (is_coming and not self._told_since_draft):
            return []
        self._shown, self._told_since_draft = draft, False
        return [TranslationDraft(self.target, draft, self._utterance)]

    def dropped(self) -> list[Event]:
        """Nobody wants it any more: nothing is finished, and the draft is emptied."""
        return [TranslationDraft(self.target, (), self._utterance)] if self._shown else []

    def _heard_until(self, end_s: float) -> list[float]:
        heard = list[float]()
        while self._times and self._times[0][0] <= end_s:
            heard.append(self._times.popleft()[1])
        return heard


def in_language(words: Sequence[Word], language: str | None) -> list[Word]:
    """Return the words, each with a language: this one where it has none."""
    return [word if word.language else replace(word, language=language) for word in words]


def _text(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words)
