"""What Realtime transcription makes of audio: items, the marks that end them, and what is told of both. Pure."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from simul_whisper import Word
from streaming.protocols.openai_settings import Settings

_LEAST_PROBABILITY = 1e-9


@dataclass
class Item:
    """What is spoken between two silences, or two commits. start_s: of all audio; seconds: how long it is."""

    id: str
    start_s: float = 0.0
    seconds: float = 0.0
    texts: list[str] = field(default_factory=list)
    # Only where they are asked for.
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    languages: dict[str, None] = field(default_factory=dict)

    def add(self, words: tuple[Word, ...], *, logprobs: bool) -> dict[str, Any] | None:
        """Take words; return what a delta says of them, or None when they say nothing. An item begins with no space."""
        texts = [word.text for word in words]
        if not self.texts:
            texts[0] = texts[0].lstrip()
        if not any(texts):
            return None
        self.texts += texts
        self.languages |= {word.language: None for word in words if word.language}
        told: dict[str, Any] = {"item_id": self.id, "content_index": 0, "delta": "".join(texts)}
        if logprobs:
            told["logprobs"] = [_logprob(text, word) for text, word in zip(texts, words, strict=True)]
            self.logprobs += told["logprobs"]
        return told

    def shown(self) -> dict[str, Any]:
        """Return it as an item of the conversation."""
        content = [{"type": "input_audio", "transcript": None}]
        kind = {"object": "realtime.item", "type": "message", "role": "user"}
        return {"id": self.id, **kind, "status": "completed", "content": content}

    def completed(self) -> dict[str, Any]:
        """Return what is said of it in the end."""
        return {
            "item_id": self.id,
            "content_index": 0,
            "transcript": "".join(self.texts),
            "languages": [{"code": code} for code in self.languages],
            "usage": {"type": "duration", "seconds": round(self.seconds, 3)},
            **({"logprobs": self.logprobs} if self.logprobs else {}),
        }


@dataclass
class Mark:
    """A commit or a clear, until the audio before it is decoded.

    item: what was committed; None: voices decide that. is_done: they have. is_skipped: the audio is given up undecoded.
    """

    item: Item | None = None
    is_clear: bool = False
    is_skipped: bool = False
    is_done: bool = False


@dataclass
class Stretch:
    """A session of the engine. begin_s: of all audio of the connection, where it begins; sent_s: how much it got."""

    settings: Settings
    bytes_per_s: int
    begin_s: float
    sent_s: float = 0.0
    marks: deque[Mark] = field(default_factory=deque)

    @property
    def mark(self) -> Mark | None:
        """The one that is to come next."""
        return self.marks[0] if self.marks else None


def _logprob(text: str, word: Word) -> dict[str, Any]:
    """Probabilities of ours are of words, not of tokens."""
    logprob = math.log(max(_LEAST_PROBABILITY, word.probability))
    return {"token": text, "bytes": list(text.encode("utf-8", "replace")), "logprob": logprob}
