"""The load run, short: its figures add up, and nonsense is nonsense."""

import asyncio
import gc
import random

import pytest

from simul_whisper import ConfigError
from streaming.audio.ring import RingBuffer
from streaming.evaluation.load import _malformed, fuzz, listen, listen_in_a_row, listen_together, upkeep
from streaming.events import Reason
from tests.streaming.serving import serving
from tests.tones import random_words, speech_of

SPEECH = speech_of(random_words(4, 1))


def test_what_a_server_bears_is_measured() -> None:
    with serving() as served:
        heard = asyncio.run(listen(served.url, SPEECH.samples, realtime=False))
        assert heard.text == SPEECH.text
        assert len(heard.delays_s) == len(SPEECH.words)
        share = asyncio.run(listen_together(served.url, SPEECH.samples, 3, SPEECH.text))
        assert (share.n_clients, share.n_texts_equal, share.n_words) == (3, 3, 3 * len(SPEECH.words))
        assert 0 <= share.in_time <= 1
        assert share.median_s <= share.p95_s
        assert share.final_median_s <= share.final_worst_s
        assert asyncio.run(listen_in_a_row(served.url, SPEECH.samples, 3, SPEECH.text)) == 3
        served.wait_for(lambda: upkeep(served.url).connections == 0)


def test_nonsense_beside_a_good_session_is_refused_by_name_and_leaves_nothing() -> None:
    async def both(url: str) -> tuple[str, dict[str, int]]:
        good = asyncio.create_task(listen(url, SPEECH.samples))
        answers = await fuzz(url, 500, seed=1)
        return (await good).text, answers

    with serving() as served:
        text, answers = asyncio.run(both(served.url))
        served.wait_for(lambda: not served.registry.n_connections)
        assert served.count("sessions_open") == 0
    assert text == SPEECH.text
    assert set(answers) <= {"ended", *(code.value for code in Reason)} - {"internal"}
    assert sum(answers.values()) > 100


def test_sessions_broken_off_leave_their_buffers_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        with serving() as served:
            asyncio.run(fuzz(served.url, 200, seed=2))
            served.wait_for(lambda: not served.registry.n_connections and not served.count("sessions_open"))
            served.wait_for(lambda: RingBuffer not in map(type, gc.get_objects()))
    finally:
        gc.enable()


def test_nonsense_depends_on_its_seed_alone() -> None:
    one, two = random.Random(3), random.Random(3)
    assert [_malformed(one) for _ in range(50)] == [_malformed(two) for _ in range(50)]


def test_a_server_that_tells_no_counts_is_told() -> None:
    with pytest.raises(ConfigError, match="metrics"):
        upkeep("ws://127.0.0.1:1")
