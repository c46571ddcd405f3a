"""A session among others, as the inference thread sees it: what has come for it, and whether it is its turn."""

import math
from dataclasses import dataclass

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model
from streaming.events import Failed, Words
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox, Pulled
from streaming.sessions.session import Session, Turn
from streaming.settings import VoiceConfig

# So much is taken from one session before another has its turn.
_TAKEN_AT_ONCE = 2 * SAMPLE_RATE


@dataclass(frozen=True)
class Taken:
    """What a session was given, after so many samples that were lost."""

    n_samples: int
    n_lost: int


class ScheduledSession:
    """One among the sessions that take turns. It is made by any thread, and then used by the inference thread alone."""

    def __init__(
        self, handle: ThreadHandle, inbox: AudioInbox, config: AlignAttConfig, voice: VoiceConfig, *, drafts: bool
    ) -> None:
        self.handle = handle
        self._inbox, self._config, self._voice, self._drafts = inbox, config, voice, drafts
        self._session: Session | None = None
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
        """How much audio has come and was not taken yet."""
        return self._inbox.waiting_samples

    @property
    def is_due(self) -> bool:
        return self._session is not None and self._session.is_due and not self.is_over

    @property
    def due_since(self) -> float:
        """When the oldest audio that is due had arrived; events that wait for no inference come before all."""
        assert self._session is not None
        sample = self._session.due_sample
        return -math.inf if sample is None else self._inbox.arrived_at(sample)

    def drain(self) -> None:
        """Take no more audio; what has come will be heard."""
        self._inbox.drain()

    def take(self, model: Model) -> Taken | None:
        """Give the session what has come, unless enough waits already; None when nothing was taken."""
        if self.is_over:
            return None
        self._session = self._session or Session(self._config, model, self._voice, drafts=self._drafts)
        is_full = self._is_finished or self._session.due_samples >= self._most_due_samples
        pulled = None if is_full and not self._inbox.wants_clear else self._inbox.pull(_TAKEN_AT_ONCE)
        return self._given(self._session, pulled) if pulled else None

    def step(self, *, coalesce: bool) -> Turn:
        """Run at most one inference."""
        assert self._session is not None
        turn = self._session.step(coalesce=coalesce)
        self._is_recognised = self._session.is_over
        return turn

    def word_delays_s(self, turn: Turn, now: float) -> list[float]:
        """Return, for each word, how long after the audio of its end had come it was told."""
        delays = list[float]()
        for event in turn.events:
            if isinstance(event, Words):
                ago_s = now - self._inbox.arrived_at(round(event.heard_s * SAMPLE_RATE))
                delays += [max(0.0, ago_s + event.heard_s - word.end_s) for word in event.words if word.is_spoken]
        return delays

    def _given(self, session: Session, pulled: Pulled) -> Taken:
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
        return Taken(len(pulled.samples), pulled.n_lost)
