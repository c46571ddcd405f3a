"""The client of a server, for programs: audio in, events out. It needs neither the engine nor a model."""

from streaming.client.client import (
    Client,
    ClientEvent,
    ConnectionLostError,
    Reconnected,
    RefusedError,
    paced,
    websocket_url,
)

__all__ = ["Client", "ClientEvent", "ConnectionLostError", "Reconnected", "RefusedError", "paced", "websocket_url"]
