"""A day of a captioning service, simulated: who comes, who is let in, whose words are late, and what it costs.

    python -m scripts.simulate_day --streams 100

Sessions come as a day goes, speak and are silent, and end. Each replica decodes what is spoken at the cost that was
measured, all at once what is late, and lets in what `streaming/sessions/admission.py` lets in: the real one. Replicas
fail, and their sessions go on elsewhere with half a minute of audio again; others are started when audio waits or
somebody is refused. Options are measured figures; the table says what follows from them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from scripts.day.parameters import Day
from scripts.day.simulation import HOUR_S, Outcome, Simulation
from simul_whisper import option_of


@dataclass(frozen=True)
class Way:
    """A way to run the service. share: of the replicas that bear the busiest hour, those that are there."""

    name: str
    admits: bool
    scales: bool
    fails: bool
    share: float = 1.0


WAYS = (
    Way("half, all let in", admits=False, scales=False, fails=False, share=0.5),
    Way("half, admission", admits=True, scales=False, fails=False, share=0.5),
    Way("enough, admission", admits=True, scales=False, fails=False),
    Way("enough, and they fail", admits=True, scales=False, fails=True),
    Way("scaled, all let in", admits=False, scales=True, fails=False),
    Way("scaled, admission", admits=True, scales=True, fails=False),
    Way("scaled, and they fail", admits=True, scales=True, fails=True),
)


STREAMS = [30, 100, 1_000]


def lived(day: Day, way: Way) -> Outcome:
    """Return what comes of the day."""
    replicas = day.replicas or max(1, round(way.share * day.enough))
    day = replace(day, replicas=replicas, fails_h=day.fails_h if way.fails else 0.0)
    return Simulation(day, admits=way.admits, scales=way.scales).run()


HEADS = ("", "came", "served", "refused", "waited", "late", "worst min.", "longest", "failures", "most", "hours")


def row(name: str, outcome: Outcome) -> Sequence[str]:
    late = outcome.late / outcome.words if outcome.words else 0.0
    counts = (outcome.n_came, outcome.n_served, outcome.n_refused, outcome.n_waited)
    shares = (f"{100 * late:.2f} %", f"{100 * outcome.worst:.1f} %", f"{outcome.longest_s:.1f} s")
    replicas = (f"{outcome.n_failures}", f"{outcome.most_replicas}", f"{outcome.replica_s / HOUR_S:.0f}")
    return (name, *map(str, counts), *shares, *replicas)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return them as Markdown."""
    rule = ["---", *["---:"] * (len(HEADS) - 1)]
    return "\n".join(f"| {' | '.join(each)} |" for each in [HEADS, rule, *rows])


def gains(text: str) -> tuple[tuple[float, float], ...]:
    """Read `1=1,8=0.8`: what a stream costs among so many, of what it costs alone."""
    try:
        return tuple(sorted((float(n), float(gain)) for n, gain in (pair.split("=") for pair in text.split(","))))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 1=1,8=0.8") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for each in fields(Day):
        kind = gains if each.name == "gain" else type(each.default)
        nargs = "*" if each.name == "streams" else None
        default = STREAMS if nargs else each.default
        shown = {"streams": "30 100 1000", "gain": "1=1"}.get(each.name, default)
        about = f"{option_of(each).help} (default: {shown})"
        flag = f"--{each.name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, nargs=nargs, default=default, metavar="N", help=about)
    options = vars(parser.parse_args(arguments))
    for streams in options.pop("streams"):
        day = Day(streams=streams, **options)
        print(f"\n{streams} streams at the busiest hour; a replica bears {day.borne}, {day.enough} bear them all\n")
        print(table([row(way.name, lived(day, way)) for way in WAYS]), flush=True)


if __name__ == "__main__":
    main()
