"""What came of an attack beside what it may cost, as a row of the table. Pure."""

import math
from dataclasses import dataclass

from scripts.hostile.neighbour import Heard
from scripts.hostile.target import Outcome
from scripts.hostile.watch import Seen

MOST_LATER_S = 0.7
MOST_HEALTH_S = 0.2
MOST_MORE_MB = 20.0

_COLUMNS = ("median", "p95", "later", "words", "health", "99 %", "failed", "MB", "most", "after")


@dataclass(frozen=True)
class Measured:
    """before_mb, after_mb: at rest. note: what became of the server itself, if it did not go on."""

    heard: Heard
    seen: Seen
    outcome: Outcome
    before_mb: float
    after_mb: float
    note: str = ""

    def missed(self, alone: Heard) -> list[str]:
        """Return what is not as it must be. alone: what the neighbour heard when there was no attack."""
        n_words = len(alone.delays_s)
        later_s = self.heard.p95_s(n_words) - alone.p95_s(n_words)
        checks = {
            "delay": later_s <= MOST_LATER_S,
            "words": self.heard.words == alone.words and not self.heard.failure,
            "health": self.seen.worst_s < MOST_HEALTH_S and not self.seen.failures,
            "memory": not self.after_mb - self.before_mb > MOST_MORE_MB,
            "opened": not self.seen.most_udp_sockets and not self.outcome.faults,
            "answers": self.outcome.is_answered,
            "gone": not self.note,
        }
        return [name for name, is_so in checks.items() if not is_so]

    def cells(self, alone: Heard) -> list[str]:
        n_words = len(alone.delays_s)
        p95_s = self.heard.p95_s(n_words)
        return [
            _seconds(self.heard.median_s(n_words)),
            _seconds(p95_s),
            _seconds(p95_s - alone.p95_s(n_words)),
            f"{len(self.heard.delays_s)}/{n_words}" + ("" if self.heard.words == alone.words else "≠"),
            _seconds(self.seen.worst_s, 3),
            _seconds(self.seen.p99_s, 3),
            f"{sum(self.seen.failures.values())}/{len(self.seen.health_s)}",
            *(f"{mb:.0f}" for mb in (self.before_mb, self.seen.peak_mb, self.after_mb)),
        ]

    @property
    def remarks(self) -> str:
        """What was answered, to the neighbour, to health and to the attackers, and what should not have been."""
        failures = ", ".join(f"{answer} {n}" for answer, n in self.seen.failures.most_common(3))
        sockets = f"{self.seen.most_udp_sockets} UDP sockets" if self.seen.most_udp_sockets else ""
        parts = {
            "": self.note,
            "neighbour: ": self.heard.failure,
            "health: ": failures,
            "opened: ": ", ".join([*filter(None, [sockets]), *sorted(self.outcome.faults)]),
            "answers: ": self.outcome.summary,
        }
        return "; ".join(f"{name}{part}" for name, part in parts.items() if part)


def head() -> str:
    return line("attack", _COLUMNS, "missed", "remarks")


def line(name: str, cells: tuple[str, ...] | list[str], missed: str, remarks: str) -> str:
    """Return a row. missed: what is not as it must be."""
    return f"{name:22}" + "".join(f"{cell:>10}" for cell in cells) + f"  {missed:46}{remarks}".rstrip()


def plain(name: str, missed: str, remarks: str) -> str:
    """Return a row of something that no neighbour was beside."""
    return line(name, ["-"] * len(_COLUMNS), missed, remarks)


def _seconds(value_s: float, n_digits: int = 2) -> str:
    return "never" if math.isinf(value_s) or math.isnan(value_s) else f"{round(value_s, n_digits) + 0.0:.{n_digits}f}"
