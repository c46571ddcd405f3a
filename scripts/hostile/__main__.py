"""What hostile clients can do to a server and to whoever uses it beside them, one attack after another, as a table.

python -m scripts.hostile [--short] [--only NAMES] [--seconds 30] [--connections 10000]
python -m scripts.hostile --url ws://127.0.0.1:8000 [--admin-url http://127.0.0.1:8001]

A neighbour speaks in real time, alone at first and at the end, and once beside each attack; beside those by containers,
he sends one himself. The columns:

median, p95   from when a word was spoken to when it came, in seconds
later         by how much p95 is above that of the neighbour alone
words         of those that came alone; with ≠ they are other words
health, 99 %  the slowest answer of /health, and 99 of 100, in seconds; failed: answers other than 200
MB            of the server's processes, before; most: at the worst; after: at rest again
missed        what is not as it must be: delay (at most 0.7 s later), words (all, and the same), health (200 in less
              than 0.2 s), memory (at most 20 MB more), opened (nothing but what was sent), answers (to everybody who
              waits for one, and none is `internal`), gone (neither hung nor dead; by a signal, in time), log (no
              traceback, control character or line break of a client)

The exit status is 1 when anything was missed. Attackers come from another address than the neighbour where this machine
has more than one for itself, that is on Linux.
"""

import argparse
import asyncio
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.hostile.attacks import ATTACKS, BY_NAME, GROUPS
from scripts.hostile.run import SIGTERM, SIGTERM_TWICE, Plan, Run
from simul_whisper import ConfigError, SimulWhisperError

_RECORDINGS = Path(__file__).parents[2] / "demos" / "recordings"
_SIGNALS = (SIGTERM, SIGTERM_TWICE)
# What the next option says wins over it.
_SHORT = (
    "--only flusher,sdp,garbage,silent,bad-hello,sigterm-twice --seconds 2.8 --connections 300 --at-once 20 "
    "--hold-s 5 --settle-s 5 --drain-s 1 --no-again"
).split()
_MISSED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args([*_SHORT, *given] if "--short" in given else given)
    try:
        if options.list:
            _list()
            return 0
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            return 0 if asyncio.run(Run(_plan(options), Path(folder)).all()) else _MISSED
    except (SimulWhisperError, RuntimeError) as error:
        print(f"hostile: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whom = parser.add_argument_group("whom to attack")
    whom.add_argument("--url", default="", help="a server that runs; it is not stopped. Without: one is started")
    whom.add_argument("--admin-url", default="", metavar="URL", help="where its health and metrics are, if elsewhere")
    whom.add_argument("--token", default="", help="of the server, for the neighbour and for the attackers")
    whom.add_argument("--model", default="tiny.en", help="of a server that is started (default: tiny.en)")
    whom.add_argument("--flags", default="", help="further flags of a server that is started, in one argument")
    whom.add_argument("--drain-s", type=float, default=3.0, help="of a server that is started (default: 3)")
    how = parser.add_argument_group("how")
    how.add_argument("--list", action="store_true", help="tell what each attack does, and do nothing")
    how.add_argument("--short", action="store_true", help="a few attacks beside three seconds of speech, and a signal")
    how.add_argument("--only", default="", metavar="NAMES", help=f"attacks, {', '.join((*GROUPS, *_SIGNALS))}")
    how.add_argument("--recording", default=str(_RECORDINGS / "lighthouse.flac"), metavar="FILE", help="(lighthouse)")
    how.add_argument("--seconds", type=float, default=80.0, help="of the recording, for each row (default: 80)")
    how.add_argument("--connections", type=int, default=10_000, help="hostile ones, of all kinds (default: 10000)")
    how.add_argument("--at-once", type=int, default=300, help="of them (default: 300)")
    how.add_argument("--hold-s", type=float, default=15.0, help="attackers wait so long for an answer (default: 15)")
    how.add_argument("--sources", type=int, default=1, help="addresses that attackers come from (default: 1)")
    how.add_argument("--patience-s", type=float, default=45.0, help="for words after the recording (default: 45)")
    how.add_argument("--settle-s", type=float, default=40.0, help="for the server to be at rest again (default: 40)")
    how.add_argument("--no-again", dest="again", action="store_false", help="the neighbour is alone but once")
    how.add_argument("--longest-s", type=float, default=900.0, help="for an attack to be over (default: 900)")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Raises ConfigError."""
    chosen = {name: value for name, value in vars(options).items() if name not in ("list", "short", "only", "flags")}
    names = _names([name for name in options.only.split(",") if name])
    return Plan(names=names, flags=tuple(shlex.split(options.flags)), **chosen)


def _names(only: list[str]) -> tuple[str, ...]:
    """Return the names that were chosen, all where none were. Raises ConfigError."""
    known = {*BY_NAME, *GROUPS, *_SIGNALS}
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(f"got --only {unknown[0]}, expected some of {', '.join([*BY_NAME, *GROUPS, *_SIGNALS])}")
    attacks = [each.name for each in ATTACKS if not only or {each.name, each.group} & set(only)]
    return (*attacks, *(name for name in _SIGNALS if not only or name in only))


def _list() -> None:
    for attack in ATTACKS:
        print(f"{attack.group:14}{attack.name:18}{attack.what}")


if __name__ == "__main__":
    sys.exit(main())
