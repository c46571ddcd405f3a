"""The picture of latency against word errors."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="needs the extra bench")

from scripts import plot

PAGE = Path(__file__).parent.parent / "docs" / "measured.md"


def figures(laal_s: float | None, wer: float, wer_offline: float | None) -> dict[str, Any]:
    group = {"laal_s": laal_s, "wer": wer, "wer_offline": wer_offline}
    return {"overall": group, "groups": {"en/short": group | {"wer": 1.5}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, found in {"a": figures(2.0, 10.0, 9.25), "b": figures(1.0, 12.0, None)}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    return tmp_path


def draw(folder: Path, *arguments: str) -> int:
    return plot.main([*arguments, "--points", str(folder / "points.json")])


def test_a_point_for_each_file_is_kept_and_drawn(folder: Path) -> None:
    assert draw(folder, f"x = 1={folder}/a.json", f"low={folder}/b.json") == 0
    expected = [plot.Point("x = 1", 2.0, 10.0, 9.25), plot.Point("low", 1.0, 12.0, None)]
    assert plot.read_points(folder / "points.json") == expected
    picture = (folder / "points.svg").read_text(encoding="utf-8")
    assert all(text in picture for text in (">x = 1<", ">low<", "decoded whole: 9.25 %"))


def test_the_bound_of_a_setting_is_drawn_where_it_was_measured(folder: Path) -> None:
    assert draw(folder, f"a={folder}/a.json") == 0
    without = (folder / "points.svg").read_text(encoding="utf-8")
    found = figures(2.0, 10.0, 9.25)
    found["overall"] |= {"laal_earliest_s": 1.25, "wer_foreseen": 9.5}
    (folder / "a.json").write_text(json.dumps(found))
    assert draw(folder, f"a={folder}/a.json") == 0
    assert plot.read_points(folder / "points.json")[0].bound == (1.25, 9.5)
    picture = (folder / "points.svg").read_text(encoding="utf-8")
    assert picture.count("PathCollection") == without.count("PathCollection") + 1


def test_a_group_may_be_drawn(folder: Path) -> None:
    assert draw(folder, f"a={folder}/a.json", "--group", "en/short") == 0
    assert plot.read_points(folder / "points.json")[0].wer == 1.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.json"], "LABEL=FILE"),
        (["a=/no/such.json"], "/no/such.json"),
        (["a={}/a.json", "--group", "de"], "en/short"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(folder, *(each.format(folder) for each in arguments)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_figures_without_words_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.json").write_text(json.dumps(figures(None, 10.0, 9.0)))
    assert draw(folder, f"a={folder}/a.json") == 2
    assert "no LAAL" in capsys.readouterr().err


def test_the_same_points_give_the_same_picture(folder: Path) -> None:
    points = plot.read_points(plot.POINTS)
    for name in ("1.svg", "2.svg"):
        plot.draw(points, folder / name)
    assert (folder / "1.svg").read_bytes() == (folder / "2.svg").read_bytes()


def test_the_picture_of_the_documentation_shows_the_points_that_are_kept() -> None:
    picture = plot.POINTS.with_suffix(".svg")
    assert f"](figures/{picture.name})" in PAGE.read_text(encoding="utf-8")
    assert all(f">{point.label}<" in picture.read_text(encoding="utf-8") for point in plot.read_points(plot.POINTS))
