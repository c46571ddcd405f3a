"""Replicas that a real Ray cluster runs on this machine, one for all tests of this module, in this order: two, of which
one is killed, and all have to go.
"""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray has no wheel for this machine")

import ray
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from simul_whisper import AlignAttConfig, ConfigError, Model
from streaming.cluster.autoscaling import Bounds, ByWaitingAudio
from streaming.cluster.pool import ReplicaPool
from streaming.cluster.ray_app import APPLICATION, app
from streaming.cluster.ray_replicas import RayReplicas
from streaming.sessions.pool import SessionHandle
from streaming.sessions.session import Session
from streaming.settings import RayConfig, WorkerConfig
from tests.conftest import Recording
from tests.streaming.serving import text_of
from tests.streaming.working import collected

CONFIG = AlignAttConfig(model_name="tiny.en")
# Late audio is not decoded together, so that words do not depend on how busy this machine is.
WORKER = WorkerConfig(late_s=1000)
TWO = RayConfig(ray_address="local", ray_replicas=2, ray_cpus=0.1)
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def pool() -> Iterator[ReplicaPool]:
    before = signal.getsignal(signal.SIGTERM)
    made = ReplicaPool(RayReplicas(TWO, CONFIG, WORKER), CONFIG, WORKER)
    made.start()
    try:
        health = made.wait_ready(PATIENCE_S)
        assert health.is_ready, health
        yield made
    finally:
        made.stop()
        signal.signal(signal.SIGTERM, before)
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def expected(tiny: Model, captions: Recording) -> str:
    session = Session(CONFIG, tiny, drafts=False)
    return text_of(session.feed(captions.samples) + session.end())


def gauge(pool: ReplicaPool, name: str) -> dict[str, float]:
    """A figure of each replica, by its name."""
    family = next(each for each in pool.metrics() if each.name == f"simul_whisper_replica_{name}")
    return {sample.labels["replica"]: sample.value for sample in family.samples}


def count(pool: ReplicaPool, name: str) -> float:
    samples = [sample for family in pool.metrics() for sample in family.samples]
    return next(each.value for each in samples if each.name == f"simul_whisper_{name}_total")


def until(is_so: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < gives_up_at
        time.sleep(0.05)


def begun(pool: ReplicaPool, captions: Recording) -> SessionHandle:
    """A session of which a part has been heard, and told."""
    handle = pool.open(drafts=False)
    assert handle.submit(captions.samples[: len(captions.samples) // 2])
    cursor = handle.log.cursor()
    assert cursor.read(PATIENCE_S)
    cursor.close()
    return handle


def rest_of(handle: SessionHandle, captions: Recording) -> str:
    """The text of a session that hears the rest."""
    cursor = handle.log.cursor()
    handle.submit(captions.samples[len(captions.samples) // 2 :])
    handle.end()
    return text_of(collected(handle, cursor))


# Without a cluster


@pytest.mark.parametrize(("address", "why"), [("127.0.0.1:1", "Connection refused"), ("nowhere", "not HOST:PORT")])
def test_a_cluster_that_is_not_there_is_one_clear_line(address: str, why: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^no Ray cluster can be joined at {address}: .*{why}.*; on each of its mach"
    ):
        RayReplicas(RayConfig(ray_address=address), CONFIG, WORKER)


def test_a_cluster_that_has_died_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^no Ray cluster can be joined at auto: .*Connection refused"):
        RayReplicas(RayConfig(ray_address="auto"), CONFIG, WORKER)


def test_a_config_file_says_what_replicas_are() -> None:
    assert app({"engine": {"model_name": "base"}, "worker": {"max_sessions": 3}})
    with pytest.raises(ConfigError, match="args: engine: unknown setting model;"):
        app({"engine": {"model": "base"}})
    with pytest.raises(ConfigError, match="args: got workers, expected engine and worker"):
        app({"workers": {}})


def test_the_file_of_the_clone_is_one_that_serve_takes() -> None:
    written = yaml.safe_load((Path(__file__).parents[3] / "deploy" / "ray.yaml").read_text("utf-8"))
    (application,) = ServeDeploySchema(**written).applications
    (deployment,) = application.deployments
    assert (application.name, application.import_path) == (APPLICATION, f"{app.__module__}:{app.__name__}")
    assert app(application.args)
    assert isinstance(deployment.autoscaling_config, dict)
    policy = deployment.autoscaling_config["policy"]
    assert policy["policy_function"] == f"{ByWaitingAudio.__module__}:{ByWaitingAudio.__name__}"
    assert policy["policy_kwargs"] == vars(Bounds())


# With one


def test_sessions_are_shared_by_replicas_and_hear_what_one_does(
    pool: ReplicaPool, captions: Recording, expected: str
) -> None:
    until(lambda: list(gauge(pool, "ready").values()) == [1, 1])
    handles = [begun(pool, captions) for _ in range(2)]
    assert list(gauge(pool, "sessions").values()) == [1, 1]
    assert [rest_of(handle, captions) for handle in handles] == [expected] * 2
    assert pool.health().model == "tiny.en"
    assert count(pool, "words") > 10


def test_a_killed_replica_costs_its_sessions_a_moment(pool: ReplicaPool, captions: Recording, expected: str) -> None:
    handles = [begun(pool, captions) for _ in range(2)]
    killed, _ = gauge(pool, "sessions")
    ray.kill(ray.get_actor(f"SERVE_REPLICA::{APPLICATION}#Replica#{killed}", namespace="serve"))
    assert [rest_of(handle, captions) for handle in handles] == [expected] * 2
    assert killed not in gauge(pool, "sessions")
    assert count(pool, "sessions_moved") == count(pool, "replicas_lost") == 1


def test_replicas_that_are_to_go_finish_their_sessions(pool: ReplicaPool, captions: Recording, expected: str) -> None:
    handle = begun(pool, captions)
    serve.delete(APPLICATION, _blocking=False)
    until(lambda: not any(gauge(pool, "ready").values()))
    assert rest_of(handle, captions) == expected
    until(lambda: not gauge(pool, "ready"))
    assert count(pool, "sessions_moved") == 1
