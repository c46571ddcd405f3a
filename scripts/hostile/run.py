"""All that was chosen, one after the other: a row for each is printed when it is known."""

import asyncio
import re
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.hostile.attacker import attacking
from scripts.hostile.attacks import ATTACKS, BY_NAME, CONTAINERS, Attack
from scripts.hostile.connections import FORGED, KINDS
from scripts.hostile.figures import Measured, head, line, plain
from scripts.hostile.neighbour import Heard, listen, listen_by_container
from scripts.hostile.stopping import MOST_AT_ONCE_S, MOST_BEYOND_DRAIN_S, PATIENCE_S, stopping
from scripts.hostile.subject import Subject, warm_up
from scripts.hostile.target import Outcome, Target
from scripts.hostile.watch import watching
from scripts.own_server import OwnServer
from simul_whisper import SAMPLE_RATE, ConfigError
from streaming.audio.files import read_audio
from streaming.client import websocket_url

SIGTERM, SIGTERM_TWICE = "sigterm", "sigterm-twice"
_LEAD_S, _MOST_HEAT_S = 1.0, 5.0
_BAIT = "demos/recordings/kettle.flac"
# Sessions of attackers who are gone without a word do not wait long for them.
# Attackers and neighbour share an address, whose limit is to be seen, and not that of a slow machine.
_OWN_FLAGS = ["--language", "en", "--resume-s", "2", "--no-admit", "--max-sessions", "16"]


@dataclass(frozen=True)
class Plan:
    """names: of attacks, SIGTERM and SIGTERM_TWICE. url: of a server that runs; empty for one of our own.

    seconds: of the recording. patience_s: for words after the recording; settle_s: for rest after the attack;
    longest_s: for an attack that is over by itself. again: whether the neighbour alone is measured at the end, too. The
    rest is as in `Target`.
    """

    names: tuple[str, ...]
    url: str
    admin_url: str
    token: str
    model: str
    flags: tuple[str, ...]
    recording: str
    seconds: float
    connections: int
    at_once: int
    hold_s: float
    sources: int
    patience_s: float
    settle_s: float
    longest_s: float
    drain_s: float
    again: bool

    def target(self, url: str, speech: str) -> Target:
        return Target(
            url=websocket_url(url),
            token=self.token,
            speech=speech,
            bait=_BAIT,
            n_connections=self.connections,
            n_at_once=self.at_once,
            hold_s=self.hold_s,
            n_sources=self.sources,
            first_source=0,
        )


