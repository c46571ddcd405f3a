"""The page's client, run in the browser without a server: what it says to a socket, and what it tells the page."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import Draft, Event, Reason, SpeechEnded, Translation, TranslationDraft, TranslationSkipped, Words
from streaming.protocols.dialect import End, Targets
from streaming.protocols.native import Ack, Numbered, Resume, parse_client, server_text
from streaming.replay.deduplication import Deduplicator
from streaming.sessions.request import SessionRequest

RATE_BYTES = 32_000

# A client over sockets that say what the test wants; it notes what it is told and what it sends.
CLIENT = """
async () => {
  const { Client } = await import("/client.js");
  const made = { sockets: [], events: [], states: [] };
  made.client = new Client({
    url: "ws://nowhere",
    settings: { rate: 16000, language: "en", task: "transcribe" },
    onEvent: (event) => made.events.push(event),
    onState: (state, error) => made.states.push(error ? `${state} ${error.code}` : state),
    openSocket: () => {
      const socket = { bufferedAmount: 0, sent: [], closed: null };
      socket.send = (data) => socket.sent.push(typeof data === "string" ? data : [data[0], data.length]);
      socket.close = (code) => (socket.closed = code);
      made.sockets.push(socket);
      return socket;
    },
  });
  globalThis.made = made;
}
"""


class Talk:
    """A client in the page, and the server's side of its latest socket."""

    def __init__(self, page: Any) -> None:
        self._page = page
        page.evaluate(CLIENT)

    def open(self) -> None:
        self._page.evaluate("made.sockets.at(-1).onopen()")

    def say(self, **message: Any) -> None:
        self._page.evaluate("(message) => made.sockets.at(-1).onmessage({ data: JSON.stringify(message) })", message)

    def ready(self, received_bytes: int = 0, session: str = "one", has_end: bool = False) -> None:
        self.open()
        self.say(type="ready", session=session, received_bytes=received_bytes, has_end=has_end, resume_s=30)

    def word(self, seq: int, text: str, start_s: float) -> None:
        word = {"text": text, "start_s": start_s, "end_s": start_s + 0.5, "probability": 1}
        self.say(type="words", seq=seq, text=text, words=[word], heard_s=start_s + 1)

    def cut(self) -> None:
        """Lose the connection, and wait for the next attempt."""
        n = self._page.evaluate("made.sockets.length")
        self._page.evaluate("made.sockets.at(-1).onclose()")
        self.wait_for_socket(n + 1)

    def wait_for_socket(self, n: int) -> None:
        self._page.wait_for_function(f"made.sockets.length === {n}")

    def write_seconds(self, number: int, first: int = 0) -> None:
        """Write seconds of audio, each made of its own number."""
        script = (
            "([n, from]) => { for (let i = from; i < from + n; i++) made.client.write(new Uint8Array(32000).fill(i)) }"
        )
        self._page.evaluate(script, [number, first])

    def choose(self, *targets: str) -> None:
        self._page.evaluate("(targets) => made.client.chooseTargets(targets)", targets)

    def do(self, what: str) -> None:
        self._page.evaluate(f"made.client.{what}()")

    @property
    def sent(self) -> list[Any]:
        messages = self._page.evaluate("made.sockets.at(-1).sent")
        return [parse_client(each) if isinstance(each, str) else tuple(each) for each in messages]

    @property
    def words(self) -> list[tuple[str, float]]:
        events = self._page.evaluate("made.events")
        return [(word["text"], word["start_s"]) for event in events for word in event.get("words", [])]

    @property
    def state(self) -> str:
        state: str = self._page.evaluate("made.states.at(-1)")
        return state


@pytest.fixture
def talk(page: Any) -> Iterator[Talk]:
    started = Talk(page)
    yield started
    started.do("giveUp")


def test_it_says_hello_and_sends_what_was_recorded_meanwhile(talk: Talk) -> None:
    talk.write_seconds(2)
    talk.ready()
    talk.do("end")
    hello, *rest = talk.sent
    assert isinstance(hello, SessionRequest)
    assert hello.engine == {"language": "en", "task": "transcribe"}
    assert rest == [(0, RATE_BYTES), (1, RATE_BYTES), End()]
    talk.say(type="ended", seq=1, audio_s=2)
    assert talk.state == "over"


def test_a_lost_connection_is_resumed_and_events_are_told_once(talk: Talk) -> None:
    talk.ready()
    talk.write_seconds(3)
    talk.say(type="received", received_bytes=RATE_BYTES)
    talk.word(1, " one", 0)
    talk.cut()
    talk.write_seconds(1, first=3)
    talk.ready(received_bytes=2 * RATE_BYTES)
    talk.word(1, " one", 0)
    talk.word(2, " two", 1)
    assert talk.sent == [Resume("one", 3 * RATE_BYTES, 1), (2, RATE_BYTES), (3, RATE_BYTES)]
    assert talk.words == [(" one", 0), (" two", 1)]


