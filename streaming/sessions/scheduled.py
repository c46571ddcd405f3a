"""A session among others, as the inference thread sees it: what has come for it, and what is to be done next."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Answer, Ask, Encode, Model, Pieces
from streaming.events import Failed, Words
from streaming.sessions.fair_queue import Share
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox, Pulled
from streaming.sessions.session import Session, Turn
from streaming.settings import WorkerConfig

# So much is taken from one session before another has its turn.
_TAKEN_AT_ONCE = SAMPLE_RATE // 2
# Of more flushes than that, the inbox forgets those that others follow.
_MOST_PLANNED = 64


@dataclass(frozen=True)
class Taken:
    """What a session was given, after so many samples that were lost. spent_s: of computation, to hear where speech is.

    is_backlog: whether nobody listens to it in real time.
    """

    n_samples: int
    n_lost: int
    spent_s: float
    is_backlog: bool


@dataclass(frozen=True)
class Told:
    """A turn that is over: how long its audio had waited for it, and each word from the arrival of its audio on.

    took_s: from its first piece to its last, the turns of others included.
    n_decoded: samples that were decoded; spent_s: seconds of computation for that. is_draft: it has read a draft only.
    is_backlog: nobody listens to it in real time.
    """

    turn: Turn
    waited_s: float
    took_s: float
    word_delays_s: list[float]
    n_decoded: int
    spent_s: float
    is_draft: bool
    is_backlog: bool


@dataclass
class _Pass:
    """A turn under way. is_draft: it reads a draft only. n_before: samples that had been decoded when it began.

    ask: what it waits for; None before it has begun.

    spent_s: seconds of computation so far.
    """

    turn: Pieces[Turn]
    begun_at: float
    due_since: float
    waited_s: float
    is_draft: bool
    is_backlog: bool
    n_before: int
    ask: Ask | None = None
    spent_s: float = 0.0


class ScheduledSession:
    """One among the sessions that take turns: a `Contender`.

    It is made by any thread, and then used by the inference thread alone. clock: monotonic seconds.
    """

    def __init__(
        self,
        handle: ThreadHandle,
        inbox: AudioInbox,
        make: Callable[[Model], Session],
        config: AlignAttConfig,
        options: WorkerConfig,
        clock: Callable[[], float],
    ) -> None:
        self.handle = handle
        self.share = Share()
        self._inbox, self._make, self._options, self._clock = inbox, make, options, clock
        self._session: Session | None = None
        self._pass: _Pass | None = None
        self._is_finished = self._is_recognised = False
        self._most_due_samples = round(config.audio_max_len * SAMPLE_RATE) // 2

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to recognise."""
        return self._is_recognised or self.handle.log.is_over

    @property
    def has_failed(self) -> bool:
        return isinstance(self.handle.log.last, Failed)

    @property
    def waiting_samples(self) -> int:
        """How much audio has come and waits to be taken, or to be decoded, which is due."""
        session = self._session
        return self._inbox.waiting_samples + (session.due_samples if session else 0)

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return not self.is_over and (self._session is None or self.has_begun or self._may_take or self._session.is_due)

    @property
    def has_begun(self) -> bool:
        return self._pass is not None

    @property
    def is_again(self) -> bool:
        return self._inbox.is_again

    @property
    def is_backlog(self) -> bool:
        return self._inbox.is_backlog or (self._session is not None and self._session.is_flush_due)

    @property
    def is_upload(self) -> bool:
        """Whether its audio comes faster than anybody speaks. Any thread may ask."""
        return self._inbox.is_backlog

    @property
    def due_since(self) -> float:
        """When the oldest audio that is due had arrived; what needs no inference comes before all."""
        if self._pass and not self._may_take and not self._has_new_pass:
            return self._pass.due_since
        sample = self._session.due_sample if self._session and not self._may_take else None
        return -math.inf if sample is None else self._inbox.arrived_at(sample)

    @property
    def is_draft(self) -> bool:
        if self._pass:
            return self._pass.is_draft and not self._may_take and not self._has_new_pass
        session = self._session
        return session is not None and not self._may_take and session.due_sample is not None and not session.is_pass_due

    def may_join(self, ask: Ask) -> bool:
        """Whether this would ask for the like of it now: pieces of passes that have come as far, or begin."""
        if self._may_take or self._has_new_pass:
            return False
        if self._pass:
            return type(self._pass.ask) is type(ask)
        return isinstance(ask, Encode) and self._session is not None and self._session.due_sample is not None

    def drain(self) -> None:
        """Take no more audio; what has come will be heard."""
        self._inbox.drain()

    def work(self, model: Model) -> Taken | Told | Ask | None:
        """Take some of what has come, or else go on with a turn: return what it asks for, or told, when it is over.

        None when there was nothing to do any more.
        """
        self._session = self._session or self._make(model)
        if self._inbox.wants_clear or self._has_new_pass:
            self._pass = None
        if self._may_take:
            return self._taken(self._session)
        self._pass = self._pass or self._begun(self._session)
        return self._pass.ask or self._sent(self._pass, None)

    def resume(self, answer: Answer, spent_s: float) -> Told | None:
        """Go on with the answer to what `work` returned, which took so long by the clock; None until that is over.

        The turn is cut short once it has taken too long.
        """
        assert self._pass is not None
        running = self._pass
        running.spent_s += spent_s
        if running.spent_s > self._options.pass_s:
            answer = replace(answer, is_cut_short=True)
        following = self._sent(running, answer)
        return following if isinstance(following, Told) else None

    @property
    def _has_new_pass(self) -> bool:
        """Whether a draft is being read and a pass has become due, which shows more."""
        return (
            self._pass is not None and self._pass.is_draft and self._session is not None and self._session.is_pass_due
        )

    @property
    def _may_take(self) -> bool:
        """Whether something has come that may be taken now, and little enough waits to be decoded."""
        if self._inbox.wants_clear:
            return True
        is_free = self._pass is None or self._pass.is_draft
        return is_free and not self._is_finished and not self._is_full and self._inbox.has_news

    @property
    def _is_full(self) -> bool:
        session = self._session
        return session is not None and (
            session.due_samples >= self._most_due_samples or session.n_planned >= _MOST_PLANNED
        )

    def _taken(self, session: Session) -> Taken | None:
        started, is_backlog = self._clock(), self.is_backlog
        pulled = self._inbox.pull(_TAKEN_AT_ONCE)
        if not pulled:
            return None
        self._give(session, pulled)
        return Taken(len(pulled.samples), pulled.n_lost, self._clock() - started, is_backlog)

    def _begun(self, session: Session) -> _Pass:
        """Begin a turn; what is late is decoded together."""
        session.skip_drafts()
        targets = self._inbox.chosen_targets()
        if targets is not None:
            session.choose_targets(targets)
        due_since = self.due_since
        now = self._clock()
        waited_s = now - due_since if math.isfinite(due_since) else 0.0
        turn = session.turn(coalesce=waited_s > self._options.late_s)
        return _Pass(turn, now, due_since, waited_s, self.is_draft, self.is_backlog, session.decoded_samples)

    def _sent(self, running: _Pass, answer: Answer | None) -> Told | Ask:
        """Let a turn go on with an answer, or begin; return what it asks for next."""
        assert self._session is not None
        started = self._clock()
        try:
            running.ask = next(running.turn) if answer is None else running.turn.send(answer)
        except StopIteration as done:
            self._pass, self._is_recognised = None, self._session.is_over
            running.spent_s += self._clock() - started
            return self._told(done.value, running, self._session.decoded_samples - running.n_before)
        running.spent_s += self._clock() - started
        return running.ask

    def _told(self, turn: Turn, done: _Pass, n_decoded: int) -> Told:
        delays_s = self._word_delays_s(turn)
        took_s = self._clock() - done.begun_at
        return Told(turn, done.waited_s, took_s, delays_s, n_decoded, done.spent_s, done.is_draft, done.is_backlog)

    def _word_delays_s(self, turn: Turn) -> list[float]:
        now, delays = self._clock(), list[float]()
        for event in turn.events:
            if isinstance(event, Words):
                ago_s = now - self._inbox.arrived_at(round(event.heard_s * SAMPLE_RATE))
                delays += [max(0.0, ago_s + event.heard_s - word.end_s) for word in event.words if word.is_spoken]
        return delays

    def _give(self, session: Session, pulled: Pulled) -> None:
        if pulled.n_cleared is not None:
            session.clear(pulled.n_cleared)
        if not self._is_finished:
            if pulled.n_lost:
                session.drop(pulled.n_lost)
            session.take(pulled.samples)
            if pulled.is_flush:
                session.flush()
            if pulled.is_end:
                self._is_finished = True
                session.finish()
