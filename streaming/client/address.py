"""The address of a server's stream."""

from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

from simul_whisper import ConfigError
from streaming.protocols.native import PATH


def websocket_url(url: str) -> str:
    """Return the URL of the stream of a server; http is taken for ws, and its path may be left out.

    What ends with a slash is the server's own address, perhaps under a prefix.

    Raises ConfigError.
    """
    try:
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        is_complete = scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_complete = False
    if not is_complete:
        raise ConfigError(f"got {url}, expected a URL such as ws://127.0.0.1:8000")
    path = parts.path.removesuffix("/") + PATH if parts.path.endswith("/") or not parts.path else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def is_local(url: str) -> bool:
    """Whether it is an address of this machine, which no proxy stands before."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
