"""Encrypted connections: counted from the moment they are open, and with a limit of time for the handshake.

asyncio's own servers tell of a connection only once its handshake is done, which a hostile client never does.
"""

import ssl
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass
from typing import Any

from simul_whisper import ConfigError
from streaming.server.doorway import Caller, Doorway
from streaming.server.uvicorn_http import UvicornHttp


@dataclass(frozen=True)
class Tls:
    """Files in PEM; the key may stand in the certificate's."""

    certificate: str
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise ConfigError(f"TLS files cannot be used: {error}") from error
        return context


class TlsConnection(SSLProtocol):
    """Encrypts for a connection of HTTP."""

    # What asyncio keeps for each to read into; its own 256 KiB are much for a crowd that says nothing.
    max_size = 32_768

    def __init__(self, http: UvicornHttp, context: ssl.SSLContext, doorway: Doorway, handshake_s: float) -> None:
        # Nobody waits for the handshake: a future would only tell that nobody asked how it went.
        super().__init__(
            http.loop,
            http,
            context,
            None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=handshake_s,  # type: ignore[arg-type]
        )
        self._http, self._doorway = http, doorway
        self._caller: Caller | None = None

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        self._caller = self._http.caller = self._doorway.enter(peer[0] if peer else "", transport.abort)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        assert self._caller is not None
        self._caller.leave()
        super().connection_lost(exc)
