"""How sure figures are, over rows as a report has them."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from simul_whisper import AlignAttConfig
from streaming.evaluation.figures import report
from streaming.evaluation.intervals import FIGURES, intervals
from tests.streaming.evaluation.results import said


def row(number: int, errors: int, *, lang: str = "en", **values: Any) -> dict[str, Any]:
    return {"id": f"{lang}{number}", "lang": lang, "errors": errors, "n_reference": 10, **values}


def test_a_figure_is_that_of_the_clips_themselves_and_an_interval_holds_it() -> None:
    found = intervals([row(i, errors) for i, errors in enumerate([0, 1, 2, 3, 4])])["en"]["errors"]
    assert found["value"] == 20
    assert 0 < found["low"] < 20 < found["high"] < 40
    assert intervals([row(i, errors) for i, errors in enumerate([0, 1, 2, 3, 4])])["en"]["errors"] == found


def test_an_interval_is_that_of_all_draws_there_are() -> None:
    errors = [0, 0, 2, 5, 7]
    every_draw = [10 * float(np.mean(draw)) for draw in product(errors, repeat=5)]
    low, high = np.percentile(every_draw, [2.5, 97.5])
    found = intervals([row(i, each) for i, each in enumerate(errors)])["overall"]["errors"]
    assert found["low"] == pytest.approx(low, abs=4)
    assert found["high"] == pytest.approx(high, abs=4)


def test_clips_that_are_all_alike_leave_no_doubt() -> None:
    found = intervals([row(i, 2, laal_ca_s=1.5) for i in range(9)])["en"]
    assert found["errors"] == {"value": 20, "low": 20, "high": 20}
    assert found["laal_ca_s"] == {"value": 1.5, "low": 1.5, "high": 1.5}
    assert found["drafts_right"] is None


def test_few_clips_have_no_interval() -> None:
    assert intervals([row(i, i) for i in range(4)])["en"]["errors"] == {"value": 15}


def test_runs_are_compared_clip_by_clip() -> None:
    """However different the clips: each lost an error."""
    before = [row(i, errors) for i, errors in enumerate([1, 9, 3, 7, 5, 2])]
    after = [row(i, errors) for i, errors in enumerate([0, 8, 2, 6, 4])]
    assert intervals(after, before)["en"]["errors"] == {"value": -10, "low": -10, "high": -10}
    assert intervals(after, before[5:])["overall"]["errors"] is None


def test_the_bound_is_compared_clip_by_clip() -> None:
    rows = [row(i, errors, errors_bound=errors - 1) for i, errors in enumerate([1, 9, 3, 7, 5])]
    assert intervals(rows)["en"]["errors_above_bound"] == {"value": 10, "low": 10, "high": 10}


def test_languages_stand_alone_and_together() -> None:
    rows = [row(0, 1), row(0, 3, lang="de"), row(0, 5, lang="fr"), row(0, 9, lang="zh"), row(1, 0, lang="zh")]
    found = {name: group["errors"] for name, group in intervals(rows).items()}
    assert list(found) == ["de", "en", "fr", "zh", "not en", "overall"]
    assert [each and each["value"] for each in found.values()] == [30, 10, 50, 45, 40, 30]
    assert list(intervals(rows[:2])) == ["de", "en", "overall"]


def test_a_report_has_what_intervals_are_made_of() -> None:
    spoken = [said("The time turns.", id=str(i), bound="The tide turns.") for i in range(5)]
    silent = [said("", id="silent"), said("x", id="unscored", reference=None), said("", id="none", reference="")]
    found = report([*spoken, *silent], AlignAttConfig())["intervals"]["overall"]
    assert found["errors"]["value"] == pytest.approx(100 * (5 + 3) / 18, abs=1e-3)
    assert found["errors_above_bound"] == {"value": 33.333, "low": 33.333, "high": 33.333}
    assert found["first_word_ca_s"]["value"] == 4
    assert found.keys() == FIGURES.keys()
