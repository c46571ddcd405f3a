"""pipecat hears by its Deepgram service: what its pipeline gets of a turn, and when it takes it for complete."""

import asyncio
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from streaming.server.access import Access
from streaming.server.tokens import Tokens
from tests.streaming.serving import PATIENCE_S, Served, s16, serving
from tests.tones import random_words, speech_of

# deepgram-sdk asks for a name that websockets has given up, and is warned when it does.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("pipecat.services.deepgram.stt", reason="pipecat is not installed, or not with Deepgram")
    import_module("deepgram.listen.v1.client")

from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.tests.utils import QueuedFrameProcessor
from pipecat.workers.runner import WorkerRunner

SPEECHES = [speech_of(random_words(6, seed)) for seed in (1, 2)]
TOKEN = "the-token-of-a-pipeline"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(access=Access(Tokens({"a pipeline": TOKEN}))) as served:
        yield served


async def _turns(served: Served) -> list[str]:
    """Speak each speech when the one before was taken for complete."""
    service = DeepgramSTTService(api_key=TOKEN, base_url=f"ws://127.0.0.1:{served.port}", sample_rate=16_000)
    frames, turns = asyncio.Queue[Any](), list[str]()
    listener = QueuedFrameProcessor(queue=frames, queue_direction=FrameDirection.DOWNSTREAM)
    worker = PipelineWorker(Pipeline([service, listener]), params=PipelineParams(audio_in_sample_rate=16_000))
    is_started = asyncio.Event()

    async def note_start(*_: object) -> None:
        is_started.set()

    async def turn() -> str:
        said = list[str]()
        while True:
            frame = await frames.get()
            if isinstance(frame, TranscriptionFrame):
                said.append(frame.text)
                if frame.finalized:
                    return " ".join(said)

    worker.add_event_handler("on_pipeline_started", note_start)

    async def speak() -> None:
        await is_started.wait()
        for speech in SPEECHES:
            said = [VADUserStartedSpeakingFrame(), InputAudioRawFrame(s16(speech.samples), 16_000, 1)]
            for frame in [*said, VADUserStoppedSpeakingFrame()]:
                await worker.queue_frame(frame)
            turns.append(await turn())
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.wait_for(asyncio.gather(runner.run(), speak()), PATIENCE_S)
    return turns


def test_a_turn_is_complete_with_its_last_words(served: Served) -> None:
    assert asyncio.run(_turns(served)) == [speech.text.strip() for speech in SPEECHES]
