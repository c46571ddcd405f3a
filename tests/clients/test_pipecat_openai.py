"""pipecat hears by its service for OpenAI's Realtime transcription: its pipeline ends the turns, or the server does."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from simul_whisper import Model
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.streaming.serving import CONFIG, PATIENCE_S, Served, s16, serving
from tests.tones import random_words, speech_of

pytest.importorskip("pipecat.services.openai.stt", reason="pipecat is not installed with its service for OpenAI")

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.workers.runner import WorkerRunner

SPEECHES = [speech_of(random_words(6, seed)) for seed in (1, 2)]


class _Listener(FrameProcessor):  # type: ignore[misc]
    """Keeps what was transcribed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: asyncio.Queue[TranscriptionFrame] = asyncio.Queue()
        self.interim = list[str]()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterimTranscriptionFrame):
            self.interim.append(frame.text)
        if isinstance(frame, TranscriptionFrame):
            self.heard.put_nowait(frame)
        await self.push_frame(frame, direction)


class _Service(OpenAIRealtimeSTTService):  # type: ignore[misc]
    """Tells when it is set: what it sends before would be heard with other settings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_set = asyncio.Event()

    async def _handle_session_updated(self, evt: dict[str, Any]) -> None:
        await super()._handle_session_updated(evt)
        self.is_set.set()


async def _turns(served: Served, turns: Sequence[Sequence[Frame]], **options: Any) -> tuple[list[str], list[str]]:
    """Return what was transcribed of each turn, and while they were spoken."""
    service = _Service(api_key="any", base_url=f"ws://127.0.0.1:{served.port}/v1/realtime", **options)
    listener, heard = _Listener(), list[str]()
    worker = PipelineWorker(Pipeline([service, listener]), params=PipelineParams(audio_in_sample_rate=16_000))

    async def speak() -> None:
        await service.is_set.wait()
        for frames in turns:
            for frame in frames:
                await worker.queue_frame(frame)
            heard.append((await listener.heard.get()).text)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.wait_for(asyncio.gather(runner.run(), speak()), PATIENCE_S)
    return heard, listener.interim


def audio(data: bytes) -> InputAudioRawFrame:
    return InputAudioRawFrame(data, 16_000, 1)


def test_a_turn_that_the_pipeline_ends_is_transcribed() -> None:
    turns = [
        [VADUserStartedSpeakingFrame(), audio(s16(speech.samples)), VADUserStoppedSpeakingFrame()]
        for speech in SPEECHES
    ]
    with serving() as served:
        heard, interim = asyncio.run(_turns(served, turns))
    assert heard == [speech.text.strip() for speech in SPEECHES]
    assert "".join(interim) == "".join(heard)


def test_a_turn_that_the_server_ends_is_transcribed(tiny: Model, captions: Recording) -> None:
    turns = [[audio(s16(captions.samples) + bytes(64_000))]]
    settings = OpenAIRealtimeSTTService.Settings(model="gpt-transcribe", noise_reduction="near_field")
    with serving(model=tiny, config=CONFIG, voice=VoiceConfig()) as served:
        heard, interim = asyncio.run(_turns(served, turns, settings=settings, turn_detection={"type": "server_vad"}))
    assert heard[0]
    assert "".join(interim).startswith(heard[0])
