"""A session as a server keeps it: audio that came is taken once, as far as there is room, and ends as it should."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from streaming.audio import containers
from streaming.audio.files import read_audio
from streaming.events import Failed, Reason
from streaming.server.hosted import HostedSession
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.request import Refusal
from tests.conftest import RECORDINGS
from tests.streaming.audio.decoders import decoders_of

PATIENCE_S = 60.0
FLAC = RECORDINGS / "captions.flac"


def in_time(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE_S))


def hosted(capacity_samples: int = 10**6) -> tuple[HostedSession, AudioInbox]:
    inbox = AudioInbox(capacity_samples, lambda: 0.0)
    return HostedSession(ThreadHandle(inbox, lambda: None), None), inbox


async def until_taken(session: HostedSession) -> None:
    while session.is_full:
        session.room.clear()
        await session.room.wait()


def failure_of(session: HostedSession) -> Failed:
    """Let recognition have told all that it has heard."""
    session.log.finish()
    assert isinstance(session.log.last, Failed)
    return session.log.last


async def feed(session: HostedSession, data: bytes) -> None:
    for piece in session.pieces(data):
        session.feed(piece)
        await until_taken(session)


def test_a_container_is_taken_as_there_is_room() -> None:
    async def work() -> None:
        session, inbox = hosted(capacity_samples=5_000)
        taken = []
        for piece in session.pieces(FLAC.read_bytes()):
            session.feed(piece)
            while session.is_full:
                if pulled := inbox.pull(10**6):
                    taken.append(pulled.samples)
                await asyncio.sleep(0)
        session.end()
        while not (taken and pulled and pulled.is_end):
            if pulled := inbox.pull(10**6):
                taken.append(pulled.samples)
            await asyncio.sleep(0)
        assert np.array_equal(np.concatenate(taken), read_audio(FLAC))
        assert session.received_bytes == FLAC.stat().st_size

    in_time(work())


def test_marks_stay_behind_the_audio_before_them() -> None:
    async def work() -> None:
        session, inbox = hosted()
        for piece in session.pieces(FLAC.read_bytes()):
            session.feed(piece)
        session.flush()
        session.end()
        with pytest.raises(Refusal, match="came after the end"):
            session.feed(b"more")
        await until_taken(session)
        pulled = inbox.pull(10**6)
        assert pulled
        rest = inbox.pull(10**6)
        assert rest
        assert pulled.is_flush
        assert len(pulled.samples) > len(rest.samples)
        assert np.array_equal(np.concatenate([pulled.samples, rest.samples]), read_audio(FLAC))

    in_time(work())


def test_what_is_no_audio_ends_the_session_and_what_follows_is_passed_over() -> None:
    async def work() -> None:
        session, _ = hosted()
        await feed(session, bytes(range(256)) * 64)
        session.end()
        await until_taken(session)
        assert failure_of(session).reason is Reason.AUDIO_FORMAT

    in_time(work())


def test_a_decoder_that_is_killed_costs_its_own_session_only(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        data = FLAC.read_bytes()
        before = decoders_of(containers.PROCESSES)
        one, one_inbox = hosted()
        await feed(one, data[:50_000])
        (decoder,) = decoders_of(containers.PROCESSES) - before
        other, other_inbox = hosted()
        await feed(other, data[:50_000])
        os.kill(decoder, signal.SIGKILL)
        await feed(one, data[50_000:])
        await feed(other, data[50_000:])
        other.end()
        await until_taken(other)
        assert failure_of(one).reason is Reason.AUDIO_FORMAT
        assert "its decoder has crashed" in failure_of(one).message
        assert one_inbox.waiting_samples
        assert other_inbox.waiting_samples == len(read_audio(FLAC))
        assert not other.is_stopped

    in_time(work())
    assert len(caplog.records) == 1


def test_a_session_can_be_stopped_while_it_is_decoded() -> None:
    async def work() -> None:
        session, inbox = hosted(capacity_samples=5_000)
        for piece in session.pieces(FLAC.read_bytes()):
            session.feed(piece)
        session.end()
        session.stop(Reason.STOPPING, "the server is being stopped")
        await until_taken(session)
        assert failure_of(session).reason is Reason.STOPPING
        assert inbox.waiting_samples == 0

    in_time(work())
