"""All dialects that a server can speak, by name: where each is found, and what speaks it."""

from dataclasses import dataclass

from streaming.protocols.dialect import Dialect
from streaming.protocols.lines import Lines


@dataclass(frozen=True)
class Entry:
    """A way to be spoken to. paths: of WebSockets, beside the native protocol.

    port: the usual one, where clients expect a port of its own; is_stream: bytes over TCP in place of WebSockets.
    """

    name: str
    speak: type[Dialect]
    paths: tuple[str, ...] = ()
    port: int | None = None
    is_stream: bool = False


ENTRIES = (Entry("lines", Lines, port=43_007, is_stream=True),)
# Has requests of HTTP besides, at paths of their own.
REST = "openai"
NAMES = tuple(dict.fromkeys([REST, *(entry.name for entry in ENTRIES)]))
# Those without a port of their own open no door that was not open before.
DEFAULT_NAMES = tuple(name for name in NAMES if all(each.port is None for each in ENTRIES if each.name == name))


def entry_with_port(name: str) -> Entry:
    """Return what is spoken at the dialect's own port. Raises StopIteration when it has none."""
    return next(entry for entry in ENTRIES if entry.name == name and entry.port)
