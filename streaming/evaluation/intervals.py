"""How sure figures are: intervals in which they would lie, in 95 of 100 cases, with other clips like these.

By bootstrap: clips are drawn anew, with repetition, and the figure is computed of each draw. Two runs over the same
clips are compared clip by clip, so that what is hard about a clip does not count. Pure; the draws are always the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.evaluation.scoring import CHARACTER_LANGUAGES

_N_DRAWS, _SEED = 2000, 20
_LOW, _HIGH = 2.5, 97.5
# Of fewer, a draw says little.
_FEWEST_CLIPS = 5
_ENGLISH, _NOT_ENGLISH, _OVERALL = "en", "not en", "overall"

Row = Mapping[str, Any]
"""A clip, as a report has it."""


@dataclass(frozen=True)
class _Figure:
    """Of some clips: the sum of one value, divided by that of another (their number), minus the same of `less`."""

    value: str
    of: str | None = None
    percent: bool = False
    less: str | None = None

    @property
    def values(self) -> list[str]:
        return [each for each in (self.value, self.of, self.less) if each]

    def drawn(self, rows: Sequence[Row], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """draws: int64 (n_draws, n), indices of rows. Returns float64 (n_draws,); NaN where there is nothing."""
        over = np.array([row[self.of] if self.of else 1 for row in rows], float)[draws].sum(axis=1)
        value = np.array([row[self.value] - (row[self.less] if self.less else 0) for row in rows], float)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios: NDArray[np.float64] = (100 if self.percent else 1) * value[draws].sum(axis=1) / over
        return ratios


FIGURES = {
    "errors": _Figure("errors", "n_reference", percent=True),
    "errors_above_bound": _Figure("errors", "n_reference", percent=True, less="errors_bound"),
    "first_word_ca_s": _Figure("first_word_ca_s"),
    "laal_ca_s": _Figure("laal_ca_s"),
    "laal_shown_s": _Figure("laal_shown_s"),
    "drafts_right": _Figure("n_right", "n_drafted", percent=True),
    "flicker": _Figure("n_taken_back", "n_shown"),
    "compute_per_audio_s": _Figure("compute_s", "duration_s"),
}
"""Those that there are intervals of. Errors and drafts_right in per cent."""


def intervals(rows: Sequence[Row], before: Sequence[Row] | None = None) -> dict[str, dict[str, Any]]:
    """Return for each language, and for all, the figures with `value`, `low` and `high`; None: not measurable.

    before: of another run over the same clips: then it is the differences from those; clips of one run only are left
    out. Errors are of words, or, in one of CHARACTER_LANGUAGES, of characters; those do not count among the errors of
    several languages.
    """
    earlier = {row["id"]: row for row in before or ()}
    chosen = [row for row in rows if before is None or row["id"] in earlier]
    return {
        name: {figure: _interval(figure, group, earlier) for figure in FIGURES}
        for name, group in _groups(chosen).items()
    }


def _groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by language, then all, and those that are not English where there are several others."""
    ordered = sorted(rows, key=lambda row: str(row["lang"]))
    groups: dict[str, list[Row]] = {}
    for row in ordered:
        groups.setdefault(row["lang"], []).append(row)
    if _ENGLISH in groups and len(groups) > 2:
        groups[_NOT_ENGLISH] = [row for row in ordered if row["lang"] != _ENGLISH]
    return {**groups, _OVERALL: ordered}


def _interval(name: str, rows: Sequence[Row], earlier: Mapping[str, Row]) -> dict[str, float] | None:
    figure = FIGURES[name]
    if figure.value == "errors" and len({row["lang"] for row in rows}) > 1:
        rows = [row for row in rows if row["lang"] not in CHARACTER_LANGUAGES]
    pairs = [(row, earlier.get(row["id"], row)) for row in rows]
    pairs = [pair for pair in pairs if all(row.get(value) is not None for row in pair for value in figure.values)]
    if not pairs:
        return None
    n = len(pairs)
    # The first draw is the clips themselves.
    draws = np.vstack([np.arange(n), np.random.default_rng(_SEED).integers(n, size=(_N_DRAWS, n))])
    drawn = figure.drawn([row for row, _ in pairs], draws)
    if earlier:
        drawn -= figure.drawn([row for _, row in pairs], draws)
    if np.isnan(drawn[0]):
        return None
    found = {"value": float(drawn[0])}
    if n >= _FEWEST_CLIPS:
        low, high = np.nanpercentile(drawn[1:], [_LOW, _HIGH])
        found |= {"low": float(low), "high": float(high)}
    return {key: round(value, 3) for key, value in found.items()}