def test_the_end_is_not_sent_twice(talk: Talk) -> None:
    talk.ready()
    talk.write_seconds(1)
    talk.do("end")
    talk.cut()
    talk.ready(received_bytes=RATE_BYTES, has_end=True)
    assert talk.sent == [Resume("one", RATE_BYTES, 0)]


def test_a_missing_event_is_asked_for_again(talk: Talk) -> None:
    talk.ready()
    talk.word(1, " one", 0)
    talk.word(3, " three", 2)
    talk.wait_for_socket(2)
    talk.ready()
    assert talk.sent == [Resume("one", 0, 1)]
    assert talk.words == [(" one", 0)]


def test_events_are_acknowledged(talk: Talk) -> None:
    talk.ready()
    for seq in range(1, 51):
        talk.word(seq, " word", seq)
    assert talk.sent[-1] == Ack(50)


def test_when_the_session_is_lost_a_new_one_hears_what_was_kept(talk: Talk) -> None:
    talk.ready()
    talk.write_seconds(30)
    talk.word(1, " old", 20)
    talk.say(type="received", received_bytes=30 * RATE_BYTES)
    talk.cut()
    talk.open()
    talk.say(type="error", code=Reason.UNKNOWN_SESSION.value, message="")
    talk.ready(session="two")
    hello, first, *_ = talk.sent
    assert isinstance(hello, SessionRequest)
    kept_from_s = first[0]
    assert 0 < kept_from_s <= 20
    # What it hears again it may hear differently; what is new stands where it was spoken.
    talk.word(1, " olt", 20 - kept_from_s)
    talk.say(type="draft", seq=2, text=" new")
    talk.word(3, " new", 22 - kept_from_s)
    assert talk.words == [(" old", 20), (" new", 22)]


def test_targets_are_asked_for_at_first_and_later_and_again_when_it_comes_back(talk: Talk) -> None:
    talk.choose("de")
    talk.ready()
    assert talk.sent[0].targets == ("de",)
    talk.choose("de", "es")
    assert talk.sent[-1] == Targets(("de", "es"))
    talk.cut()
    talk.ready()
    assert talk.sent == [Resume("one", 0, 0), Targets(("de", "es"))]
    talk.cut()
    talk.open()
    talk.say(type="error", code=Reason.UNKNOWN_SESSION.value, message="")
    talk.ready(session="two")
    assert talk.sent[0].targets == ("de", "es")


def made_event(chance: random.Random) -> Event:
    """What a session may say, somewhere in its first seconds."""
    starts = sorted(chance.uniform(0, 6) for _ in range(chance.randint(1, 4)))
    words = tuple(Word(chance.choice([" One", " one,", " two", "."]), each, each + 0.3, 1.0) for each in starts)
    target = chance.choice(["de", "es"])
    committed: list[Event] = [Words(words, 7.0), Translation(target, words, starts[0], 7.0)]
    drafts: list[Event] = [Draft(words), TranslationDraft(target, words)]
    others: list[Event] = [TranslationSkipped(target, starts[0], starts[-1], "slow"), SpeechEnded(starts[-1])]
    return chance.choice([*committed * 4, *drafts, *others])


@pytest.mark.parametrize("seed", range(20))
def test_it_passes_over_what_other_clients_pass_over(page: Any, seed: int) -> None:
    chance, memory, acts, expected = random.Random(seed), Deduplicator(), list[Any](), list[Any]()
    for _ in range(20):
        if chance.random() < 0.2:
            acts.append(chance.choice([0.0, 1.0]))
            memory.start_anew(acts[-1])
            continue
        if chance.random() < 0.2:
            acts.append(chance.choice([["de"], ["es"], ["es", "de"], []]))
            memory.choose(acts[-1])
            continue
        event = made_event(chance)
        kind = json.loads(server_text(Numbered(1, event)))["type"]
        acts.append({"type": kind, **asdict(event)})
        told = memory.told(event)
        texts = [word.text for word in getattr(told, "words", ())]
        expected.append([told is not None, texts, memory.needed_from_s(20.0), memory.heard_s])
    script = """async (acts) => {
      const { Deduplicator } = await import("/deduplication.js");
      const memory = new Deduplicator();
      const tell = (event) => {
        const told = memory.told(event);
        return [told !== null, (told?.words ?? []).map((word) => word.text), memory.neededFrom_s(20), memory.heard_s];
      };
      const act = (each) => {
        if (typeof each === "number") memory.startAnew(each);
        else if (Array.isArray(each)) memory.choose(each);
        else return tell(each);
      };
      return acts.map(act).filter((each) => each);
    }"""
    assert page.evaluate(script, acts) == expected


def test_every_code_has_its_sentence(page: Any) -> None:
    script = """async () => {
      const { RECOVERY, after } = await import("/recovery.js");
      const { problem, lostBecause } = await import("/sentences.js");
      const codes = [...Object.keys(RECOVERY.codes), "of_the_future"];
      return codes.map((code) => (after(code) === "stop" ? problem({ code }).title : lostBecause(code)));
    }"""
    assert all(page.evaluate(script))
