"""What replicas of a real Ray cluster on this machine bear, and what befalls them, as a table.

python -m scripts.scale [--model tiny.en] [--rounds 2] [--listeners 10] [--rows bears replica server load]

A replica has one core. Words are compared by their times with those of a listener who is alone, in real time as all
are: lost are those at whose time nothing was told, doubled those that were told twice for one time, and other those
that were heard as something else. Late is from when the end of a word was spoken. The exit status is 1 when a word was
lost or doubled.
"""

import argparse
import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
import ray
from ray import serve

from scripts.own_server import OwnServer
from scripts.retold import Differences, differences
from scripts.tcp_relay import relay_to
from simul_whisper import SAMPLE_RATE, AlignAttConfig
from streaming.audio.files import read_audio
from streaming.cluster.ray_app import APPLICATION, deployment
from streaming.evaluation.load import Listening, Samples, listen
from streaming.settings import RayConfig, WorkerConfig

RECORDING = Path(__file__).parents[1] / "demos" / "recordings" / "lighthouse.flac"
PATIENCE_S = 180.0
FEW, FAST = 4, 8
# Serve decides by what replicas tell it, every 10 s and once it has been so for minutes, unless it is told otherwise.
REPLICA = {"num_cpus": 1, "runtime_env": {"env_vars": {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}}}
QUICK = {"upscale_delay_s": 1.0, "downscale_delay_s": 10.0, "look_back_period_s": 10.5}
MANY = ["--max-sessions", "100", "--connections-per-minute", "100000", "--sessions-per-address", "100"]


@dataclass(frozen=True)
class Row:
    """found: what is to be read of it. heard: by each listener, and what one who is alone hears."""

    name: str
    found: str
    heard: Sequence[tuple[Listening, Listening]] = field(default=(), repr=False)


class Replicas:
    """Those of the application, as this script has Serve run them. changes: seconds, and how many there were then."""

    def __init__(self, model: str) -> None:
        self._config = AlignAttConfig(model_name=model, language="en")
        self.changes = list[tuple[float, int]]()

    def scale(self, least: int, most: int = 0) -> None:
        """Have so many; most: as audio waits for them. Return when there are no fewer, and no more than may be."""
        made = deployment(RayConfig(ray_replicas=least, ray_most_replicas=most), QUICK)
        made = made.options(ray_actor_options=REPLICA)
        worker = WorkerConfig(max_sessions=100)
        serve.run(made.bind(self._config, worker), name=APPLICATION, route_prefix=None)
        until(lambda: self.states() == {"RUNNING": least} if not most else self.n_running() >= least)

    def states(self) -> dict[str, int]:
        deployments = serve.status().applications[APPLICATION].deployments.values()
        return {state: n for each in deployments for state, n in each.replica_states.items() if n}

    def n_running(self) -> int:
        return self.states().get("RUNNING", 0)

    def kill_one(self) -> None:
        named = ray.util.list_named_actors(all_namespaces=True)
        killed = next(each for each in named if each["name"].startswith(f"SERVE_REPLICA::{APPLICATION}#"))
        ray.kill(ray.get_actor(killed["name"], namespace=killed["namespace"]))


