"""Where the time of a call goes."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from simul_whisper.pieces import Answer, Pieces

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Timing:
    """Seconds spent by stage; together the stages are `total_s`.

    encode_s: the encoder, and what the decoder projects of its features. language_s: hearing which language is spoken.
    prefill_s: the prompt, until the first new token is chosen. step_s: one entry per decoder step. translation_s: all
    that a second text takes. commit_s: deciding what stands. windows: how many decoding passes this was.
    """

    mel_s: float = 0.0
    encode_s: float = 0.0
    language_s: float = 0.0
    prefill_s: float = 0.0
    step_s: tuple[float, ...] = ()
    translation_s: float = 0.0
    commit_s: float = 0.0
    total_s: float = 0.0
    windows: int = 0

    @classmethod
    def sum_of(cls, timings: Iterable["Timing"]) -> "Timing":
        parts = list(timings)
        return cls(
            mel_s=sum(part.mel_s for part in parts),
            encode_s=sum(part.encode_s for part in parts),
            language_s=sum(part.language_s for part in parts),
            prefill_s=sum(part.prefill_s for part in parts),
            step_s=tuple(step for part in parts for step in part.step_s),
            translation_s=sum(part.translation_s for part in parts),
            commit_s=sum(part.commit_s for part in parts),
            total_s=sum(part.total_s for part in parts),
            windows=sum(part.windows for part in parts),
        )

    def stages(self) -> Iterator[tuple[str, float]]:
        """Yield the name and the seconds of every stage, in the order in which they ran."""
        yield from (("mel", self.mel_s), ("encode", self.encode_s), ("language", self.language_s))
        yield ("prefill", self.prefill_s)
        yield from ((f"step {n}", step_s) for n, step_s in enumerate(self.step_s, 1))
        if self.translation_s:
            yield ("translation", self.translation_s)
        yield ("commit", self.commit_s)


class Stopwatch:
    """Measures laps and the whole: what is computed here, and the time that was spent on answers."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()

    def timed(self, work: Pieces[_Result]) -> Pieces[_Result]:
        """Return the same work; while it waits for an answer, what was spent on that is counted and nothing else."""
        answer: Answer
        try:
            ask = next(work)
            while True:
                asked = time.perf_counter()
                answer = yield ask
                others_s = time.perf_counter() - asked - answer.spent_s
                self._started += others_s
                self._lap += others_s
                ask = work.send(answer)
        except StopIteration as done:
            result: _Result = done.value
            return result

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self._lap = now - self._lap, now
        return elapsed

    def total(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._started
