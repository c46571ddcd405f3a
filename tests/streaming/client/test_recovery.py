"""Both clients, of programs and of the page, do after every error what the one table says."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE
from streaming.client import RECOVERY, After, Client, Disconnected, LostError, Recovery
from streaming.events import AudioDropped, Ended, Failed, Reason, Words
from streaming.protocols.native import Ack, Resume
from streaming.protocols.reading import ProtocolError
from streaming.sessions.request import SessionRequest
from tests.streaming.client.scripted_server import MOMENTS, ScriptedServer, as_json, scripted

QUICK = replace(RECOVERY, delays_s=(0.01,))
CODES = [reason.value for reason in Reason]

# How a stream ended, and what audio was dropped.
Outcome = tuple[str, list[tuple[float, float]]]
# Streams to these addresses, each with so many seconds of audio, which are sent when the first word has come.
Streams = Callable[[Sequence[str], Recovery, int], list[Outcome]]


async def _stream(url: str, recovery: Recovery, seconds: int) -> Outcome:
    dropped, outcome = list[tuple[float, float]](), ""
    async with Client(url, recovery=recovery) as client:
        if not seconds:
            client.end()
        try:
            async for event in client:
                if isinstance(event, Words) and seconds:
                    for _ in range(seconds):
                        await client.send(np.zeros(SAMPLE_RATE, np.float32), drop_oldest=True)
                    client.end()
                if isinstance(event, AudioDropped):
                    dropped.append((event.from_s, event.to_s))
                outcome = (
                    event.reason.value
                    if isinstance(event, Failed)
                    else "ended"
                    if isinstance(event, Ended)
                    else outcome
                )
        except (LostError, ProtocolError) as error:
            outcome = error.code if isinstance(error, LostError) else error.reason.value
    return outcome, dropped


def program(urls: Sequence[str], recovery: Recovery, seconds: int) -> list[Outcome]:
    async def all_of_them() -> list[Outcome]:
        return await asyncio.gather(*(_stream(url, recovery, seconds) for url in urls))

    # In a thread of its own: a browser that is driven here keeps a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(all_of_them())).result()


PAGE = """
async ([urls, recovery, seconds]) => {
  const { Client } = await import("/client.js");
  recovery.patience_s ??= Infinity;
  const stream = (url) =>
    new Promise((resolve) => {
      const dropped = [];
      const hear = (event) => {
        if (event.type === "dropped") dropped.push([event.from_s, event.to_s]);
        if (event.type !== "words" || !seconds) return;
        for (let n = 0; n < seconds; n++) client.write(new Uint8Array(32000));
        client.end();
      };
      const client = new Client({
        url,
        settings: { rate: 16000, language: "en", task: "transcribe" },
        recovery,
        onEvent: hear,
        onState: (state, error) => state === "over" && resolve([error?.code ?? "ended", dropped]),
      });
      if (!seconds) client.end();
    });
  const outcomes = [];
  // Chromium lets more than that wait for seconds.
  while (urls.length) outcomes.push(...(await Promise.all(urls.splice(0, 8).map(stream))));
  return outcomes;
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Streams]:
    from tests.streaming.web.browser import open_web

    with open_web() as opened:

        def streams(urls: Sequence[str], recovery: Recovery, seconds: int) -> list[Outcome]:
            told = opened.evaluate(PAGE, [list(urls), as_json(asdict(recovery)), seconds])
            return [(outcome, [tuple(each) for each in dropped]) for outcome, dropped in told]

        yield streams


@pytest.fixture(params=["program", "page"])
def streams(request: pytest.FixtureRequest) -> Streams:
    return program if request.param == "program" else request.getfixturevalue("page")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with scripted() as served:
        yield served


@pytest.fixture(autouse=True)
def _nothing_said_before(server: ScriptedServer) -> None:
    server.said.clear()
    server.heard.clear()


def outcomes(streams: Streams, server: ScriptedServer, paths: Sequence[str], recovery: Recovery) -> Any:
    """How each stream ended, and how it greeted after the first time: a new hello, or a resume."""
    told = streams([server.url + path for path in paths], recovery, 0)
    ends = [outcome for outcome, _ in told]
    kinds = [
        ["resume" if isinstance(each, Resume) else "hello" for each in server.greetings(path)[1:]] for path in paths
    ]
    return dict(zip([path.split("/")[-1] for path in paths], zip(ends, kinds, strict=True), strict=True))