@dataclass(frozen=True)
class Stage:
    """What rows are made with. servers: two, of the same replicas. alone: what one listener hears, by the samples."""

    replicas: Replicas
    servers: Sequence[OwnServer]
    samples: Samples
    n_listeners: int
    n_rounds: int
    alone: dict[int, Listening] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.servers[0].url

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def until(is_so: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > gives_up_at:
            raise TimeoutError(f"not so within {PATIENCE_S:g} s")
        time.sleep(0.2)


async def alone(stage: Stage, samples: Samples) -> Listening:
    if len(samples) not in stage.alone:
        stage.alone[len(samples)] = await listen(stage.url, samples, drafts=False)
    return stage.alone[len(samples)]


async def pace_of(stage: Stage) -> float:
    """Return how many seconds of audio are heard in one, of listeners who send all that they have."""
    started = time.monotonic()
    await asyncio.gather(*(listen(stage.url, stage.samples, realtime=False, drafts=False) for _ in range(FAST)))
    return FAST * stage.duration_s / (time.monotonic() - started)


async def two_against_one(stage: Stage) -> Row:
    """In turns, since a machine is not the same for minutes."""
    paces = dict[int, list[float]]({1: [], 2: []})
    for n in [1, 2] * stage.n_rounds:
        await asyncio.to_thread(stage.replicas.scale, n)
        # Servers look for replicas once a second.
        await asyncio.sleep(3)
        paces[n].append(await pace_of(stage))
    one, two = (sum(each) / len(each) for each in paces.values())
    turns = ", ".join(f"{after / before:.2f}" for before, after in zip(*paces.values(), strict=True))
    return Row("two replicas, against one", f"{two / one:.2f} times ({one:.1f} and {two:.1f} s/s; {turns})")


async def heard_by_few(stage: Stage, url: str, befalls: Callable[[], object]) -> list[tuple[Listening, Listening]]:
    """In the middle of what a few listeners hear, something befalls."""
    expected = await alone(stage, stage.samples)

    async def fail() -> None:
        await asyncio.sleep(stage.duration_s / 2)
        await asyncio.to_thread(befalls)

    failing = asyncio.create_task(fail())
    heard = await asyncio.gather(*(listen(url, stage.samples, drafts=False) for _ in range(FEW)))
    await failing
    return [(each, expected) for each in heard]


async def killed_replica(stage: Stage) -> Row:
    await asyncio.to_thread(stage.replicas.scale, 2)
    heard = await heard_by_few(stage, stage.url, stage.replicas.kill_one)
    await asyncio.to_thread(until, lambda: stage.replicas.states() == {"RUNNING": 2})
    return Row("a replica is killed, of two", "Serve has made another", heard)


async def killed_server(stage: Stage) -> Row:
    first, second = stage.servers
    with relay_to(first.port) as line:

        def fail() -> None:
            first.process.kill()
            line.turn_to(second.port)

        heard = await heard_by_few(stage, f"ws://127.0.0.1:{line.port}", fail)
    await asyncio.to_thread(first.start_again)
    return Row("a server is killed, of two", "its listeners went to the other", heard)


async def more_and_fewer(stage: Stage) -> Row:
    """Many listeners come and go; two stay until a replica has gone, whose sessions they may have had."""
    long = np.concatenate([stage.samples] * 2)
    expected, expected_long = await alone(stage, stage.samples), await alone(stage, long)
    # What there is stays when it is only let be more.
    await asyncio.to_thread(stage.replicas.scale, 1)
    await asyncio.to_thread(stage.replicas.scale, 1, 2)
    watching = asyncio.create_task(changes(stage.replicas))
    staying = [asyncio.create_task(listen(stage.url, long, drafts=False)) for _ in range(2)]
    many = await asyncio.gather(*(listen(stage.url, stage.samples, drafts=False) for _ in range(stage.n_listeners)))
    stayed = await asyncio.gather(*staying)
    await asyncio.to_thread(until, lambda: stage.replicas.states() == {"RUNNING": 1})
    watching.cancel()
    found = ", ".join(f"{n} from {at_s:.0f} s" for at_s, n in stage.replicas.changes)
    heard = [*((each, expected) for each in many), *((each, expected_long) for each in stayed)]
    return Row(f"{stage.n_listeners + 2} listeners, then 2", f"replicas: {found}", heard)


async def changes(replicas: Replicas) -> None:
    """Note when there are more or fewer replicas, until cancelled."""
    started = time.monotonic()
    while True:
        n = await asyncio.to_thread(replicas.n_running)
        if not replicas.changes or replicas.changes[-1][1] != n:
            replicas.changes.append((time.monotonic() - started, n))
        await asyncio.sleep(0.5)


ROWS = {"bears": two_against_one, "replica": killed_replica, "server": killed_server, "load": more_and_fewer}


async def run(stage: Stage, rows: Sequence[str]) -> bool:
    """Print the table; return whether nobody lost a word, or heard one twice."""
    show("", "words", "lost", "doubled", "other", "late 95 %", "latest", "")
    is_good = True
    for name in rows:
        row = await ROWS[name](stage)
        counts = [differences(listening.words, expected.words) for listening, expected in row.heard]
        all_in_all = sum(counts, Differences())
        delays = sorted(delay for listening, _ in row.heard for delay in listening.delays_s)
        late = [f"{delays[round(0.95 * (len(delays) - 1))]:.1f} s", f"{delays[-1]:.1f} s"] if delays else ["", ""]
        cells = [f"{n}" for n in (len(delays), *astuple(all_in_all))] if delays else [""] * 4
        show(row.name, *cells, *late, row.found)
        is_good &= not all_in_all.lost + all_in_all.doubled
    return is_good


def show(name: str, *cells: str) -> None:
    print(f"{name:30}" + "".join(f"{cell:>10}" for cell in cells[:-1]) + f"  {cells[-1]}", flush=True)


@contextmanager
def cluster() -> Iterator[str]:
    """Start Ray's processes, and return the address of the cluster."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    place = f"--node-ip-address {host} --port {port} --num-cpus 2 --object-store-memory 80000000"
    flags = f"--head --block --include-dashboard false {place}".split()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]
    # Inference is not to come after all else on this machine, as Ray has it; and nobody else can reach this address.
    environment = os.environ | {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_joined(address))
        yield address
    finally:
        ray.shutdown()
        head.terminate()
        head.wait()


def is_joined(address: str) -> bool:
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError):
        return False
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tiny.en", help="of the replicas (default: tiny.en)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of one replica and of two (default: 2)")
    parser.add_argument("--listeners", type=int, default=10, help="too many for one replica (default: 10)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="only these (default: all)")
    options = parser.parse_args()
    with cluster() as address, ExitStack() as ending:
        replicas = Replicas(options.model)
        replicas.scale(1)
        flags = ["--pool", "ray", "--ray-address", address, "--model", options.model, "--language", "en", *MANY]
        servers = list[OwnServer]()
        for _ in range(2):
            servers.append(OwnServer(flags))
            ending.callback(servers[-1].kill)
        stage = Stage(replicas, servers, read_audio(RECORDING), options.listeners, options.rounds)
        return 0 if asyncio.run(run(stage, options.rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
