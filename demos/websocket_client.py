"""A file, at the pace of speech, or standard input (s16le, mono, 16 kHz) to a server; its words as they come.

python demos/websocket_client.py ws://127.0.0.1:8000 demos/recordings/captions.flac    # or - for standard input
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE
from streaming.audio.files import audio_blocks, chunked
from streaming.audio.pcm import PcmDecoder
from streaming.client import Client, Reconnected, paced
from streaming.events import Failed, SpeechEnded, Words
from streaming.settings import PcmFormat

PIECE_SAMPLES = SAMPLE_RATE // 10
Audio = AsyncIterator[NDArray[np.float32]]


async def recording(path: str) -> Audio:
    for samples in chunked(audio_blocks(path), PIECE_SAMPLES):
        yield samples


async def standard_input() -> Audio:
    decoder = PcmDecoder(PcmFormat())
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), 2 * PIECE_SAMPLES):
        yield decoder.feed(data)


async def speak(client: Client, audio: Audio) -> None:
    async for samples in audio:
        await client.send(samples)
    client.end()


async def caption(url: str, audio: Audio) -> None:
    """Print what the server tells, until it has heard all."""
    async with Client(url, drafts=False) as client:
        speaking = asyncio.create_task(speak(client, audio))
        async for event in client:
            if isinstance(event, Words):
                print(event.text, end="", flush=True)
            elif isinstance(event, SpeechEnded):
                print()
            elif isinstance(event, Reconnected):
                print(f"\n[connected again, {'' if event.is_resumed else 'anew, '}from {event.from_s:.1f} s]")
            elif isinstance(event, Failed):
                sys.exit(event.message)
        await speaking


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000"
    source = sys.argv[2] if len(sys.argv) > 2 else "demos/recordings/captions.flac"
    asyncio.run(caption(url, standard_input() if source == "-" else paced(recording(source))))


if __name__ == "__main__":
    main()
