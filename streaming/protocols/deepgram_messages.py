"""What is told to a client of Deepgram's live API, in the shapes of its types. Pure."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from simul_whisper import Word
from streaming.events import Reason
from streaming.output.breaks import continues_word
from streaming.protocols.dialect import Denial, Handshake, Served, retry_headers
from streaming.sessions.request import Refusal

# All channels are heard as one: the first of one.
_CHANNEL = [0, 1]
_STATUSES = {
    Reason.UNAUTHORIZED: 401,
    Reason.HOST: 403,
    Reason.ORIGIN: 403,
    Reason.TOO_MANY_CONNECTIONS: 429,
    Reason.TOO_MANY_SESSIONS: 429,
    Reason.NOT_READY: 503,
}
_CODES = {400: "Bad Request", 401: "INVALID_AUTH", 403: "FORBIDDEN", 429: "TOO_MANY_REQUESTS", 503: "UNAVAILABLE"}
_LONGEST_HEADER = 300
_EDGES = re.compile(r"^\W+|\W+$")


@dataclass
class Span:
    """Words, and what a Results says of them. start_s, end_s: what is told of; is_flushed: a Finalize is answered."""

    words: Sequence[Word]
    start_s: float = 0.0
    end_s: float = 0.0
    is_final: bool = False
    is_last: bool = False
    is_flushed: bool = False


class Messages:
    """All of one connection, which has a name of its own in them; so has the model."""

    def __init__(self, handshake: Handshake, served: Served) -> None:
        self._at_s, self._request_id = handshake.at_s, str(uuid5(NAMESPACE_OID, handshake.connection))
        self._version = served.version
        self.name_model(served.model)

    def name_model(self, name: str) -> None:
        """Say what is told of the model that listens."""
        self._model_id = str(uuid5(NAMESPACE_OID, name))
        self._model = {"name": name, "version": self._version, "arch": "whisper"}

    def results(self, span: Span, languages: Sequence[str]) -> str:
        """languages: those detected; none where the client has named one."""
        words = span.words
        alternative: dict[str, Any] = {
            "transcript": "".join(word.text for word in words).strip(),
            "confidence": _rounded(sum(word.probability for word in words) / max(1, len(words))),
            **({"languages": languages} if languages else {}),
            "words": _told_words(words),
        }
        return _json(
            type="Results",
            channel_index=_CHANNEL,
            duration=_rounded(span.end_s - span.start_s),
            start=_rounded(span.start_s),
            is_final=span.is_final,
            speech_final=span.is_last,
            channel={"alternatives": [alternative]},
            metadata={"request_id": self._request_id, "model_info": self._model, "model_uuid": self._model_id},
            from_finalize=span.is_flushed,
        )

    def speech_started(self, at_s: float) -> str:
        return _json(type="SpeechStarted", channel=_CHANNEL, timestamp=_rounded(at_s))

    def utterance_end(self, last_word_end_s: float) -> str:
        return _json(type="UtteranceEnd", channel=_CHANNEL, last_word_end=_rounded(last_word_end_s))

    def metadata(self, audio_s: float, sha256: str) -> str:
        """sha256: of all audio that came."""
        created = datetime.fromtimestamp(self._at_s, timezone.utc).isoformat(timespec="milliseconds")
        return _json(
            type="Metadata",
            transaction_key="deprecated",
            request_id=self._request_id,
            sha256=sha256,
            created=created.replace("+00:00", "Z"),
            duration=_rounded(audio_s),
            channels=1,
            models=[self._model_id],
            model_info={self._model_id: self._model},
        )

    def configure_failure(self, *, has_terms: bool) -> str:
        code = "CONFIGURE_KEYTERMS_NOT_SUPPORTED" if has_terms else "CONFIGURE_INTERNAL_ERROR"
        why = "nothing can be changed in the middle of a stream; connect anew with other parameters"
        return _json(type="ConfigureFailure", request_id=self._request_id, code=code, description=why)

    def error(self, variant: str, description: str) -> str:
        return _json(type="Error", variant=variant, description=description)

    def denial(self, refusal: Refusal) -> Denial:
        """Clients that cannot read the body may still read why in a header."""
        status, why = _STATUSES.get(refusal.reason, 400), str(refusal)
        body = {"err_code": _CODES[status], "err_msg": why, "request_id": self._request_id}
        header = ascii(why)[1:-1][:_LONGEST_HEADER]
        headers = {"Content-Type": "application/json", "dg-request-id": self._request_id, "dg-error": header}
        headers |= retry_headers(refusal)
        return Denial(status, json.dumps(body), headers)


def _told_words(words: Sequence[Word]) -> list[dict[str, Any]]:
    """Write words as Deepgram does: punctuation, and what else is decided later, belongs to the word before it."""
    told = list[dict[str, Any]]()
    for word in words:
        text = word.text.strip()
        plain = _EDGES.sub("", text).lower()
        before = told[-1]["punctuated_word"] if told else ""
        if told and plain and continues_word(word.text, before):
            whole = before + text
            told[-1] |= {"word": _EDGES.sub("", whole).lower(), "end": _rounded(word.end_s), "punctuated_word": whole}
        elif told and not plain and not word.text.startswith(" "):
            told[-1]["punctuated_word"] += text
        else:
            times = {"start": _rounded(word.start_s), "end": _rounded(word.end_s)}
            confidence = _rounded(word.probability)
            told.append({"word": plain or text, **times, "confidence": confidence, "punctuated_word": text})
    return told


def _rounded(value: float) -> float:
    return round(value, 3)


def _json(**message: Any) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
