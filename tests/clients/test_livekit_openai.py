"""livekit's agents hear by their OpenAI plugin, over Realtime transcription, where the server ends the turns."""

import asyncio

import pytest

from simul_whisper import Model
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.streaming.serving import CONFIG, PATIENCE_S, Served, s16, serving

pytest.importorskip("livekit.plugins.openai", reason="livekit-plugins-openai is not installed")

from livekit import rtc
from livekit.agents import APIConnectOptions, utils
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins.openai import STT


def events_of(served: Served, data: bytes) -> list[SpeechEvent]:
    """Return what an agent hears, up to the first turn's text."""

    async def hear() -> list[SpeechEvent]:
        async with utils.http_context.open():
            stt = STT(use_realtime=True, api_key="any", base_url=f"http://127.0.0.1:{served.port}/v1")
            events = list[SpeechEvent]()
            async with stt.stream(conn_options=APIConnectOptions(max_retry=0)) as stream:
                stream.push_frame(rtc.AudioFrame(data, 16_000, 1, len(data) // 2))
                stream.flush()
                async for event in stream:
                    events.append(event)
                    if event.type is SpeechEventType.FINAL_TRANSCRIPT:
                        break
            await stt.aclose()
            return events

    return asyncio.run(asyncio.wait_for(hear(), PATIENCE_S))


def test_an_agent_hears_a_turn_while_it_is_spoken_and_to_its_end(tiny: Model, captions: Recording) -> None:
    with serving(model=tiny, config=CONFIG, voice=VoiceConfig()) as served:
        events = events_of(served, s16(captions.samples) + bytes(64_000))
    kinds = [event.type for event in events]
    assert kinds[0] is SpeechEventType.START_OF_SPEECH
    assert kinds.index(SpeechEventType.INTERIM_TRANSCRIPT) < kinds.index(SpeechEventType.END_OF_SPEECH)
    texts = [event.alternatives[0].text for event in events if event.alternatives]
    assert texts[-1].startswith(texts[0])
    assert str(events[-1].alternatives[0].language) == "en"