def expected(moment: str, code: str) -> tuple[str, list[str]]:
    before = ["resume"] if moment == "return" else []
    match RECOVERY.after(code):
        case After.STOP:
            return code, before
        case After.RENEW:
            return "ended", [*before, "hello"]
        case After.AGAIN:
            return "ended", [*before, "hello" if moment == "greeting" else "resume"]


def test_every_code_has_its_row() -> None:
    own = {"unreachable", "silent", "gap", "full"}
    assert {*CODES, *own} == set(RECOVERY.codes)


@pytest.mark.parametrize("moment", MOMENTS)
def test_each_row_is_followed_whenever_the_error_comes(streams: Streams, server: ScriptedServer, moment: str) -> None:
    told = outcomes(streams, server, [f"/{moment}/{code}" for code in CODES], QUICK)
    assert told == {code: expected(moment, code) for code in CODES}


def test_what_a_client_notices_itself_has_a_row_too(streams: Streams, server: ScriptedServer) -> None:
    told = outcomes(streams, server, ["/own/unreachable", "/own/gap", "/own/garbage"], QUICK)
    assert told == {
        "unreachable": ("ended", ["resume"]),
        "gap": ("ended", ["resume"]),
        "garbage": ("bad_json", []),
    }
    (_, back) = server.greetings("/own/gap")
    assert isinstance(back, Resume)
    assert back.seen == 1


def test_who_is_told_when_to_come_back_comes_then(streams: Streams, server: ScriptedServer) -> None:
    """By the table alone, nobody would come back within the test's time."""
    told = outcomes(streams, server, ["/own/wait"], replace(RECOVERY, delays_s=(3_600.0,)))
    assert told == {"wait": ("ended", ["hello"])}


def test_not_all_come_back_at_once_and_nobody_waits_for_ever() -> None:
    waits_s = [RECOVERY.wait_s(40.0) for _ in range(100)]
    assert 40 <= min(waits_s) < max(waits_s) <= 50
    assert RECOVERY.wait_s(1e9) <= RECOVERY.most_wait_s * (1 + RECOVERY.spread)


def test_a_program_can_tell_when_it_is_tried_again(server: ScriptedServer) -> None:
    async def notices() -> list[Disconnected]:
        async with Client(server.url + "/own/wait") as client:
            client.end()
            return [event async for event in client if isinstance(event, Disconnected)]

    # In a thread of its own, as above.
    with ThreadPoolExecutor(1) as thread:
        (notice,) = thread.submit(lambda: asyncio.run(notices())).result()
    assert notice.in_s == pytest.approx(0.01, rel=0.3)


def test_a_server_that_owes_an_answer_and_is_silent_is_left(streams: Streams, server: ScriptedServer) -> None:
    told = outcomes(streams, server, ["/own/silent"], replace(QUICK, silent_s=0.2))
    assert told == {"silent": ("ended", ["resume"])}
    assert isinstance(server.greetings("/own/silent")[1], Resume)


def test_events_are_acknowledged_by_the_number_of_the_table(streams: Streams, server: ScriptedServer) -> None:
    told = outcomes(streams, server, ["/own/events"], replace(QUICK, events_per_ack=3))
    assert told == {"events": ("ended", [])}
    assert [each for each in server.said["/own/events"] if isinstance(each, Ack)] == [Ack(3), Ack(6)]


@pytest.mark.parametrize(("path", "code"), [("/greeting/not_ready", "not_ready"), ("/own/unreachable", "unreachable")])
def test_patience_ends(streams: Streams, server: ScriptedServer, path: str, code: str) -> None:
    told = outcomes(streams, server, [path], replace(QUICK, patience_s=-1))
    assert list(told.values()) == [(code, [])]


def test_who_was_never_reached_is_not_tried_again(streams: Streams) -> None:
    assert streams(["ws://127.0.0.1:9/"], QUICK, 0) == [("unreachable", [])]


def test_when_too_much_is_kept_the_oldest_is_dropped_and_told(streams: Streams, server: ScriptedServer) -> None:
    little = replace(QUICK, most_kept_s=6, kept_when_full_s=4)
    ((outcome, dropped),) = streams([server.url + "/own/full"], little, 7)
    # The word that was told ends at 1.5 s.
    assert (outcome, dropped) == ("ended", [(1.5, 3)])
    assert [type(each) for each in server.greetings("/own/full")] == [SessionRequest, SessionRequest]
