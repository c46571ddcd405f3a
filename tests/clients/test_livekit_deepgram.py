"""livekit's agents hear by their Deepgram plugin: what they make of turns is what an agent gets."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streaming.protocols.deepgram import PATH
from streaming.server.access import Access
from streaming.server.tokens import Tokens
from tests.streaming.serving import PATIENCE_S, Served, s16, serving
from tests.tones import random_words, speech_of

pytest.importorskip("livekit.plugins.deepgram", reason="livekit-plugins-deepgram is not installed")

import aiohttp
from livekit import rtc
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins.deepgram import STT

SPEECHES = [speech_of(random_words(6, seed)) for seed in (1, 2)]
TOKEN = "the-token-of-an-agent"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(access=Access(Tokens({"an agent": TOKEN}))) as served:
        yield served


def events_of(served: Served, key: str = TOKEN, **options: Any) -> list[SpeechEvent]:
    """Speak twice, with a flush between, as an agent does when its own listening for voices says so."""

    async def hear() -> list[SpeechEvent]:
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{served.port}{PATH}"
            stt = STT(api_key=key, base_url=address, http_session=session, **options)
            async with stt.stream(conn_options=APIConnectOptions(max_retry=0)) as stream:
                for speech in SPEECHES:
                    data = s16(speech.samples)
                    stream.push_frame(rtc.AudioFrame(data, 16_000, 1, len(data) // 2))
                    stream.flush()
                stream.end_input()
                return [event async for event in stream]

    return asyncio.run(asyncio.wait_for(hear(), PATIENCE_S))


def test_an_agent_hears_each_turn_to_its_end(served: Served) -> None:
    events = [each for each in events_of(served) if each.type is not SpeechEventType.RECOGNITION_USAGE]
    turns, finals = list[str](), list[str]()
    for event in events:
        if event.type is SpeechEventType.FINAL_TRANSCRIPT:
            finals.append(event.alternatives[0].text)
        elif event.type is SpeechEventType.END_OF_SPEECH:
            turns.append(" ".join(finals))
            finals.clear()
    assert turns == [speech.text.strip() for speech in SPEECHES]
    assert not finals
    kinds = [each.type for each in events if each.type is not SpeechEventType.INTERIM_TRANSCRIPT]
    assert kinds.count(SpeechEventType.START_OF_SPEECH) == kinds.count(SpeechEventType.END_OF_SPEECH) == 2


def test_an_agent_with_a_wrong_key_is_told_so(served: Served) -> None:
    with pytest.raises(APIStatusError) as refused:
        events_of(served, "wrong")
    assert refused.value.status_code == 401