class Run:
    """folder: for files of its own."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._samples = read_audio(plan.recording)[: round(plan.seconds * SAMPLE_RATE)]
        self._speech = str(folder / "speech.pcm")
        Path(self._speech).write_bytes((self._samples * 32767).astype("<i2").tobytes())
        self._is_good = True

    async def all(self) -> bool:
        """Print the table; return whether nothing was missed. Raises ConfigError, and RuntimeError for our own."""
        own = None if self._plan.url else self._own_server()
        try:
            await self._attack(self._subject(own))
            if own:
                await self._stop(own)
                self._show_log(own)
        finally:
            if own:
                own.kill()
        return self._is_good

    def _own_server(self) -> OwnServer:
        plan = self._plan
        token = ["--token", plan.token] if plan.token else []
        return OwnServer(["--model", plan.model, *_OWN_FLAGS, "--drain-s", f"{plan.drain_s}", *token, *plan.flags])

    def _subject(self, own: OwnServer | None) -> Subject:
        url = own.url if own else self._plan.url
        return Subject(url, self._plan.admin_url or url, self._plan.token, own)

    async def _attack(self, subject: Subject) -> None:
        await warm_up(self._plan.target(subject.url, self._speech))
        attacks = [BY_NAME[name] for name in self._plan.names if name in BY_NAME]
        forms = sorted({attack.group == CONTAINERS for attack in attacks})
        print(head(), flush=True)
        alone = {form: await self._row(subject, _alone(form), None, None, by_container=form) for form in forms}
        if unheard := [each for each in alone.values() if each.failure or not each.delays_s]:
            raise ConfigError(f"the neighbour cannot be heard even alone: {unheard[0].failure or 'no words'}")
        for attack in attacks:
            form = attack.group == CONTAINERS
            await self._row(subject, attack.name, attack, alone[form], by_container=form)
        for form in forms if self._plan.again else ():
            await self._row(subject, f"{_alone(form)} again", None, alone[form], by_container=form)

    async def _row(
        self, subject: Subject, name: str, attack: Attack | None, alone: Heard | None, *, by_container: bool
    ) -> Heard:
        """Measure, and print the row; a server that does not recover is started again. Raises ConfigError."""
        _say(f"{name}: {attack.what if attack else 'The neighbour speaks, and nobody attacks.'}")
        measured = await self._measured(subject, attack, by_container)
        beside = alone or measured.heard
        missed = measured.missed(beside)
        self._is_good &= not missed
        print(line(name, measured.cells(beside), " ".join(missed) or "-", measured.remarks), flush=True)
        if measured.note:
            await self._start_again(subject)
        return measured.heard

    async def _measured(self, subject: Subject, attack: Attack | None, by_container: bool) -> Measured:
        before_mb, outcome = subject.holdings().memory_mb, Outcome()
        async with watching(subject.admin_url, subject.holdings) as seen, AsyncExitStack() as stack:
            begun = (
                await stack.enter_async_context(attacking(attack, self._target(subject, attack))) if attack else None
            )
            await asyncio.sleep(_LEAD_S)
            heard = await self._listen(subject, by_container)
            if attack and begun and attack.is_over_by_itself and not await begun.wait(self._plan.longest_s):
                _say(f"{attack.name} is not over after {self._plan.longest_s:g} s, and is ended")
            if begun:
                await begun.stop()
                outcome = begun.outcome
        after_mb, wrong = await subject.settled(before_mb, self._plan.settle_s)
        return Measured(heard, seen, outcome, before_mb, after_mb, wrong)

    async def _listen(self, subject: Subject, by_container: bool) -> Heard:
        if by_container:
            target = self._plan.target(subject.url, self._speech)
            return await listen_by_container(target, self._samples, self._plan.patience_s)
        return await listen(subject.url, self._samples, self._plan.token, self._plan.patience_s)

    def _target(self, subject: Subject, attack: Attack) -> Target:
        target = self._plan.target(subject.url, self._speech)
        is_one_kind = attack.is_over_by_itself and attack.name != "flood"
        n_connections = target.n_connections // (len(KINDS) if is_one_kind else 1)
        first_source = target.n_sources * (1 + ATTACKS.index(attack))
        return replace(target, n_connections=n_connections, first_source=first_source)

    async def _start_again(self, subject: Subject) -> None:
        if not subject.own:
            raise ConfigError("the server does not recover; what follows could not be measured")
        _say("starting the server again")
        subject.own.start_again()
        await warm_up(self._plan.target(subject.url, self._speech))

    async def _stop(self, own: OwnServer) -> None:
        for name, n_signals, most_s in (
            (SIGTERM, 1, self._plan.drain_s + MOST_BEYOND_DRAIN_S),
            (SIGTERM_TWICE, 2, MOST_AT_ONCE_S),
        ):
            if name not in self._plan.names:
                continue
            if own.process.poll() is not None:
                own.start_again()
            _say(f"{name}: The server is told to stop while heavy-fast goes on.")
            target = self._plan.target(own.url, self._speech)
            heat_s = min(_MOST_HEAT_S, self._plan.seconds)
            took_s = await stopping(own, target, BY_NAME["heavy-fast"], heat_s, n_signals)
            is_in_time = took_s is not None and took_s <= most_s
            self._is_good &= is_in_time
            gone = f"not gone after {PATIENCE_S:g} s, and killed" if took_s is None else f"gone after {took_s:.1f} s"
            print(plain(name, "-" if is_in_time else "gone", f"{gone}; at most {most_s:g} s"), flush=True)

    def _show_log(self, own: OwnServer) -> None:
        own.kill()
        log = bytes(own.log)
        counts = {
            "tracebacks": log.count(b"Traceback (most recent call last)"),
            "control characters": len(re.findall(rb"[\x00-\x08\x0b-\x1f\x7f]", log)),
            "forged lines": len(re.findall(rb"^" + FORGED.encode(), log, re.MULTILINE)),
        }
        self._is_good &= not any(counts.values())
        told = ", ".join(f"{name} {n}" for name, n in counts.items())
        print(plain("log", "log" if any(counts.values()) else "-", told), flush=True)


def _alone(by_container: bool) -> str:
    return "alone with WAV" if by_container else "alone"


def _say(notice: str) -> None:
    print(f"hostile: {notice}", file=sys.stderr, flush=True)
