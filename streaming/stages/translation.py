"""Text in other languages from the words of a session, by a translator that may be slow, fail or hang.

The transcript never waits for it. There is one call at a time, on a thread of its own. What comes meanwhile is kept, so
a translator that is slow is asked about the newest state of a sentence; once it is too far behind, whole sentences are
left out, and that is told.
"""

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from simul_whisper import ConfigError, SimulWhisperError, TranslationConfig, TranslationRequest, Translator
from streaming.events import Cleared, Draft, Event, Flushed, Language, Recognised, SpeechEnded, Words
from streaming.stages.calls import TranslatorCall, too_many_unanswered
from streaming.stages.metrics import TranslationMetrics
from streaming.stages.target import TranslatedTarget, in_language
from streaming.tracing import add_span

logger = logging.getLogger(__name__)

# Drafts are not worth it where words would have to wait for them.
_FAST_S = 0.5
_MOST_WORDS = 10_000
_LONGEST_WHY = 300


@dataclass
class _Asked:
    """What is being translated. is_given_up: it was not answered in time, and nobody waits for it any more."""

    target: TranslatedTarget
    request: TranslationRequest
    call: TranslatorCall
    is_given_up: bool = False


class TranslationStage:
    """A `Stage`. targets: those that need a translator are taken, others are passed over.

    drafts: whether translations that may still change are told too. metrics: shared with other sessions.
    waits: for recordings that come faster than they were spoken: `feed` waits for the translator as long as it answers.
    With max_behind = inf nothing is left out for being late, and the end waits as long as there are answers.
    Raises BackendError when a package is missing.
    """

    def __init__(
        self,
        translator: Translator,
        config: TranslationConfig,
        targets: Sequence[str],
        *,
        drafts: bool,
        waits: bool = False,
        metrics: TranslationMetrics | None = None,
    ) -> None:
        self._translator, self._config, self._drafts, self._waits = translator, config, drafts, waits
        self._metrics = metrics or TranslationMetrics()
        self._woken = threading.Event()
        self._chosen = config.by_translator(targets)
        # The one whose turn is next comes first.
        self._targets = list[TranslatedTarget]()
        self._follow_choice()
        self._asked: _Asked | None = None
        self._took_s = 0.0
        self._language: str | None = None
        self._metrics.watch(self)

    @property
    def woken(self) -> threading.Event:
        return self._woken

    def choose(self, targets: Sequence[str]) -> None:
        """Translate the words that follow into these languages; others finish nothing more. Any thread may call it."""
        self._chosen = self._config.by_translator(targets)
        self._woken.set()

    def n_waiting(self) -> dict[str, int]:
        """Return how many whole sentences wait, for each target. Any thread may call it."""
        return {each.target: each.text.n_waiting for each in list(self._targets)}

    @property
    def n_words(self) -> int:
        """How many words are held, for all targets together."""
        return sum(each.text.n_words for each in self._targets)

    def feed(self, events: Sequence[Event]) -> list[Event]:
        told = self._follow_choice()
        for event in events:
            self._hear(event)
        told += self._settled(math.inf) if self._waits else self._advance()
        return [*told, *self._drafted()]

    def flush(self) -> Iterable[Event]:
        yield from self._follow_choice()
        self._end_sentences()
        self._drafts, was_drafting = False, self._drafts
        until_s = math.inf if math.isinf(self._config.max_behind) else time.monotonic() + self._config.timeout
        yield from self._settled(until_s)
        why = self._unanswered or "the session was over before the translator was done"
        for target in self._targets:
            yield from target.skipped(target.text.leave_out(-math.inf), why, is_outage=False)
            yield from [*target.recovered(), *target.ready()]
        self._drafts = was_drafting
        yield from self._drafted()

    # What is heard

    def _hear(self, event: Event) -> None:
        if isinstance(event, Words) and event.words:
            for target in self._targets:
                target.hear(in_language(event.words, self._language), event.utterance)
        elif isinstance(event, Draft):
            for target in self._targets if self._drafts else ():
                target.hear_draft(in_language(event.words, self._language), event.utterance)
        elif isinstance(event, Language):
            self._language = event.language
        elif isinstance(event, SpeechEnded | Flushed | Cleared | Recognised):
            self._end_sentences()

    def _end_sentences(self) -> None:
        for target in self._targets:
            target.text.end_sentence()

    def _follow_choice(self) -> list[Event]:
        chosen, told = self._chosen, list[Event]()
        for each in [each for each in self._targets if each.target not in chosen]:
            self._targets.remove(each)
            told += each.dropped()
        known = [each.target for each in self._targets]
        self._targets += [
            TranslatedTarget(target, self._config.source_threshold, self._metrics)
            for target in chosen
            if target not in known
        ]
        return told

    # What is told

    def _settled(self, until_s: float) -> Iterator[Event]:
        """Tell all that comes until nothing more is asked, the translator does not answer, or it is this late."""
        while True:
            self._woken.clear()
            yield from self._advance()
            left_s = until_s - time.monotonic()
            if self._asked is None or self._asked.is_given_up or left_s <= 0:
                return
            self._woken.wait(min(self._asked.call.remaining_s, left_s))

    def _advance(self) -> list[Event]:
        """Tell what is done, leave out what is too late, and ask the next question."""
        told = [*self._answered(), *self._left_out()]
        # Also what had to wait for a sentence that was left out.
        told += [event for target in self._targets for event in target.ready()]
        self._ask()
        return told

    def _drafted(self) -> list[Event]:
        coming = self._asked.target if self._asked and self._asked.request.is_draft else None
        return [
            event
            for target in self._targets
            for event in (target.drafted(is_coming=target is coming) if self._drafts else ())
        ]

    def _answered(self) -> list[Event]:
        asked = self._asked
        if asked is None or not (asked.call.is_done or asked.call.is_late):
            return []
        is_first, is_wanted = not asked.is_given_up, asked.target in self._targets
        if asked.call.is_done:
            self._asked = None
            return self._taken(asked) if is_first and is_wanted else []
        asked.is_given_up = True
        if not (is_first and is_wanted):
            return []
        return self._failed(asked, self._unanswered, is_quick=False)

    def _taken(self, asked: _Asked) -> list[Event]:
        target, request, name = asked.target, asked.request, asked.target.target
        self._took_s = asked.call.took_s
        self._metrics.calls.labels(name).inc()
        self._metrics.seconds.labels(name).inc(asked.call.took_s)
        add_span("translation", asked.call.took_s, target=name, is_draft=request.is_draft)
        try:
            tokens = asked.call.result()
            translated = target.text.take(request, tokens)
        except ConfigError as error:
            return self._impossible(asked, str(error))
        except SimulWhisperError as error:
            return self._failed(asked, str(error))
        except Exception as error:
            logger.error("a translator has failed", exc_info=error)
            return self._failed(asked, " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_WHY])
        self._metrics.tokens.labels(name).inc(len(tokens))
        return [*([] if request.is_draft else target.recovered()), *target.told(translated)]

    def _impossible(self, asked: _Asked, why: str) -> list[Event]:
        if asked.request.is_draft:
            # The words themselves will be told to be left out.
            return self._failed(asked, why)
        source = asked.request.sentence.source
        asked.target.impossible.add(source)
        span = asked.target.text.lose(asked.request)
        why = f"{why}; nothing that is said in {source} after it is translated either"
        return asked.target.skipped([span] if span else [], why, is_outage=False)

    def _failed(self, asked: _Asked, why: str, *, is_quick: bool = True) -> list[Event]:
        """A sentence that goes on has another chance when it is whole, unless much time was lost with it."""
        target, request = asked.target, asked.request
        self._metrics.failures.labels(target.target).inc()
        target.text.fail(request)
        if request.is_draft:
            target.may_draft = False
        if is_quick and not request.sentence.is_whole:
            return []
        span = target.text.lose(request)
        return target.skipped([span] if span else [], why, is_outage=True)

    def _left_out(self) -> list[Event]:
        told, most_s = list[Event](), self._config.max_behind
        for target in self._targets:
            is_asked = self._asked is not None and self._asked.target is target and not self._asked.is_given_up
            asked = self._asked.request if self._asked and is_asked else None
            spans = target.text.lost_since()
            if target.text.behind_s > most_s:
                spans += target.text.leave_out(most_s / 2, asked)
            elif target.text.n_words > _MOST_WORDS:
                spans += target.text.leave_out(0.0, asked)
            why = self._unanswered or f"the translator is more than {most_s:g} s behind"
            told += target.skipped(spans, why, is_outage=bool(self._unanswered))
        return told

    @property
    def _unanswered(self) -> str:
        """What to say of a translator that does not answer; empty while it does."""
        is_given_up = self._asked is not None and self._asked.is_given_up
        return f"the translator has not answered for {self._config.timeout:g} s" if is_given_up else ""

    # What is asked

    def _ask(self) -> None:
        if self._asked or too_many_unanswered():
            return
        requests = [(target, request) for target in self._targets if (request := target.text.next_request())]
        if not requests and self._drafts and self._took_s <= _FAST_S:
            requests = [
                (target, request)
                for target in self._targets
                if target.may_draft and (request := target.text.next_draft())
            ]
        if not requests:
            return
        # Whole sentences come first, as they were said; what is still being said, in turn.
        target, request = min(requests, key=lambda each: each[1].start_s if each[1].sentence.is_whole else math.inf)
        self._targets.remove(target)
        self._targets.append(target)
        call = TranslatorCall(self._translator, request.sentence, self._config.timeout, self._woken)
        self._asked = _Asked(target, request, call)
