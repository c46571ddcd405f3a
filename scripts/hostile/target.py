"""Whom an attack is for and with what, as told to the process that attacks; and what that process tells afterwards."""

import json
import socket
import ssl
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

NO_ANSWER = "no answer"
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Target:
    """url: of the stream. speech: a file of s16le mono 16 kHz.

    bait: a recording on the server's disk, by its name in the folder that the server was started in.
    n_connections, n_at_once: of the attacks that count. hold_s: for so long an attacker waits for an answer.
    n_sources: addresses that the attackers come from, where this machine has more than one; first_source: which, so
    that no attack is refused for what another did.
    """

    url: str
    token: str
    speech: str
    bait: str
    n_connections: int
    n_at_once: int
    hold_s: float
    n_sources: int
    first_source: int

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Target":
        return cls(**json.loads(text))

    @cached_property
    def pcm(self) -> bytes:
        return Path(self.speech).read_bytes()

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if urlsplit(self.url).scheme == "wss" else None

    def source(self, number: int) -> tuple[str, int] | None:
        """Where connection `number` comes from: not the address of the neighbour, where that can be helped."""
        if self.host not in _LOOPBACK or not sys.platform.startswith("linux"):
            return None
        # All of 127.0.0.0/8 is this machine.
        address = self.first_source + number % self.n_sources
        return f"127.1.{address // 250}.{1 + address % 250}", 0


@dataclass
class Outcome:
    """answers: how often each came. faults: what must never happen and did."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: set[str] = field(default_factory=set)

    def text(self) -> str:
        return json.dumps({"answers": self.answers, "faults": sorted(self.faults)})

    @classmethod
    def read(cls, text: str) -> "Outcome":
        told = json.loads(text)
        return cls(Counter(told["answers"]), set(told["faults"]))

    @property
    def is_answered(self) -> bool:
        """Whether everybody who waits for an answer got one, and none said that the server is at fault."""
        return not {NO_ANSWER, "internal"} & set(self.answers)

    @property
    def summary(self) -> str:
        return ", ".join(f"{answer} {n}" for answer, n in self.answers.most_common(5))


def unused_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port
