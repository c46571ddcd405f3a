"""What a reader is told of a session whose replicas die at any point: the same as if none had."""

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AlignAttConfig
from streaming.cluster.line import Clear, Report
from streaming.cluster.relayed import RelayedSession
from streaming.events import AudioDropped, Cleared, Draft, Event, Flushed, Recognised, SpeechEnded, SpeechStarted, Words
from tests.streaming.cluster.blocks import (
    GAP_SAMPLES,
    SILENCE_SAMPLES,
    BlockReplica,
    BlockSession,
    blocks,
)

CONFIG = AlignAttConfig()
CAPACITY = 5 * SAMPLE_RATE


def session_of(capacity: int = CAPACITY) -> RelayedSession:
    return RelayedSession("session", CONFIG, None, drafts=True, capacity_samples=capacity)


class Relay:
    """A session and the replicas that have it in turn; `told` is what a reader was told."""

    def __init__(self, chance: Random, lag: int = SAMPLE_RATE // 2) -> None:
        self.session, self.told = session_of(), list[Event]()
        self._chance, self._lag, self.n_lost = chance, lag, 0
        self._replica = self._new_replica()

    def _new_replica(self) -> BlockReplica:
        return BlockReplica(self._chance.choice([1_000, 20_000, 10**9]), self._chance.randrange(self._lag))

    def exchange(self, p_lost: float = 0.0) -> None:
        commands, fate = self.session.commands(), self._chance.random()
        is_done = fate > p_lost / 2
        reports = self._replica.exchange(commands) if is_done else {}
        if fate < p_lost:
            # It died before it had read the commands, or before it had answered.
            self.lose()
            return
        self.told += self.session.answered(reports.get(self.session.name)).events

    def lose(self) -> None:
        self.n_lost += 1
        self.told += self.session.lost()[0]
        self._replica = self._new_replica()

    def finish(self, p_lost: float = 0.0) -> None:
        self.session.end()
        for n in range(100_000):
            if any(isinstance(event, Recognised) for event in self.told):
                return
            # A replica that always dies soon would never come to an end.
            self.exchange(p_lost if n < 100 else 0.0)
        raise AssertionError("it has no end")


def essence(events: Sequence[Event]) -> list[tuple[object, ...]]:
    """What is committed, word for word, with times in samples."""
    told = list[tuple[object, ...]]()
    for event in events:
        if isinstance(event, Words):
            told += [(word.text, samples_of(word.start_s), event.utterance) for word in event.words]
        elif isinstance(event, SpeechStarted | SpeechEnded):
            told.append((type(event).__name__, samples_of(event.at_s), event.utterance))
        elif isinstance(event, Flushed | Cleared):
            told.append((type(event).__name__, samples_of(event.at_s)))
        elif isinstance(event, AudioDropped):
            told.append(("dropped", samples_of(event.from_s), samples_of(event.to_s)))
        elif isinstance(event, Recognised):
            told.append(("recognised", samples_of(event.audio_s)))
    return told


def samples_of(time_s: float) -> int:
    return round(time_s * SAMPLE_RATE)


def speech(chance: Random, n: int) -> tuple[list[int], list[int]]:
    words = [1 + (k * 7 + chance.randrange(3)) % 100 for k in range(n)]
    return words, [chance.choice([GAP_SAMPLES] * 8 + [SILENCE_SAMPLES]) for _ in words]


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.4]))
def test_each_thing_is_told_once_wherever_replicas_die(seed: int, p_lost: float) -> None:
    chance = Random(seed)
    words, pauses = speech(chance, chance.randrange(1, 60))
    samples, flushes = blocks(words, pauses), chance.choice([0.0, 0.05])
    relay, alone, expected = Relay(chance), BlockSession(), list[Event]()
    rest = samples
    while len(rest):
        n = relay.session.submit(rest[: chance.choice([500, 5_000, 40_000])], drop_oldest=False)
        expected += alone.take(rest[:n])
        rest = rest[n:]
        if n and chance.random() < flushes:
            relay.session.flush()
            expected += alone.flush()
        if chance.random() < 0.7:
            relay.exchange(p_lost)
    relay.finish(p_lost)
    assert essence(relay.told) == essence([*expected, *alone.end()])
    utterances = [event.utterance for event in relay.told if isinstance(event, Draft | Words)]
    assert utterances == sorted(utterances)


def test_a_clear_is_asked_for_again_where_only_the_one_before_was_told() -> None:
    session = session_of()
    for _ in range(2):
        session.submit(blocks([1], [0]), drop_oldest=False)
        session.clear()
        session.commands()
    told = session.answered(Report(session.name, (Cleared(0.5),), 16_000)).events
    session.lost()
    assert Clear(session.name) in session.commands()
    told += session.answered(Report(session.name, (Cleared(0.0),), 0)).events
    assert told == (Cleared(0.5), Cleared(1.0))
    assert not any(isinstance(each, Clear) for each in session.commands())
