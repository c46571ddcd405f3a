"""WhisperLiveKit, through its engine and its audio processor, without voice activity detection.

Each chunk is given when the one before is done, and the time that its transcription took is what counts as computing;
polling for results is in the CPU seconds only. Its AlignAtt decodes in PyTorch and wants weights from there, so ours
are written as such a file; its encoder there, and all of its LocalAgreement, take the CTranslate2 directory.
"""

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from whisperlivekit import AudioProcessor, TranscriptionEngine

from scripts.peers.job import SAMPLE_RATE, Heard, Job, Piece, Recording
from scripts.peers.meter import Meter, metered

_POLL_S = 0.002
_PATIENCE_S = 300.0


def align_att(job: Job) -> "LiveKit":
    path = Path(tempfile.mkdtemp(dir=Path(job.output).parent)) / f"{Path(job.model).name}.pt"
    write_pytorch(Path(job.decoder), path)
    weights = {"decoder_model_path": str(path), "encoder_model_path": job.directory}
    return LiveKit(job, weights | {"backend_policy": "simulstreaming"}, _metered_decoder)


def local_agreement(job: Job) -> "LiveKit":
    """Its beam search of five cannot be changed."""
    settings = {"backend_policy": "localagreement", "model_path": job.directory}
    return LiveKit(job, settings, lambda asr: metered(asr.model))


def write_pytorch(decoder: Path, path: Path) -> None:
    """Write a job's decoder as a checkpoint of PyTorch's; WhisperLiveKit renames the tensors itself."""
    with np.load(decoder) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "dims"}
        torch.save({"dims": json.loads(str(arrays["dims"])), "model_state_dict": state}, path)


def _metered_decoder(asr: Any) -> Meter:
    """One call decodes one token, the prompt before the first one included."""
    meter, decoder = Meter(), asr.shared_model.decoder
    decoder.forward = meter.around(decoder.forward, lambda _: 1)
    return meter


class LiveKit:
    """The engine is made anew for each language, which its AlignAtt cannot change."""

    def __init__(self, job: Job, settings: Mapping[str, Any], metered: Callable[[Any], Meter]) -> None:
        logging.disable(logging.INFO)
        self._job, self._settings, self._metered = job, settings, metered
        self._language, self._meter = "", Meter()
        self._engine: Any = None

    def hear(self, recording: Recording) -> Heard:
        self._speak(recording.language or "auto")
        pieces = asyncio.run(self._pieces(np.load(recording.samples)))
        return Heard(tuple(pieces), self._meter.taken())

    def _speak(self, language: str) -> None:
        if language == self._language:
            return
        TranscriptionEngine.reset()
        self._engine = TranscriptionEngine(
            **self._settings,
            lan=language,
            model_size=Path(self._job.model).name,
            min_chunk_size=self._job.chunk_s,
            backend="faster-whisper",
            vac=False,
            vad=False,
            pcm_input=True,
            # None would download a recording.
            warmup_file="",
        )
        self._language, self._meter = language, self._metered(self._engine.asr)

    async def _pieces(self, samples: NDArray[np.float32]) -> list[Piece]:
        processor = AudioProcessor(transcription_engine=self._engine)
        reading = asyncio.create_task(_read_to_end(await processor.create_tasks()))
        progress, pieces = Progress(processor), list[Piece]()
        for start in range(0, len(samples), self._job.chunk_samples):
            chunk = samples[start : start + self._job.chunk_samples]
            end = start + len(chunk)
            await processor.process_audio(_as_pcm(chunk))
            if end < len(samples):
                await progress.reach(end / SAMPLE_RATE)
            else:
                await processor.process_audio(b"")
                await reading
            pieces.append(progress.since(end / SAMPLE_RATE))
        await processor.cleanup()
        return pieces


class Progress:
    """What a processor has done since the last look."""

    def __init__(self, processor: Any) -> None:
        self._processor, self._n_tokens, self._n_calls = processor, 0, 0

    async def reach(self, audio_s: float) -> None:
        """Wait until this much audio is transcribed. Raises TimeoutError: the processor passes over its own errors."""
        until = time.monotonic() + _PATIENCE_S
        while self._processor.state.end_transcription_processed < audio_s - 1 / SAMPLE_RATE:
            if time.monotonic() > until:
                raise TimeoutError(f"nothing came of {audio_s:g} s of audio for {_PATIENCE_S:g} s")
            await asyncio.sleep(_POLL_S)

    def since(self, audio_s: float) -> Piece:
        tokens, calls_s = self._processor.state.tokens, self._processor.metrics.transcription_durations
        text = "".join(token.text for token in tokens[self._n_tokens :])
        compute_s = sum(calls_s[self._n_calls :])
        self._n_tokens, self._n_calls = len(tokens), len(calls_s)
        return Piece(text, audio_s, compute_s)


async def _read_to_end(results: Any) -> None:
    async for _ in results:
        pass


def _as_pcm(samples: NDArray[np.float32]) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
