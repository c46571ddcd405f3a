"""Draw latency against word errors, a point for each setting, from what `simul-whisper bench --json` keeps.

    python -m scripts.plot                                            # the picture of docs/measured.md, from its points
    python -m scripts.plot default=default.json 'low latency=low.json'  # both anew, from these figures

Needs Matplotlib, of the extra `bench`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simul_whisper import ConfigError

POINTS = Path(__file__).parents[1] / "docs" / "figures" / "latency_wer.json"
# Of middle lightness, to be read on white and on black.
INK, POINT, LINE = "#7d8590", "#2f81f7", "#d29922"
SIZE_INCHES = (7.2, 4.0)
FONT_POINTS = 10
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simul-whisper",
    "font.family": "sans-serif",
    "font.size": FONT_POINTS,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Point:
    """A setting: lagging on the audio's clock, word error rates in per cent; None for what was not measured.

    laal_earliest_s, wer_foreseen: the bound that foresight gives.
    """

    label: str
    laal_s: float
    wer: float
    wer_offline: float | None = None
    laal_earliest_s: float | None = None
    wer_foreseen: float | None = None

    @property
    def bound(self) -> tuple[float, float] | None:
        if self.laal_earliest_s is None or self.wer_foreseen is None:
            return None
        return self.laal_earliest_s, self.wer_foreseen


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.plot", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "figures", nargs="*", metavar="LABEL=FILE", help="figures of bench; none: the points that are kept"
    )
    parser.add_argument("--group", metavar="LANG/KIND", help="of this group, such as en/short; else of all clips")
    parser.add_argument(
        "--points", type=Path, default=POINTS, metavar="FILE", help="where the points are kept, as JSON"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the picture (default: beside the points, as SVG)")
    options = parser.parse_args(arguments)
    try:
        if options.figures:
            write_points([read_figures(each, options.group) for each in options.figures], options.points)
        draw(read_points(options.points), options.output or options.points.with_suffix(".svg"))
    except (ConfigError, OSError) as error:
        print(f"plot: {error}", file=sys.stderr)
        return 2
    return 0


def read_figures(argument: str, group: str | None) -> Point:
    """Return the point of `LABEL=FILE`. Raises ConfigError, and OSError."""
    label, _, name = argument.rpartition("=")
    if not label:
        raise ConfigError(f"got {argument!r}, expected LABEL=FILE")
    figures = json.loads(Path(name).read_text(encoding="utf-8"))
    if group and group not in figures["groups"]:
        raise ConfigError(f"{name}: there is no group {group}; there are {', '.join(figures['groups'])}")
    found = figures["groups"][group] if group else figures["overall"]
    if found["laal_s"] is None or found["wer"] is None:
        raise ConfigError(f"{name}: there is no LAAL or no WER, because no words were scored")
    measured = {each.name: found[each.name] for each in fields(Point) if each.name in found}
    return Point(label, **measured)


def read_points(path: Path) -> list[Point]:
    return [Point(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write_points(points: Sequence[Point], path: Path) -> None:
    rows = ",\n ".join(json.dumps(asdict(point), ensure_ascii=False) for point in points)
    path.write_text(f"[\n {rows}\n]\n", encoding="utf-8")


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the picture, transparent; the same points give the same bytes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=INK, alpha=0.2)
        axes.set_xlabel("LAAL, seconds behind the speaker")
        axes.set_ylabel("word error rate, %")
        axes.scatter([point.laal_s for point in points], [point.wer for point in points], color=POINT, zorder=3)
        for point in points:
            _draw_bound(axes, point)
        offline = sorted({point.wer_offline for point in points if point.wer_offline is not None})
        _set_limits(axes, points, offline)
        for wer in offline:
            axes.axhline(wer, color=LINE, linestyle="--", linewidth=1)
            axes.annotate(
                f"decoded whole: {wer:g} %",
                (0.01, wer),
                (0, -4),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=LINE,
                va="top",
            )
        _label(axes, points)
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_bound(axes: Axes, point: Point) -> None:
    """Tie the point to what foresight would give."""
    if point.bound is None:
        return
    laal_s, wer = point.bound
    axes.plot([point.laal_s, laal_s], [point.wer, wer], color=LINE, linestyle=":", linewidth=1)
    axes.scatter([laal_s], [wer], facecolors="none", edgecolors=LINE, zorder=3)


def _set_limits(axes: Axes, points: Sequence[Point], offline: Sequence[float]) -> None:
    """From 0 s; with room for labels at the right, and above and below."""
    rates = [*(point.wer for point in points), *(point.bound[1] for point in points if point.bound), *offline]
    margin = 0.15 * (max(rates) - min(rates)) + 0.2
    axes.set_xlim(0, 1.35 * max(point.laal_s for point in points))
    axes.set_ylim(max(0.0, min(rates) - margin), max(rates) + margin)


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Write each label at the right of its point, or higher where it would cover the one below."""
    low, high = axes.get_ylim()
    line_height = 1.4 * FONT_POINTS / (72 * SIZE_INCHES[1]) * (high - low)
    below = low
    for point in sorted(points, key=lambda each: each.wer):
        y = max(point.wer, below + line_height)
        shift_points = (y - point.wer) / (high - low) * SIZE_INCHES[1] * 72
        axes.annotate(
            point.label, (point.laal_s, point.wer), (9, shift_points), textcoords="offset points", va="center"
        )
        below = y


if __name__ == "__main__":
    sys.exit(main())
