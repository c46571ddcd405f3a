"""The sessions of a server, by whatever protocol they came: opened, ended when they last too long, drained."""

import asyncio
import functools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from anyio import move_on_after

from simul_whisper import AlignAttConfig
from streaming.events import Reason
from streaming.server.hosted import HostedSession
from streaming.server.lifecycle import tell_ended, tell_opened, telling_refusals
from streaming.server.limits import Limits
from streaming.server.speech import SessionSpeech, Speech
from streaming.server.translations import SessionTranslations, Translations
from streaming.sessions.event_log import EventLog
from streaming.sessions.model_choice import ModelOffer, ModelOffers
from streaming.sessions.pool import Health, InferencePool
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import ClientLimits, VoiceConfig

_LOOK_S = 0.2
# Where the pool does not say when there is a place again. Not all who are refused are to come back at once.
_WAIT_S, _SPREAD = 10.0, 0.25


@dataclass(frozen=True)
class _Stay:
    """Whose session it is, by network, how it is decoded, and what ends it when it lasts too long."""

    network: str
    config: AlignAttConfig
    timer: asyncio.TimerHandle


class SessionRegistry:
    """config, voice: of sessions that ask for nothing else. It belongs to one event loop.

    client_limits: what others may ask for. translations: into which languages. speech: in which voices. by_language:
    the names of models by the codes of the languages that they are there for.
    """

    def __init__(
        self,
        pool: InferencePool,
        config: AlignAttConfig,
        voice: VoiceConfig,
        limits: Limits,
        client_limits: ClientLimits | None = None,
        translations: Translations | None = None,
        speech: Speech | None = None,
        by_language: Mapping[str, str] | None = None,
    ) -> None:
        self.pool, self.limits = pool, limits
        self.config, self._voice = config, voice
        self.translations, self.speech = translations or Translations(), speech or Speech()
        self.client_limits = client_limits or ClientLimits()
        self.by_language = by_language or {}
        self._sessions: dict[HostedSession, _Stay] = {}
        # Those that are not over, and whether their clients have left them for good.
        self._going: dict[EventLog, bool] = {}
        # Set once no more sessions are opened.
        self.stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self.n_connections = 0
        self.errors: Counter[str] = Counter()
        # By the name of the token that let them in; "" where none is asked for.
        self.connections_by_name: Counter[str] = Counter()
        # By the name of what is spoken, uploads among them.
        self.connections_by_dialect: Counter[str] = Counter()

    def open(self, request: SessionRequest, network: str = "") -> HostedSession:
        """Open a session for somebody who comes from this network, as the doorway counts them. Raises Refusal."""
        with telling_refusals():
            return self._opened(request, network)

    def _opened(self, request: SessionRequest, network: str) -> HostedSession:
        self._check_open(network)
        config = request.engine_config(self.config, self.client_limits)
        voice = request.voice_config(self._voice)
        config = replace(config, targets=self.translations.config.by_whisper(request.targets))
        config = self._with_model(request, config)
        self._check_targets(request.targets, config)
        self._check_speech(request.speech, request.targets, config)
        handle = self.pool.open(config, voice, drafts=request.drafts)
        translations = SessionTranslations(self.translations, handle, drafts=request.drafts)
        speech = SessionSpeech(self.speech, handle, translations, request.targets)
        translations.begin(request.targets)
        speech.choose(request.speech)
        session = HostedSession(handle, request.audio, translations, speech)
        message = f"the session was ended after {self.limits.total_s:g} s, the longest that this server allows"
        stop = functools.partial(session.stop, Reason.TOO_LONG, message)
        timer = asyncio.get_running_loop().call_later(self.limits.total_s, stop)
        self._sessions[session] = _Stay(network, config, timer)
        tell_opened(handle.log, config.model_name, config, request.targets)
        self._tell_end_of(handle.log)
        return session

    def _with_model(self, request: SessionRequest, config: AlignAttConfig) -> AlignAttConfig:
        """Return the settings with the name of the model that listens. Raises Refusal."""
        offers = tuple(ModelOffer(each.model, each.languages, each.tasks) for each in self.pool.health().all)
        chosen = ModelOffers(offers, self.by_language).chosen(request, config)
        return replace(config, model_name=chosen.name, model_path="")

    def model(self, session: HostedSession) -> str:
        """Return the name of the model that listens."""
        return self._sessions[session].config.model_name

    def _tell_end_of(self, log: EventLog) -> None:
        """Have it told that a session is over, once that is so."""
        loop = asyncio.get_running_loop()
        self._going[log] = False

        def look() -> None:
            if log.is_over:
                # A loop that is closed has nobody left who waits.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(end)

        def end() -> None:
            log.remove_waker(look)
            if log in self._going:
                tell_ended(log, has_left=self._going.pop(log))

        log.add_waker(look)
        look()

    def targets(self, session: HostedSession) -> tuple[str, ...]:
        """Return the languages that the session can be translated into."""
        config = self._sessions[session].config
        return self.translations.targets(self._health(config), config)

    def _health(self, config: AlignAttConfig) -> Health:
        """Return that of the session's model."""
        return self.pool.health().of(config.model_name)

    def choose_targets(self, session: HostedSession, targets: Sequence[str]) -> None:
        """Translate what follows in a session into these languages; nothing does once it is closed. Raises Refusal."""
        stay = self._sessions.get(session)
        if stay:
            self._check_targets(targets, stay.config)
            session.choose_targets(targets)

    def choose_speech(self, session: HostedSession, speech: Sequence[str]) -> None:
        """Speak what follows of these texts of a session; nothing does once it is over. Raises Refusal."""
        stay = self._sessions.get(session)
        if stay and not session.log.is_over:
            self._check_speech(speech, session.targets, stay.config)
            session.choose_speech(speech)

    def close(self, session: HostedSession) -> None:
        """Forget a session, whether it is over or not."""
        stay = self._sessions.pop(session, None)
        if stay:
            stay.timer.cancel()
            if session.log in self._going and not session.log.is_over:
                self._going[session.log] = True
            session.close()
        self.changed()

    def changed(self) -> None:
        """A session is over, or has no reader any more."""
        self._changed.set()

    @property
    def is_stopping(self) -> bool:
        return self.stopping.is_set()

    @property
    def n_away(self) -> int:
        """How many sessions wait for their client to come back."""
        return sum(not session.has_reader and not session.log.is_over for session in self._sessions)

    async def drain(self, drain_s: float, hurry_s: float = 5.0) -> None:
        """Open no more; let sessions end by themselves for `drain_s`; then stop them, which may take `hurry_s`."""
        self.stopping.set()
        if await self._emptied(drain_s):
            return
        for session in list(self._sessions):
            session.stop(Reason.STOPPING, "the server is being stopped")
        await self._emptied(hurry_s)

    def check_open(self, network: str) -> None:
        """Raise Refusal when no session can be opened now for somebody who comes from this network."""
        with telling_refusals():
            self._check_open(network)

    def _check_open(self, network: str) -> None:
        if self.is_stopping:
            raise Refusal(Reason.STOPPING, "the server is being stopped; no new session can be opened")
        health = self.pool.health()
        if not health.is_ready:
            reason = health.message or f"the model is {health.state.value}"
            raise Refusal(Reason.NOT_READY, f"{reason}; try again later")
        n_open = sum(stay.network == network and not session.log.is_over for session, stay in self._sessions.items())
        if n_open >= self.limits.sessions_per_address:
            raise Refusal(
                Reason.TOO_MANY_SESSIONS,
                f"{n_open} sessions are open from your address, and no more are allowed; "
                "the server can allow more with --sessions-per-address",
            )

    def check_place(self, network: str) -> None:
        """As `check_open`, and raise Refusal where the pool has no place, before anything is sent for a session."""
        with telling_refusals():
            self._check_open(network)
            health = self.pool.health().together
            if health.n_places == 0:
                wait_s = _spread(health.retry_after_s)
                raise Refusal(Reason.TOO_MANY_SESSIONS, f"the server is full; try again in {wait_s:.0f} s", wait_s)

    def _check_targets(self, targets: Sequence[str], config: AlignAttConfig) -> None:
        self.translations.check(targets, self._health(config), config, self.client_limits.targets)

    def _check_speech(self, speech: Sequence[str], targets: Sequence[str], config: AlignAttConfig) -> None:
        self.speech.check(speech, targets, config, self.client_limits.speech)

    async def _emptied(self, timeout_s: float) -> bool:
        """Wait until each session is over and its client has been told, or has gone."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while any(session.has_reader or not session.log.is_over for session in self._sessions):
            if loop.time() >= until:
                return False
            self._changed.clear()
            with move_on_after(min(_LOOK_S, until - loop.time())):
                await self._changed.wait()
        return True


def _spread(wait_s: float | None) -> float:
    return (_WAIT_S if wait_s is None else wait_s) * random.uniform(1, 1 + _SPREAD)
