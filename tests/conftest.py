"""The two embedded models, each loaded once, our recordings with what is said in them, and a certificate."""

import gc
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Threads that wait for each other make tests many times slower on cores that are busy. NumPy reads it when it loads.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, Model, load_model
from streaming.audio.files import read_audio
from tests.loaded_once import share

# What it asserts is explained as in a test.
pytest.register_assert_rewrite("tests.streaming.working")

# A property over a real model is slow, and may share the model with its other examples.
settings.register_profile(
    "short", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("long", settings.get_profile("short"), max_examples=2_000)
settings.load_profile("short")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: tests wait for sound and for servers about as long as they compute."""
    return min(os.cpu_count() or 1, 4) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that wait: at the end, the other processes would have nothing to do meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: to look through them again and again took a quarter of all time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# What it asserts is explained as in a test.
pytest.register_assert_rewrite("tests.listener")

RECORDINGS = Path(__file__).parent.parent / "demos" / "recordings"


@dataclass(frozen=True)
class Recording:
    """samples: float32 (n,), mono, 16 kHz."""

    samples: NDArray[np.float32]
    transcript: str


@pytest.fixture(scope="session")
def recordings() -> Mapping[str, Recording]:
    lines = (RECORDINGS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    clips = [json.loads(line) for line in lines]
    return {clip["id"]: Recording(read_audio(RECORDINGS / clip["path"]), clip["transcript"]) for clip in clips}


@pytest.fixture(scope="session")
def captions(recordings: Mapping[str, Recording]) -> Recording:
    return recordings["captions"]


@pytest.fixture(scope="session")
def kettle(recordings: Mapping[str, Recording]) -> Recording:
    return recordings["kettle"]


@pytest.fixture(scope="session")
def lighthouse(recordings: Mapping[str, Recording]) -> Recording:
    return recordings["lighthouse"]


@pytest.fixture(scope="session", autouse=True)
def _loaded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share(patch)
        yield


@pytest.fixture(scope="session")
def tiny() -> Model:
    return load_model(AlignAttConfig(model_name="tiny.en"))


@pytest.fixture(scope="session")
def base() -> Model:
    return load_model(AlignAttConfig(model_name="base"))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that nobody has signed but itself, and its key."""
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    names = ["-subj", "/CN=simul-whisper", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files
