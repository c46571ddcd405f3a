"""whisper_streaming's lines over TCP: raw s16le at 16 kHz from the first byte, answered by a line for each text.

A line is `BEGIN END TEXT`, in milliseconds of the stream. Source: the servers of whisper_streaming and SimulStreaming.
"""

from streaming.events import Event, Failed, Words
from streaming.protocols.dialect import Audio, Command, Dialect, Hangup, Message, Open, Reply
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat


class Lines(Dialect):
    """A connection is a session. No word is told twice, and none changes."""

    _is_open = False

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        assert isinstance(message, bytes)
        opening: list[Command] = [] if self._is_open else [Open(SessionRequest(PcmFormat(), drafts=False))]
        self._is_open = True
        return [*opening, Audio(message)]

    def tell(self, event: Event, at_s: float) -> list[Reply]:  # noqa: ARG002
        if isinstance(event, Failed):
            return self.refuse(Refusal(event.reason, event.message))
        if not isinstance(event, Words):
            return []
        begin_ms, end_ms = event.words[0].start_s * 1000, event.words[-1].end_s * 1000
        return [f"{begin_ms:1.0f} {end_ms:1.0f} {event.text.strip()}\n"]

    def refuse(self, refusal: Refusal) -> list[Reply]:
        """A line that no reader takes for text, since it begins with no time."""
        return [f"error: {refusal}\n", Hangup()]
