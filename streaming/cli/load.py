"""`simul-whisper load`: what a running server bears, as a table."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from simul_whisper import SAMPLE_RATE, ConfigError
from streaming.audio.files import read_audio

if TYPE_CHECKING:
    from streaming.evaluation.bearing import Trial
    from streaming.evaluation.load import Share, Upkeep

_BAD = 1
_TRIAL_S = 40.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure how many listeners a running server can take. Start it with --connections-per-minute 100000: "
        "otherwise it refuses most of the malformed messages unread."
    )
    parser.add_argument("url", metavar="URL", help="such as ws://127.0.0.1:8000")
    parser.add_argument("file", metavar="FILE", help="speech that every client streams")
    parser.add_argument(
        "--clients",
        type=int,
        nargs="*",
        default=[1, 8],
        metavar="N",
        help="clients at once, one measurement for each number (default: 1 8)",
    )
    parser.add_argument(
        "--drafts",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="clients ask for drafts, too, which takes more computation (default: they do)",
    )
    _add_find(parser)
    parser.add_argument("--sessions", type=int, default=200, metavar="N", help="short sessions in a row (default: 200)")
    parser.add_argument(
        "--nonsense", type=int, default=10_000, metavar="N", help="malformed messages to send (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the malformed messages")
    parser.add_argument("--token", default="", help="the server's token")
    parser.set_defaults(run=run)


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--find",
        action="store_true",
        help="instead of all else, find how many clients at once are served with 95 %% of the words within 2.5 s; "
        "start the server with --sessions-per-address 10000 --connections-per-address 10000, too",
    )
    parser.add_argument(
        "--trial-s",
        type=float,
        default=_TRIAL_S,
        metavar="SECONDS",
        help=f"how long the clients of each trial of --find speak (default: {_TRIAL_S:g})",
    )


def run(options: argparse.Namespace) -> int:
    """The exit status is 1 when a text differed or something was left behind; with --find, when nobody is borne."""
    return asyncio.run(_find(options) if options.find else _run(options))


async def _find(options: argparse.Namespace) -> int:
    """Try numbers until the one that is borne is known, and say which that is."""
    # Here, because the other commands do without the live extra.
    from streaming.evaluation.bearing import SETTLED_S, Search, tried

    if options.trial_s <= SETTLED_S:
        raise ConfigError(
            f"got --trial-s {options.trial_s:g}, expected more than {SETTLED_S:g}: words count from there"
        )
    samples, search = read_audio(options.file), Search()
    _row("", "admitted", "words", "in 2.5 s", "median", "95 %")
    while (n := search.next()) is not None:
        trial = await tried(options.url, samples, n, options.trial_s, options.token, drafts=options.drafts)
        in_time, delays = f"{100 * trial.in_time:.1f} %", (f"{each:.2f} s" for each in (trial.median_s, trial.p95_s))
        _row(f"{n} at once", f"{trial.n_admitted}", f"{trial.n_words}", in_time, *delays)
        if trial.refusal and trial.is_in_time:
            return _said_refused(trial)
        search.note(n, is_borne=trial.is_borne)
    borne = f"{search.n_borne} listeners at once, with 95 % of the words within 2.5 s"
    print(f"the server bears {borne}" if search.n_borne else "the server does not bear one listener in time")
    return 0 if search.n_borne else _BAD


def _said_refused(trial: "Trial") -> int:
    """Whoever was let in was served in time, so that there is nothing more to try."""
    print(
        f"the server lets in {trial.n_admitted} at once, with {100 * trial.in_time:.1f} % of the words within 2.5 s, "
        f"and refuses more: {trial.refusal}"
    )
    return 0


async def _run(options: argparse.Namespace) -> int:
    # Here, because the other commands do without the live extra.
    from streaming.evaluation.load import fuzz, listen, listen_in_a_row, listen_together, upkeep

    url, token, samples = options.url, options.token, read_audio(options.file)
    expected = (await listen(url, samples, token, realtime=False)).text
    short = samples[: 2 * SAMPLE_RATE]
    expected_short = (await listen(url, short, token, realtime=False)).text
    before, is_good = upkeep(url, token), True
    _row("", "words", "in 2.5 s", "median", "95 %", "final", "worst", "equal", "MB")
    for n in options.clients:
        share = await listen_together(url, samples, n, expected, token, drafts=options.drafts)
        _row(f"{n} at once", *_cells(share), f"{upkeep(url, token).memory_mb:.0f}")
        is_good &= share.n_texts_equal == n
    if options.sessions:
        n_equal = await listen_in_a_row(url, short, options.sessions, expected_short, token)
        _row(f"{options.sessions} in a row", *[""] * 6, f"{n_equal}", f"{upkeep(url, token).memory_mb:.0f}")
        is_good &= n_equal == options.sessions
    if options.nonsense:
        neighbour = asyncio.create_task(listen_together(url, samples, 1, expected, token, drafts=options.drafts))
        answers = await fuzz(url, options.nonsense, options.seed, token)
        share = await neighbour
        _row(f"{options.nonsense} bad", *_cells(share), f"{upkeep(url, token).memory_mb:.0f}")
        is_good &= share.n_texts_equal == 1 and not answers["internal"]
        print("answers: " + ", ".join(f"{code} {n}" for code, n in answers.most_common()))
    return 0 if await _is_as_before(url, token, before) and is_good else _BAD


def _row(name: str, *cells: str) -> None:
    print(f"{name:14}" + "".join(f"{cell:>10}" for cell in cells))
    sys.stdout.flush()


def _cells(share: "Share") -> list[str]:
    times = (share.median_s, share.p95_s, share.final_median_s, share.final_worst_s)
    equal = f"{share.n_texts_equal}/{share.n_clients}"
    return [f"{share.n_words}", f"{100 * share.in_time:.1f} %", *(f"{each:.2f} s" for each in times), equal]


async def _is_as_before(url: str, token: str, before: "Upkeep") -> bool:
    """Show what the server holds before and after, and tell whether nothing was left behind."""
    from streaming.evaluation.load import upkeep

    after = upkeep(url, token)
    for _ in range(50):
        # The last connections may not be closed to their end.
        if (after.sessions, after.connections) == (0, 0) and after.descriptors <= before.descriptors:
            break
        await asyncio.sleep(0.2)
        after = upkeep(url, token)
    for name, held in (("before", before), ("after", after)):
        print(f"{name:14}" + ", ".join(f"{each.replace('_', ' ')} {value:g}" for each, value in vars(held).items()))
    return after.threads <= before.threads and after.descriptors <= before.descriptors and not after.sessions
