"""Child processes that decode: killed, asked to end, and left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.cluster.pool import ReplicaPool
from streaming.cluster.processes import ProcessReplicas
from tests.streaming.cluster.local import of_each, wait_for
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import SPEECH, collected, said

ROOT = Path(__file__).parents[3]
TONES = [sys.executable, "-m", "tests.streaming.cluster.tones_child"]
# A server that says which processes it has started, and then does nothing.
SERVER = f"""
import time
from streaming.cluster.processes import ProcessReplicas
replicas = ProcessReplicas({TONES!r}, 2.0, 1)
replicas.lines()
print(*replicas.pids.values(), flush=True)
time.sleep(1000)
"""


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and nobody has asked for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[ReplicaPool, ProcessReplicas]]:
    replicas = ProcessReplicas(TONES, 2.0, 2)
    pool = ReplicaPool(replicas, CONFIG)
    pool.start()
    wait_for(lambda: sum(of_each(pool, "ready").values()) == 2)
    try:
        yield pool, replicas
    finally:
        last = dict(replicas.pids)
        pool.stop()
        assert not any(is_there(pid) for pid in last.values())


def test_a_killed_child_costs_its_sessions_nothing_and_is_started_anew(
    processes: tuple[ReplicaPool, ProcessReplicas], caplog: pytest.LogCaptureFixture
) -> None:
    pool, replicas = processes
    half, before = len(SPEECH.samples) // 2, dict(replicas.pids)
    handles = [pool.open(voice=OFF) for _ in range(4)]
    for handle in handles:
        assert handle.submit(SPEECH.samples[:half]) == half
    wait_for(lambda: all(text_of(handle.log.cursor().read()) for handle in handles))
    os.kill(before["worker-2"], signal.SIGKILL)
    assert [text_of(collected(said(each, SPEECH.samples[half:]))) for each in handles] == [SPEECH.text] * 4
    assert counted(pool.metrics())["sessions_moved_total"] == 2
    wait_for(lambda: sum(of_each(pool, "ready").values()) == 2)
    assert replicas.pids["worker-1"] == before["worker-1"]
    assert replicas.pids["worker-2"] != before["worker-2"]
    assert "worker-2 has ended by signal 9; it is started anew" in caplog.text


def test_who_stops_the_server_does_not_stop_its_children(processes: tuple[ReplicaPool, ProcessReplicas]) -> None:
    pool, replicas = processes
    n_lost = counted(pool.metrics())["replicas_lost_total"]
    for pid in replicas.pids.values():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert text_of(collected(said(pool.open(voice=OFF)))) == SPEECH.text
    assert counted(pool.metrics())["replicas_lost_total"] == n_lost


def test_children_end_by_themselves_when_the_server_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        (pid,) = map(int, server.stdout.readline().split())
        assert is_there(pid)
        server.kill()
    until = time.monotonic() + PATIENCE_S
    while is_there(pid):
        assert time.monotonic() < until, "the child has outlived its parent"
        time.sleep(0.01)


def test_a_command_that_cannot_start_is_tried_again_later_each_time(caplog: pytest.LogCaptureFixture) -> None:
    replicas = ProcessReplicas([sys.executable, "-c", "raise SystemExit(3)"], 2.0, 1)
    pool = ReplicaPool(replicas, CONFIG)
    pool.start()
    wait_for(lambda: "it is started anew in 1 s" in caplog.text)
    assert "worker-1 has ended with status 3" in caplog.text
    pool.stop()
    assert not pool.health().is_alive


def test_a_child_that_cannot_be_made_is_tried_again_later_each_time(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    replicas = ProcessReplicas([str(tmp_path / "nothing")], 2.0, 1)
    for _ in range(3):
        assert not replicas.lines()
    assert caplog.text.count("worker-1 cannot be started") == 2
    assert "No such file or directory" in caplog.text
    assert "it is started anew in 1 s" in caplog.text
    replicas.close()
