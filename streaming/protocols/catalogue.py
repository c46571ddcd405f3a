"""All dialects that a server can speak, by name: where each is found, and what speaks it."""

from dataclasses import dataclass

from streaming.protocols.deepgram import PATH as DEEPGRAM_PATH
from streaming.protocols.deepgram import Deepgram
from streaming.protocols.dialect import Dialect
from streaming.protocols.lines import JsonLines, Lines
from streaming.protocols.openai_realtime import OpenAIRealtime
from streaming.protocols.openai_translations import OpenAITranslations
from streaming.protocols.simulstream import Simulstream
from streaming.protocols.whisper_live import WhisperLive
from streaming.protocols.whisperlivekit import WhisperLiveKit
from streaming.protocols.wyoming import Wyoming


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


ENTRIES = (
    Entry("openai", OpenAIRealtime, ("/v1/realtime",)),
    Entry("openai", OpenAITranslations, ("/v1/realtime/translations",)),
    Entry("deepgram", Deepgram, (DEEPGRAM_PATH,)),
    Entry("whisperlivekit", WhisperLiveKit, ("/asr",)),
    Entry("whisper-live", WhisperLive, ("/whisper-live",), port=9_090),
    Entry("simulstream", Simulstream, ("/simulstream",), port=8_080),
    Entry("wyoming", Wyoming, port=10_300, is_stream=True),
    Entry("lines", Lines, port=43_007, is_stream=True),
    # The same port as the other form would be usual, but both may be wanted at once.
    Entry("lines-json", JsonLines, port=43_008, is_stream=True),
)
# Has requests of HTTP besides, at paths of their own.
REST = "openai"
NAMES = tuple(dict.fromkeys(entry.name for entry in ENTRIES))
# The usual ports of those that have one of their own.
PORTS = {entry.name: entry.port for entry in ENTRIES if entry.port}
# Those without a port of their own open no door that was not open before.
DEFAULT_NAMES = tuple(name for name in NAMES if all(each.port is None for each in ENTRIES if each.name == name))


def entry_with_port(name: str) -> Entry:
    """Return what is spoken at the dialect's own port. Raises StopIteration when it has none."""
    return next(entry for entry in ENTRIES if entry.name == name and entry.port)
