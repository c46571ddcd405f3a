"""How many listeners at once a server bears: the search for the number, and one trial of it. It prints nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from simul_whisper import SAMPLE_RATE
from streaming.client import RefusedError
from streaming.evaluation.load import IN_TIME_S, Listening, Samples, listen
from streaming.events import Reason
from streaming.replay.recovery import RECOVERY, After

# A server bears as many as of whose words so many come within `IN_TIME_S`.
IN_TIME_SHARE = 0.95
# Clients come one after another within so many seconds, and words count from so many on, when all are there.
_ARRIVALS_S, SETTLED_S = 5.0, 8.0
# The number is found to a sixteenth.
_GRAIN = 16
_FIRST, _MOST = 2, 4_096
# Who is refused is not to come back.
_ONCE = replace(
    RECOVERY,
    codes={**RECOVERY.codes, **dict.fromkeys([Reason.TOO_MANY_SESSIONS.value, Reason.OVERLOADED.value], After.STOP)},
)


@dataclass(frozen=True)
class Trial:
    """What so many clients were told. refusal: what the first was told who was not let in; empty: all were.

    in_time: the share of words that came within `IN_TIME_S`; it and the delays are NaN where there was no word.
    """

    n_clients: int
    n_admitted: int
    n_words: int
    in_time: float
    median_s: float
    p95_s: float
    refusal: str

    @property
    def is_in_time(self) -> bool:
        return self.in_time >= IN_TIME_SHARE

    @property
    def is_borne(self) -> bool:
        return self.is_in_time and self.n_admitted == self.n_clients


class Search:
    """Doubles the number until it is too many, and halves the gap then. Pure."""

    def __init__(self, first: int = _FIRST) -> None:
        self._first = first
        # The most that were borne, and the fewest that were not; 0 while none was.
        self.n_borne = self._n_too_many = 0

    def next(self) -> int | None:
        """Return the number to try next; None when the number that is borne is known well enough."""
        if not self._n_too_many:
            following = 2 * self.n_borne or self._first
            return following if following <= _MOST else None
        if self._n_too_many - self.n_borne <= max(1, self.n_borne // _GRAIN):
            return None
        return (self.n_borne + self._n_too_many) // 2

    def note(self, n: int, *, is_borne: bool) -> None:
        if is_borne:
            self.n_borne = max(self.n_borne, n)
        else:
            self._n_too_many = min(n, self._n_too_many or n)


async def tried(
    url: str, samples: Samples, n_clients: int, trial_s: float, token: str = "", *, drafts: bool = True
) -> Trial:
    """Have so many clients stream speech for so long, each from another place of it on."""
    talk = np.resize(samples, max(len(samples), round(trial_s * SAMPLE_RATE)))[: round(trial_s * SAMPLE_RATE)]

    async def come(number: int) -> Listening | RefusedError:
        await asyncio.sleep(_ARRIVALS_S * number / n_clients)
        own = np.roll(talk, number * len(talk) // n_clients)
        try:
            return await listen(url, own, token, drafts=drafts, recovery=_ONCE, from_s=SETTLED_S)
        except RefusedError as refused:
            return refused

    return trial_of(await asyncio.gather(*(come(number) for number in range(n_clients))))


def trial_of(heard: Sequence[Listening | RefusedError]) -> Trial:
    admitted = [each for each in heard if isinstance(each, Listening)]
    refusals = [str(each) for each in heard if isinstance(each, RefusedError)]
    delays = sorted(delay for each in admitted for delay in each.delays_s)
    told = delays or [float("nan")]
    return Trial(
        len(heard),
        len(admitted),
        len(delays),
        sum(delay <= IN_TIME_S for delay in delays) / len(delays) if delays else float("nan"),
        median(told),
        told[round(0.95 * (len(told) - 1))],
        refusals[0] if refusals else "",
    )
