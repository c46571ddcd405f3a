"""The proxies of deploy/, run for real: their files as they stand, but for addresses, ports and certificates."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.dockerfile import DEPLOY
from tests.foreign_servers import free_port, program, running
from tests.foreign_servers import nginx as running_nginx


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
    with running_nginx(text, front.port, folder):
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
    command = [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", f"{DEPLOY / 'Caddyfile'}"]
    with running(command, front.port, folder, {**told, **caddy_folders(folder)}):
        yield front


def caddy_folders(folder: Path) -> dict[str, str]:
    """What makes Caddy keep its own files here."""
    return dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), f"{folder}")


def caddy_finds_no_fault(folder: Path) -> None:
    command = [program("caddy", "caddy"), "validate", "--adapter", "caddyfile", "--config", f"{DEPLOY / 'Caddyfile'}"]
    done = subprocess.run(
        command, env={**os.environ, **caddy_folders(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
