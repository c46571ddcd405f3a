"""A server that all tests of a module may talk to, and a certificate for others."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streaming.serving import Served, serving

# What it asserts is explained as in a test.
pytest.register_assert_rewrite("tests.streaming.working")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that nobody has signed but itself, and its key."""
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    names = ["-subj", "/CN=simul-whisper", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files
