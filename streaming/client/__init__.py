"""The client of a server, for programs: audio in, events out. It needs neither the engine nor a model."""

from streaming.client.address import websocket_url
from streaming.client.client import Client, ClientEvent
from streaming.client.connection_events import ConnectionLostError, Disconnected, LostError, Reconnected, RefusedError
from streaming.client.pace import paced
from streaming.replay.recovery import RECOVERY, After, Recovery

__all__ = [
    "RECOVERY",
    "After",
    "Client",
    "ClientEvent",
    "ConnectionLostError",
    "Disconnected",
    "LostError",
    "Reconnected",
    "Recovery",
    "RefusedError",
    "paced",
    "websocket_url",
]
