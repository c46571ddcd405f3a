"""Processes that decode: killed, stopped, starved and left alone; and what they may do, which is nothing."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import AudioFormatError
from streaming.audio.containers import ContainerDecoder
from streaming.audio.decoder_processes import DecoderProcesses
from streaming.audio.files import read_audio
from tests.conftest import RECORDINGS
from tests.streaming.audio.decoders import children_of, decoders_of
from tests.streaming.audio.hostile import flac_of_silence
from tests.streaming.audio.test_containers import heard

ROOT = Path(__file__).parents[3]
PATH = RECORDINGS / "captions.flac"
FLAC = PATH.read_bytes()
PATIENCE_S = 60.0


@pytest.fixture
def processes() -> Iterator[DecoderProcesses]:
    with closing(DecoderProcesses()) as processes:
        yield processes


def wait_for(is_so: Callable[[], bool]) -> None:
    """Look again until it is so."""
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.01)


async def fed(decoder: ContainerDecoder, data: bytes) -> int:
    return sum([len(block) async for block in decoder.feed(data)])


async def all_of(decoder: ContainerDecoder, data: bytes) -> int:
    return await fed(decoder, data) + sum([len(block) async for block in decoder.end()])


async def refusal(decoder: ContainerDecoder) -> str:
    with pytest.raises(AudioFormatError) as error:
        await fed(decoder, FLAC)
    # It stays refused.
    with pytest.raises(AudioFormatError):
        await fed(decoder, FLAC)
    return str(error.value)


def test_each_started_anew_is_the_same() -> None:
    with closing(DecoderProcesses("--no-fork")) as processes:
        samples, _ = heard([FLAC], processes=processes)
    assert np.array_equal(samples, read_audio(PATH))


def test_a_process_that_hangs_is_killed(processes: DecoderProcesses) -> None:
    heard([FLAC], processes=processes)
    wait_for(lambda: not decoders_of(processes))

    async def hang() -> str:
        with closing(ContainerDecoder(processes, patience_s=2.0)) as decoder:
            await fed(decoder, b"fLaC")
            (pid,) = decoders_of(processes)
            os.kill(pid, signal.SIGSTOP)
            return await refusal(decoder)

    assert "takes longer than 2 s to decode; send it in another format" in asyncio.run(hang())
    wait_for(lambda: not decoders_of(processes))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process can be changed on Linux only")
def test_a_process_that_needs_too_much_memory_is_refused(processes: DecoderProcesses) -> None:
    async def starve() -> None:
        with closing(ContainerDecoder(processes)) as decoder:
            await fed(decoder, b"fLaC")
            (pid,) = decoders_of(processes)
            soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
            assert soft == hard < 2**31
            resource.prlimit(pid, resource.RLIMIT_AS, (2**20, 2**20))
            # FFmpeg passes over some of what it has no memory for, and then there is nothing left.
            with pytest.raises(AudioFormatError):
                await all_of(decoder, flac_of_silence(500)[4:])

    asyncio.run(starve())
    assert len(heard([FLAC], processes=processes)[0])


def test_a_starter_that_hangs_is_replaced(processes: DecoderProcesses) -> None:
    heard([FLAC], processes=processes)
    starter = processes.starter_pid
    assert starter
    os.kill(starter, signal.SIGSTOP)

    async def hang() -> None:
        with (
            closing(ContainerDecoder(processes, patience_s=0.2)) as decoder,
            pytest.raises(OSError, match="no process"),
        ):
            await refusal(decoder)

    asyncio.run(hang())
    assert np.array_equal(heard([FLAC], processes=processes)[0], read_audio(PATH))


def test_a_starter_that_dies_costs_no_session(processes: DecoderProcesses) -> None:
    async def go_on() -> int:
        with closing(ContainerDecoder(processes)) as decoder:
            n = await fed(decoder, FLAC[:50_000])
            starter = processes.starter_pid
            assert starter
            os.kill(starter, signal.SIGKILL)
            with closing(ContainerDecoder(processes)) as other:
                assert await fed(other, FLAC[:50_000]) == n
            assert processes.starter_pid != starter
            return n + await all_of(decoder, FLAC[50_000:])

    assert asyncio.run(go_on()) == len(read_audio(PATH))


def test_closed_and_forgotten_decoders_leave_no_process(processes: DecoderProcesses) -> None:
    async def forget() -> None:
        for data in (b"", b"fLaC", FLAC[:20_000]):
            await fed(ContainerDecoder(processes), data)
            closed = ContainerDecoder(processes)
            await fed(closed, data)
            closed.close()

    asyncio.run(forget())
    wait_for(lambda: not decoders_of(processes))


SERVE = """
import asyncio, sys, time
from streaming.audio.containers import PROCESSES, ContainerDecoder
async def serve():
    decoder = ContainerDecoder()
    async for _ in decoder.feed(b"fLaC"): pass
    print(PROCESSES.starter_pid, flush=True)
    sys.stdin.read()
