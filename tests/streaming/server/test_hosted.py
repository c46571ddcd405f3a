"""A session as a server keeps it: audio that was begun is taken once, whatever becomes of the connection it came by."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.events import Reason
from streaming.server.hosted import HostedSession
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.request import Refusal

PATIENCE_S = 60.0


class SlowDecoder:
    """Decodes a piece, a sample a byte, when it may."""

    may_decode: threading.Event
    began: threading.Event

    def feed(self, data: bytes) -> NDArray[np.float32]:
        self.began.set()
        assert self.may_decode.wait(PATIENCE_S)
        if data.startswith(b"!"):
            raise AudioFormatError("no audio")
        return np.zeros(len(data), np.float32)

    def end(self) -> NDArray[np.float32]:
        return np.zeros(0, np.float32)

    def close(self) -> None: ...


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> type[SlowDecoder]:
    SlowDecoder.may_decode, SlowDecoder.began = threading.Event(), threading.Event()
    monkeypatch.setattr("streaming.server.hosted.ContainerDecoder", SlowDecoder)
    return SlowDecoder


async def cut_off(session: HostedSession, piece: bytes, decoder: type[SlowDecoder]) -> None:
    """Feed a piece, and lose the connection while it is being decoded."""
    feeding = asyncio.create_task(session.feed(piece))
    await asyncio.to_thread(decoder.began.wait, PATIENCE_S)
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    was_busy = session.is_busy
    decoder.may_decode.set()
    await session.at_rest()
    assert was_busy


def test_a_piece_that_is_being_decoded_when_the_connection_is_lost_is_taken_once(decoder: type[SlowDecoder]) -> None:
    async def lost() -> tuple[HostedSession, AudioInbox]:
        inbox = AudioInbox(1_000, lambda: 0.0)
        session = HostedSession(ThreadHandle(inbox, lambda: None), None)
        await cut_off(session, bytes(100), decoder)
        await session.feed(bytes(50))
        return session, inbox

    session, inbox = asyncio.run(lost())
    assert session.received_bytes == 150
    assert inbox.waiting_samples == 150
    assert not session.is_busy


def test_a_piece_that_is_no_audio_is_refused_to_who_comes_back(decoder: type[SlowDecoder]) -> None:
    async def lost() -> Any:
        session = HostedSession(ThreadHandle(AudioInbox(1_000, lambda: 0.0), lambda: None), None)
        await cut_off(session, b"!no", decoder)
        assert session.received_bytes == 0
        with pytest.raises(Refusal) as refused:
            await session.feed(b"!no")
        return refused.value.reason

    assert asyncio.run(lost()) is Reason.AUDIO_FORMAT
