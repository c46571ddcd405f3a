"""Servers that others wrote, on loopback, in front of whatever a test puts behind them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 60.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as any_free:
        port: int = any_free.getsockname()[1]
        return port


def program(name: str, package: str) -> str:
    """Return where it is; skips the test where it is not installed."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return found


@contextmanager
def running(
    command: list[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run it until it listens, and to the end. What it writes to standard error comes into the folder."""
    with (
        (folder / "stderr").open("wb") as stderr,
        subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=stderr
        ) as process,
    ):
        try:
            until = time.monotonic() + PATIENCE_S
            while not _listens(port):
                assert process.poll() is None, f"{command[0]} has ended"
                assert time.monotonic() < until, f"{command[0]} does not listen"
                time.sleep(0.01)
            yield
        finally:
            process.terminate()


@contextmanager
def nginx(http: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx with this in its `http`, which listens at that port. folder: for its files."""
    found = program("nginx", "nginx-light")
    paths = "".join(f"{name}_temp_path {folder}/{name};" for name in "client_body proxy fastcgi uwsgi scgi".split())
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ {paths}\n{http} }}\n"
    )
    command = [found, "-p", f"{folder}", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    with running(command, port, folder):
        yield


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
