"""Who may come in: by token, by the name that the server is called by, and by the page that a browser shows."""

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from streaming.protocols.dialect import bearer_token
from streaming.server.tokens import Tokens

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A name, or an address of IPv6 in brackets; and perhaps a port.
_HOST = re.compile(r"([^\s:@/\[\]]+|\[[0-9A-Fa-f:.]+\])(?::\d*)?")
_WILDCARDS = ("0.0.0.0", "::", "")


class Access:
    """origins: of pages from elsewhere that may connect. hosts: names that the server answers to; `*` is any of them.

    read_tokens: returns the tokens anew, where they can change; raises ConfigError.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        origins: tuple[str, ...] = (),
        hosts: tuple[str, ...] = _LOOPBACK,
        read_tokens: Callable[[], Tokens] | None = None,
    ) -> None:
        self.tokens = tokens or Tokens()
        self.read_tokens = read_tokens
        self._origins, self._hosts = origins, {_plain(host) for host in hosts}

    def client_name(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Return whose token came as `Authorization: Bearer` or `token=`; as `name_of` does."""
        return self.name_of(given_token(headers, query))

    def name_of(self, token: str) -> str | None:
        """Return whose token it is: None for nobody's, "" if none is needed."""
        return self.tokens.name_of(token) if self.tokens else ""

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Whether the server is called by a name of its own.

        Under a name of somebody else's that resolves to it, their page would count as ours. A number resolves to
        nothing else, and who sends no name is no browser.
        """
        given = headers.get("host")
        if given is None or "*" in self._hosts:
            return True
        host = _host_of(given)
        return host in self._hosts or _is_number(host)

    def allows_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether it is no browser, our own page, or a page that is allowed."""
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            return False


def given_token(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return what came as `Authorization: Bearer` or `token=`; empty for nothing."""
    return bearer_token(headers) or query.get("token", "")


def own_names(bound: str) -> tuple[str, ...]:
    """Return the names of a server that listens on this address."""
    if bound not in _WILDCARDS:
        return (*_LOOPBACK, bound)
    machine = socket.gethostname()
    short = machine.partition(".")[0]
    return (*_LOOPBACK, machine, short, f"{short}.local")


def _host_of(header: str) -> str:
    """Return the name without its port; "" for what is no name."""
    found = _HOST.fullmatch(header)
    return _plain(found[1].strip("[]")) if found else ""


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
