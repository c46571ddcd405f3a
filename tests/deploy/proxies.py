"""The proxies of deploy/, run for real: their files as they stand, but for addresses, ports and certificates."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.dockerfile import DEPLOY

PATIENCE_S = 60.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True)
class Front:
    """What clients see. log: of the requests; None where there is none."""

    scheme: str
    port: int
    log: Path | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/captions"


@contextmanager
def nginx(behind: int, certificate: tuple[str, str], folder: Path) -> Iterator[Front]:
    """Run it with deploy/nginx.conf in front of this port. Skips the test where there is none."""
    program = _program("nginx", "nginx-light")
    front, plain = Front("https", free_port(), folder / "captions.log"), free_port()
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for said, meant in {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen [::]:80;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{front.port} ssl;",
        "listen [::]:443 ssl;": "",
        "/etc/letsencrypt/live/captions.example.org/fullchain.pem": certificate[0],
        "/etc/letsencrypt/live/captions.example.org/privkey.pem": certificate[1],
        "/var/log/nginx/captions.log": f"{front.log}",
        "/var/log/nginx/captions.error.log": f"{folder}/captions.error.log",
        "http://127.0.0.1:8000": f"http://127.0.0.1:{behind}",
    }.items():
        assert said in text, f"deploy/nginx.conf has no {said!r}"
        text = text.replace(said, meant)
    paths = "".join(f"{name}_temp_path {folder}/{name};" for name in "client_body proxy fastcgi uwsgi scgi".split())
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ {paths}\n{text} }}\n"
    )
    command = [program, "-p", f"{folder}", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    with _running(command, front.port, folder):
        yield front


@contextmanager
def caddy(behind: int, folder: Path) -> Iterator[Front]:
    """Run it with deploy/Caddyfile in front of this port, without encryption. Skips the test where there is none."""
    front = Front("http", free_port())
    told = {
        "CAPTIONS_SITE": f"http://127.0.0.1:{front.port}",
        "CAPTIONS_SERVER": f"127.0.0.1:{behind}",
        "CADDY_ADMIN": f"unix/{folder}/admin",
    }
    command = [_program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", f"{DEPLOY / 'Caddyfile'}"]
    with _running(command, front.port, folder, {**told, **caddy_folders(folder)}):
        yield front


def caddy_folders(folder: Path) -> dict[str, str]:
    """What makes Caddy keep its own files here."""
    return dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), f"{folder}")


def caddy_finds_no_fault(folder: Path) -> None:
    command = [_program("caddy", "caddy"), "validate", "--adapter", "caddyfile", "--config", f"{DEPLOY / 'Caddyfile'}"]
    done = subprocess.run(
        command, env={**os.environ, **caddy_folders(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as any_free:
        port: int = any_free.getsockname()[1]
        return port


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return found


@contextmanager
def _running(
    command: list[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """What it writes to standard error comes into the folder."""
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


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
