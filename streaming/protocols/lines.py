"""Lines over TCP: raw s16le at 16 kHz from the first byte, answered by a line for each piece of text.

Two forms: whisper_streaming's `BEGIN END TEXT`, in milliseconds of the stream, and SimulStreaming's JSON, in seconds,
which tells each word and the end of an utterance. Source: the servers of whisper_streaming and SimulStreaming.
"""

import json
from typing import Any

from streaming.events import Event, Failed, Recognised, SpeechEnded, Words
from streaming.protocols.dialect import Audio, Command, Dialect, Hangup, Message, Open, Reply
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat


class Lines(Dialect):
    """`BEGIN END TEXT`: spans do not overlap, and no word is told twice. A connection is a session.

    The text is what stands after the second space: with the space of its own that a word begins with, so that the texts
    of all lines, joined, are the transcript.
    """

    _is_open = False
    _told_ms = 0

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        assert isinstance(message, bytes)
        opening: list[Command] = [] if self._is_open else [Open(SessionRequest(PcmFormat(), drafts=False))]
        self._is_open = True
        return [*opening, Audio(message)]

    def tell(self, event: Event, at_s: float) -> list[Reply]:
        if isinstance(event, Failed):
            return self.refuse(Refusal(event.reason, event.message))
        return [f"{line}\n" for line in self._lines(event, at_s)]

    def refuse(self, refusal: Refusal) -> list[Reply]:
        """A line that no reader takes for text, since it begins with no time."""
        return [f"error: {refusal}\n", Hangup()]

    def _lines(self, event: Event, at_s: float) -> list[str]:  # noqa: ARG002
        if not isinstance(event, Words):
            return []
        begin_ms = max(self._told_ms, round(event.words[0].start_s * 1000))
        self._told_ms = max(begin_ms, round(event.words[-1].end_s * 1000))
        text = event.text.replace("\r", " ").replace("\n", " ")
        return [f"{begin_ms} {self._told_ms} {text}"]


class JsonLines(Lines):
    """`{"start", "end", "text", "words", "is_final", "emission_time"}`, in seconds.

    After the last words of an utterance comes `{"is_final": true, "emission_time"}` by itself: words are not kept back
    until it is known that they are the last.
    """

    # Whether words were told after the last end of an utterance.
    _is_within = False

    def refuse(self, refusal: Refusal) -> list[Reply]:
        return [json.dumps({"error": str(refusal), "code": refusal.reason.value}) + "\n", Hangup()]

    def _lines(self, event: Event, at_s: float) -> list[str]:
        emitted = {"emission_time": round(at_s, 3)}
        if isinstance(event, Words):
            self._is_within = True
            return [json.dumps({**_told(event), "is_final": False, **emitted})]
        if isinstance(event, SpeechEnded) or (isinstance(event, Recognised) and self._is_within):
            self._is_within = False
            return [json.dumps({"is_final": True, **emitted})]
        return []


def _told(event: Words) -> dict[str, Any]:
    words = [{"start": round(w.start_s, 3), "end": round(w.end_s, 3), "text": w.text} for w in event.words]
    return {"start": words[0]["start"], "end": words[-1]["end"], "text": event.text, "words": words}