asyncio.run(serve())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, None])
def test_processes_end_with_their_server(number: signal.Signals | None) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SERVE], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as server:
        assert server.stdin
        assert server.stdout
        starter = int(server.stdout.readline())
        started = {starter, *children_of(starter)}
        assert len(started) == 2
        os.kill(starter, signal.SIGTERM)
        os.kill(starter, signal.SIGINT)
        assert len(children_of(starter)) == 1
        if number:
            server.send_signal(number)
        _, said = server.communicate(timeout=PATIENCE_S)
    assert b"decoder" not in said
    wait_for(lambda: not any(is_alive(pid) for pid in started))


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", f"{pid}"], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


LIMITED = """
import os, resource, socket, sys
from streaming.audio.decoder_child import CPU_S_PER_PIECE, limit_process
limit_process()
for opened in (lambda: open("/dev/null"), lambda: socket.socket(), lambda: os.dup(0)):
    try:
        opened()
    except OSError:
        print("not opened")
if sys.platform == "linux":
    try:
        bytearray(100 * 2**20)
    except MemoryError:
        print("no memory")
print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= 2 + CPU_S_PER_PIECE, len(bytearray(60 * 2**20)))
"""


def test_the_limits_of_a_process() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, text=True, check=True)
    no_memory = ["no memory"] if sys.platform == "linux" else []
    assert done.stdout.splitlines() == ["not opened"] * 3 + no_memory + [f"True {60 * 2**20}"]


def test_a_server_does_not_load_ffmpeg() -> None:
    said = "import sys, streaming.server.run; print('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, check=True).stdout == b"False\n"


TRACED = """
import asyncio, io, os, sys
from contextlib import closing, suppress
from pathlib import Path
import av
from simul_whisper import AudioFormatError
from streaming.audio.containers import ContainerDecoder
from streaming.audio.decoder_child import warm_up
from streaming.audio.formats import open_listed
from tests.streaming.audio import hostile
private = Path(sys.argv[1])
cases = [hostile.SDP, *(make(private) for make in (
    hostile.concat_of, hostile.playlist_of, hostile.mp4_that_refers_to))]
async def refused(data):
    with closing(ContainerDecoder()) as decoder, suppress(AudioFormatError):
        async for _ in decoder.feed(data): pass
        async for _ in decoder.end(): pass
for data in cases:
    asyncio.run(refused(data))
# And the gate alone, in a process that might open anything.
warm_up()
os.write(1, b"begin")
for data in cases:
    with suppress(av.FFmpegError):
        open_listed(io.BytesIO(data)).close()
os.write(1, b"end")
"""
OPENING = ("open(", "openat(", "openat2(", "socket(", "connect(", "bind(", "execve(")


def may_trace() -> bool:
    command = ["strace", "-f", "-o", os.devnull, "true"]
    return bool(shutil.which("strace")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_trace(), reason="needs strace, and to be allowed to trace")
def test_nothing_is_opened_for_a_client(tmp_path: Path) -> None:
    private, trace = tmp_path / "private.wav", tmp_path / "trace"
    private.write_bytes(FLAC)
    calls = "open,openat,?openat2,socket,connect,bind,execve,prlimit64,setrlimit,write"
    command = ["strace", "-f", "-e", f"trace={calls}", "-o", f"{trace}", sys.executable, "-c", TRACED, f"{private}"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=PATIENCE_S)
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    assert not [call for _, call in lines if f"{private}" in call and not call.startswith(("execve(", "write("))]
    children = {
        pid: [call for who, call in lines if who == pid] for pid, call in lines if "RLIMIT_NOFILE, {rlim_cur=0" in call
    }
    assert len(children) == 4
    for calls_of_child in children.values():
        (limited,) = [i for i, call in enumerate(calls_of_child) if "RLIMIT_NOFILE, {rlim_cur=0" in call]
        assert not [call for call in calls_of_child[limited:] if call.startswith(OPENING)]
    pid, _ = lines[0]
    own = [call for who, call in lines if who == pid]
    begin, end = (next(i for i, call in enumerate(own) if f'"{mark}"' in call) for mark in ("begin", "end"))
    assert not [call for call in own[begin:end] if call.startswith(OPENING)]
