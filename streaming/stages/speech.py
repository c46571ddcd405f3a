"""Committed text of a session as sound, by a voice that may be slow, fail or hang.

Captions never wait for it. There is one call at a time, on a thread of its own. Little is told ahead of what a listener
hears who plays it at once, so that what is late is spoken faster, and whole sentences are left out when it is too late.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from simul_whisper import BackendStatus, SimulWhisperError, SpeechConfig
from streaming.events import BackendChanged, Cleared, Event, Failed, Language
from streaming.stages.metrics import SpeechMetrics, label_of
from streaming.stages.spoken_target import SpokenTarget, Waiting
from streaming.stages.voice_calls import BYTES_PER_SAMPLE, VoiceCall, Voices, too_many_unanswered
from streaming.tracing import add_span

logger = logging.getLogger(__name__)

# So much is told before it can be heard: enough for a voice that stutters, and little that a clear finds too late.
_MOST_AHEAD_S = 5.0
# A voice that says nothing for so long is not waited for; the first call of one may load it.
TIMEOUT_S = 30.0
_LONGEST_WHY = 300


@dataclass
class _Asked:
    """What is being spoken. behind_s: how much else waited to be heard; begins: a sentence begins with it.

    is_given_up: nobody waits for it any more. sound_s: what was told of it.
    """

    target: SpokenTarget
    waiting: Waiting
    call: VoiceCall
    behind_s: float
    begins: bool
    is_given_up: bool = False
    sound_s: float = 0.0


class SpeechStage:
    """A `Stage`. targets: languages of translations that are spoken, or "" for the transcript itself.

    clock: in seconds; that of the stream, where it is not played as it comes. waits: for recordings that come faster
    than they were spoken: `feed` waits for the voice as long as it answers. metrics: shared with other sessions.
    timeout_s: how long a voice may be silent before it is not waited for any more.
    """

    def __init__(
        self,
        voices: Voices,
        config: SpeechConfig,
        targets: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        waits: bool = False,
        metrics: SpeechMetrics | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._voices, self._config, self._clock, self._waits = voices, config, clock, waits
        self._metrics, self._timeout_s = metrics or SpeechMetrics(), timeout_s
        self._woken = threading.Event()
        self._chosen = tuple(dict.fromkeys(targets))
        self._targets = list[SpokenTarget]()
        self._asked: _Asked | None = None
        # What ran the vocoder of each language's voice when this session last heard it.
        self._statuses = dict[str, BackendStatus]()
        self._language: str | None = None
        self._is_flushing = False
        self._follow_choice()
        self._metrics.watch(self)

    @property
    def woken(self) -> threading.Event:
        return self._woken

    def choose(self, targets: Sequence[str]) -> None:
        """Speak what follows of these; of others, nothing more. Any thread may call it."""
        self._chosen = tuple(dict.fromkeys(targets))
        self._woken.set()

    def n_waiting(self) -> dict[str, int]:
        """Return how many sentences wait, for each target. Any thread may call it."""
        return {each.target: each.n_waiting for each in list(self._targets)}

    def behind_s(self) -> dict[str, float]:
        """Return how much speech waits to be heard, for each target. The stage's own thread may call it."""
        return {each.target: each.behind_s(self._clock()) for each in self._targets}

    def feed(self, events: Sequence[Event]) -> list[Event]:
        self._follow_choice()
        for event in events:
            self._hear(event)
        return list(self._settled(math.inf) if self._waits else self._advance())

    def flush(self) -> Iterable[Event]:
        self._follow_choice()
        for target in self._targets:
            target.end(self._clock())
        self._is_flushing = True
        # What would take longer than it may be late is not waited for.
        most_s = math.inf if self._waits else max(self._config.most_behind, self._timeout_s)
        yield from self._settled(time.monotonic() + most_s)
        why = "the session was over before the voice was done"
        if self._asked and not self._asked.is_given_up:
            self._give_up()
            yield from self._failed(self._asked, why)
        for target in self._targets:
            yield from target.leave_all_out(why)

    # What is heard

    def _hear(self, event: Event) -> None:
        if isinstance(event, Language):
            self._language = event.language
        if isinstance(event, Cleared | Failed):
            self._give_up()
            for target in self._targets:
                target.clear()
        for target in self._targets:
            target.hear(event, self._language, self._clock())

    def _follow_choice(self) -> None:
        chosen = self._chosen
        self._targets = [each for each in self._targets if each.target in chosen]
        if self._asked and self._asked.target not in self._targets:
            self._give_up()
        known = [each.target for each in self._targets]
        self._targets += [SpokenTarget(each, self._config, self._metrics) for each in chosen if each not in known]

    def _give_up(self) -> None:
        if self._asked:
            self._asked.is_given_up = True
            self._asked.call.give_up()

    # What is told

    def _settled(self, until_s: float) -> Iterator[Event]:
        """Tell all that comes until nothing more is asked, the voice does not answer, or it is this late."""
        while True:
            self._woken.clear()
            self._follow_choice()
            yield from self._advance()
            left_s = until_s - time.monotonic()
            if self._asked is None or self._asked.call.is_late or left_s <= 0:
                return
            self._woken.wait(min(self._asked.call.remaining_s, left_s))

    def _advance(self) -> list[Event]:
        """Tell what has sound, leave out what is too late, and ask for the next phrase."""
        told = self._answered()
        for target in self._targets:
            told += target.left_out(self._clock())
        return [*told, *self._ask()]

    def _answered(self) -> list[Event]:
        asked = self._asked
        if asked is None:
            return []
        # In this order: there is no sound after the end.
        is_done, sounds = asked.call.is_done, asked.call.take()
        told = list[Event]()
        if is_done:
            self._asked = None
            told += self._changed(asked)
        if asked.is_given_up:
            return told
        told += [event for sound in sounds for event in self._spoken(asked, sound)]
        if is_done:
            return [*told, *self._taken(asked)]
        if asked.call.is_late:
            self._give_up()
            told += self._failed(asked, f"the voice has been silent for {self._timeout_s:g} s")
        return told

    def _changed(self, asked: _Asked) -> list[Event]:
        """Tell that another vocoder runs than when this session last heard the voice; all sessions share it."""
        language, now = asked.waiting.phrase.language, asked.call.status
        if now is None:
            return []
        before = self._statuses.get(language) or asked.call.status_before
        self._statuses[language] = now
        if before is None or before.backend == now.backend:
            return []
        return [BackendChanged(before.backend, now.backend, now.reason, "vocoder")]

    def _spoken(self, asked: _Asked, sound: bytes) -> list[Event]:
        target, phrase, rate = asked.target, asked.waiting.phrase, asked.call.rate
        if not sound:
            return []
        now_s, pause_s, text = self._clock(), 0.0, ""
        if not asked.sound_s:
            text, pause_s = phrase.text, target.pace.pause_s(asked.behind_s, now_s) if asked.begins else 0.0
            self._count_first(asked, now_s + target.pace.ahead_s(now_s) + pause_s)
        asked.sound_s += len(sound) / BYTES_PER_SAMPLE / rate
        silence = bytes(round(pause_s * rate) * BYTES_PER_SAMPLE)
        return [target.spoken(phrase, text, silence + sound, rate, now_s)]

    def _count_first(self, asked: _Asked, heard_s: float) -> None:
        label = label_of(asked.target.target)
        self._metrics.delay_s.labels(label).observe(heard_s - asked.waiting.known_s)
        self._metrics.first_sound_s.labels(label).observe(asked.call.first_s or 0.0)

    def _taken(self, asked: _Asked) -> list[Event]:
        target, phrase, call = asked.target, asked.waiting.phrase, asked.call
        self._metrics.seconds.labels(label_of(target.target)).inc(call.took_s)
        add_span("speech", call.took_s, target=label_of(target.target))
        if call.error and call.has_no_voice:
            language = phrase.language or "a language that is not known"
            why = f"{_reason(call.error)}; nothing in {language} after it is spoken either"
            target.refuse(phrase.language)
            return target.skipped([phrase], why)
        if call.error:
            return self._failed(asked, _reason(call.error))
        if not asked.sound_s:
            return self._failed(asked, "the voice has no sound for it")
        target.pace.learn(phrase.text, asked.sound_s, target.pace.speed(asked.behind_s))
        return target.ended(phrase)

    def _failed(self, asked: _Asked, why: str) -> list[Event]:
        self._metrics.failures.labels(label_of(asked.target.target)).inc()
        return asked.target.skipped([asked.waiting.phrase], why)

    # What is asked

    def _ask(self) -> list[Event]:
        told = list[Event]()
        while not (self._asked or too_many_unanswered()):
            ready = [each for each in self._targets if each.waiting and self._may_tell(each)]
            if not ready:
                break
            target = min(ready, key=lambda each: each.pace.ahead_s(self._clock()))
            waiting, behind_s, begins = target.next(self._clock())
            phrase, speed = waiting.phrase, target.pace.speed(behind_s)
            if not phrase.text:
                told += target.ended(phrase)
                continue
            call = VoiceCall(self._voices, phrase.text, phrase.language, speed, self._timeout_s, self._woken)
            self._asked = _Asked(target, waiting, call, behind_s, begins)
        return told

    def _may_tell(self, target: SpokenTarget) -> bool:
        most_s = min(_MOST_AHEAD_S, self._config.most_behind / 2)
        return self._is_flushing or target.pace.ahead_s(self._clock()) < most_s


def _reason(error: Exception) -> str:
    if isinstance(error, SimulWhisperError):
        return str(error)
    logger.error("a voice has failed", exc_info=error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_WHY]
