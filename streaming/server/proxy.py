"""What a proxy in front of the server may do: put it under a prefix, and tell where connections come from."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from simul_whisper import ConfigError

LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Proxy:
    """root_path: the prefix, such as /captions; empty for none. trusted: addresses and networks of proxies that are
    believed when they say where a connection comes from; `*` believes anybody.
    """

    root_path: str = ""
    trusted: tuple[str, ...] = LOOPBACK

    def with_prefix(self, paths: Iterable[str]) -> frozenset[str]:
        """Return the paths as they may come: some proxies take the prefix away, others do not."""
        plain = frozenset(paths)
        return plain | {self.root_path + path for path in plain}

    def check_prefix(self, paths: Iterable[str]) -> None:
        """Raise ConfigError for a prefix with which one of the server's own paths begins: it would be taken away."""
        taken = next((path for path in paths if f"{path}/".startswith(f"{self.root_path}/")), None)
        if self.root_path and taken:
            raise ConfigError(f"got root_path {self.root_path}, but {taken} is an address of the server; take another")


class Prefixed:
    """Takes the prefix away where the proxy has not, so that nobody behind it has to know of one."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        path = scope.get("path", "")
        if path.startswith(f"{self._root_path}/"):
            n, raw = len(self._root_path), scope["raw_path"]
            scope = {**scope, "path": path[n:], "raw_path": raw[n:] if raw.startswith(path[:n].encode()) else raw}
        elif path == self._root_path and scope["type"] == "http":
            # The page finds its parts beside itself, which they are only below the slash.
            query = scope["query_string"].decode("latin-1")
            app = RedirectResponse(f"{path}/{'?' if query else ''}{query}", 308)
        await app(scope, receive, send)
