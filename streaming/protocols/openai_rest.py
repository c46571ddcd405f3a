"""OpenAI's REST dialect for recordings: what is answered to a form. No I/O, no clock.

Source: the types of the package `openai`, and what the service answers.
"""

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simul_whisper import Word, language_names
from streaming.events import Ended, Event, Language, Recognised
from streaming.output.breaks import continues_word
from streaming.output.formats import Format, open_format
from streaming.output.texts import Lines, TextReader
from streaming.protocols.dialect import Served
from streaming.protocols.openai_errors import check_model
from streaming.protocols.openai_form import Asked

JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_CONTENT_TYPES = {"json": JSON, "text": _PLAIN, "srt": _PLAIN, "verbose_json": JSON, "vtt": "text/vtt; charset=utf-8"}
_LEAST_PROBABILITY = 1e-10


# Models


def models_body(served: Served, created_s: int) -> str:
    """Return the models that are served, by all their names. created_s: in seconds since 1970."""
    return json.dumps({"object": "list", "data": [_model(served, name, created_s) for name in served.names]})


def model_body(served: Served, name: str, created_s: int) -> str:
    """Raises RequestError for a model that is not served."""
    check_model(served, name)
    return json.dumps(_model(served, name, created_s))


def _model(served: Served, name: str, created_s: int) -> dict[str, Any]:
    """Return a model as the service does; where there are several, with the state of each."""
    told = {"id": name, "object": "model", "created": created_s, "owned_by": "simul-whisper"}
    state = next((each.state for each in served.models if each.name == name), None)
    return {**told, "state": state} if state else told


class Answer:
    """Takes the events of a session in order; `body` is what is answered after the last one.

    language: what is decoded where nothing else is asked for; a code, or auto.
    """

    def __init__(self, asked: Asked, language: str) -> None:
        self._asked = asked
        self._words = list[Word]()
        self._segments = list[tuple[Word, ...]]()
        self._deltas = list[str]()
        known = asked.language or language
        self._language = "" if known == "auto" else known
        self._reader, self._lines = TextReader(asked.text), Lines(asked.text)
        self._captions: Format | None = None
        if asked.form in ("srt", "vtt"):
            self._captions = open_format(asked.form, texts=(asked.text,))
        self._written = list[str]()
        self._audio_s = 0.0
        self.content_type = _CONTENT_TYPES[asked.form]

    def tell(self, event: Event) -> str:
        """Return what a stream of events tells at once, which may be nothing. The deltas, joined, are the text."""
        if isinstance(event, Recognised | Ended):
            self._audio_s = event.audio_s
        elif isinstance(event, Language) and self._asked.language in ("", "auto"):
            self._language = event.language
        if self._captions:
            self._written.append(self._captions.feed(event))
        self._segments += self._lines.feed(event)
        words = self._reader.read(event).words
        self._words += words
        delta = "".join(word.text for word in words)
        delta = delta if self._deltas else delta.lstrip()
        if not delta:
            return ""
        self._deltas.append(delta)
        return _event({"type": "transcript.text.delta", "delta": delta, **self._logprobs(words)})

    def last_events(self) -> str:
        """Return how a stream of events ends."""
        done = {"type": "transcript.text.done", "text": self._text, **self._logprobs(self._words)}
        return _event(done) + "data: [DONE]\n\n"

    def body(self) -> str:
        if self._captions:
            return "".join(self._written) + self._captions.end()
        if self._asked.form == "text":
            return f"{self._text.rstrip()}\n"
        told: dict[str, Any] = {"text": self._text.rstrip()}
        if self._asked.form == "verbose_json":
            name = language_names([self._language])[self._language].lower() if self._language else ""
            told |= {"task": "translate" if self._asked.is_translation else "transcribe"}
            told |= {"language": name, "duration": round(self._audio_s, 3), **self._times()}
        else:
            told |= self._logprobs(self._words)
        return json.dumps(told | {"usage": {"type": "duration", "seconds": round(self._audio_s, 3)}})

    @property
    def _text(self) -> str:
        return "".join(self._deltas)

    def _times(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if "segment" in self._asked.granularities:
            segments = [*self._segments, *self._lines.end()]
            told["segments"] = [_segment(number, words) for number, words in enumerate(segments)]
        if "word" in self._asked.granularities:
            told["words"] = _words(self._words)
        return told

    def _logprobs(self, words: Iterable[Word]) -> dict[str, Any]:
        return {"logprobs": [_logprob_of(word) for word in words]} if self._asked.has_logprobs else {}


def _event(told: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(told)}\n\n"


def _words(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Return words with the punctuation that came after them."""
    told = list[dict[str, Any]]()
    for word in words:
        text = word.text.strip()
        if text and told and continues_word(word.text, told[-1]["word"]):
            told[-1] |= {"word": told[-1]["word"] + text, "end": round(word.end_s, 3)}
        elif text:
            told.append({"word": text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)})
    return told


def _segment(number: int, words: Sequence[Word]) -> dict[str, Any]:
    """Return a sentence. What Whisper has of 30 s at a time, and we have not, is there because clients need it."""
    text = "".join(word.text for word in words)
    data = text.encode("utf-8", "replace")
    return {
        "id": number,
        "seek": 0,
        "start": round(words[0].start_s, 3),
        "end": round(words[-1].end_s, 3),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(map(_logprob, words)) / len(words), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": 0.0,
    }


def _logprob(word: Word) -> float:
    return math.log(max(word.probability, _LEAST_PROBABILITY))


def _logprob_of(word: Word) -> dict[str, Any]:
    told = {"token": word.text, "logprob": round(_logprob(word), 4)}
    return told | {"bytes": list(word.text.encode("utf-8", "replace"))}
