"""An OpenAI-compatible endpoint: one question, and its answer as it comes, within a time and a size."""

import json
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from simul_whisper.errors import TranslationError
from simul_whisper.foreign_files import one_line, parse_json
from simul_whisper.translators.address import Address
from simul_whisper.translators.connections import Connections, Deadline, Response

_MOST_BYTES = 1 << 20
_MOST_LINE_BYTES = 1 << 16
_MOST_LINES = 20_000
_MOST_ERROR_BYTES = 1 << 14
# What is told of the models that an endpoint has.
_MOST_MODELS = 12
_LONGEST_REASON = 300
_DEEPEST_MESSAGE = 3
_LONGEST_WAIT_S = 60.0
# For the end of a body whose answer is over.
_END_S = 0.2


class Endpoint:
    """address: where it is. key: what it asks for, or "". timeout_s: for a whole answer. For any thread."""

    def __init__(self, address: Address, key: str, timeout_s: float) -> None:
        self._address = address
        self._key = key
        self._timeout_s = timeout_s
        self._connections = Connections(address)
        self._not_before = 0.0

    def answer(self, question: Mapping[str, Any]) -> Generator[str, None, None]:
        """Yield the pieces of an answer as they come; whoever has enough may stop. Raises TranslationError."""
        deadline = Deadline(self._timeout_s)
        with self._errors():
            wait_s = self._not_before - time.monotonic()
            if wait_s > 0:
                raise TranslationError(f"has too much to do, and is not asked for another {wait_s:.0f} s")
            with self._exchange("POST", "/chat/completions", json.dumps(question).encode(), deadline) as response:
                if response.status == 200:
                    lines = _lines(response)
                    yield from _pieces(lines)
                    _finish(lines, deadline)
                    return
                reason = self._reason(response)
            has = self._models(deadline) if response.status == 404 else []
            raise TranslationError(f"{reason}; it has {', '.join(has)}" if has else reason)

    def models(self) -> list[str]:
        """Return the names of its models, or of some; none when it does not tell."""
        return self._models(Deadline(self._timeout_s))

    def _models(self, deadline: Deadline) -> list[str]:
        with suppress(ValueError, TranslationError), self._exchange("GET", "/models", b"", deadline) as response:
            listed = parse_json(b"".join(_lines(response))) if response.status == 200 else {}
            found = listed.get("data") if isinstance(listed, dict) else None
            entries = found if isinstance(found, list) else []
            names = [each.get("id") for each in entries if isinstance(each, dict)]
            return [one_line(name) for name in names if isinstance(name, str)][:_MOST_MODELS]
        return []

    def _exchange(self, method: str, path: str, content: bytes, deadline: Deadline) -> AbstractContextManager[Response]:
        headers = {
            "Accept": "text/event-stream, application/json",
            # What a few bytes may expand to cannot be bounded well.
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "simul-whisper",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return self._connections.exchange(method, path, headers, content, deadline)

    def _reason(self, response: Response) -> str:
        """What a response that is no answer says, in our words."""
        status, said = response.status, _message(_json_of(response))
        said = f": {said}" if said else ""
        if status in (401, 403):
            return (
                f"refuses the key in OPENAI_API_KEY{said}" if self._key else f"asks for a key in OPENAI_API_KEY{said}"
            )
        if status == 404:
            return f"has no such model, or is no such endpoint, which most often ends in /v1{said}"
        if status == 429:
            return f"has too much to do{self._asked_to_wait(response)}{said}"
        if 300 <= status < 400:
            there = one_line(response.headers.get("location", "?"))
            return f"says that it is at {there} now, and is not followed: give that url if you trust it"
        return f"failed with status {status}{said}"

    def _asked_to_wait(self, response: Response) -> str:
        asked = response.headers.get("retry-after", "")
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            return ""
        self._not_before = time.monotonic() + min(float(asked), _LONGEST_WAIT_S)
        return f", and asks to wait {int(asked)} s"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in our words, and with the address in front, what goes wrong within."""
        try:
            yield
        except TranslationError as error:
            # A server may say the key again.
            what = str(error).replace(self._key, "***") if self._key else str(error)
            raise TranslationError(f"{self._address} {one_line(what, _LONGEST_REASON)}") from error.__cause__


def _pieces(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield what an answer says: of server-sent events, or of one JSON value from a server that does not stream."""
    is_over = False
    for event in _events(lines):
        if event is None:
            return
        if event.get("error"):
            raise TranslationError(f"failed: {_message(event)}")
        choices = event.get("choices")
        for choice in (choices if isinstance(choices, list) else [])[:1]:
            yield _content(choice)
            is_over = is_over or _is_over(choice)
    if not is_over:
        raise TranslationError("ended its answer in the middle")


def _finish(lines: Iterable[bytes], deadline: Deadline) -> None:
    """Read what stands after an answer, without which its connection is not used again; not for long."""
    deadline.bring_forward(_END_S)
    with suppress(TranslationError):
        for _ in lines:
            pass


def _lines(response: Response) -> Iterator[bytes]:
    """Yield the lines of a body as they come, without their ends."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise TranslationError(f"answers in {one_line(encoding)}, expected no compression")
    rest, n_bytes, n_lines = b"", 0, 0
    for piece in response.pieces:
        n_bytes += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        n_lines += len(lines)
        if len(rest) > _MOST_LINE_BYTES or n_bytes > _MOST_BYTES or n_lines > _MOST_LINES:
            raise TranslationError("says more than an answer can be")
        yield from lines
    yield rest


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield the values of server-sent events, or the one value of a body that is JSON; None at their end."""
    whole = b""
    for line in lines:
        text = line.strip()
        if whole or text.startswith((b"{", b"<", b"[")):
            whole += line
        elif text.removeprefix(b"data:").strip() == b"[DONE]":
            yield None
            return
        elif text.startswith(b"data:"):
            yield _value(text.removeprefix(b"data:"))
        # The rest are comments, which keep a connection open, and fields of events that are not needed.
    if whole.lstrip().startswith(b"<"):
        raise TranslationError(
            "answers with a web page, expected JSON; is it an endpoint, which most often ends in /v1?"
        )
    if whole:
        yield _value(whole)
        yield None


def _value(text: bytes) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise TranslationError(f"answers what is no JSON ({one_line(error)})") from error
    if not isinstance(value, dict):
        raise TranslationError("answers with JSON of another kind than a chat completion")
    return value


def _content(choice: object) -> str:
    """The text in a choice, which is whole in `message` and a piece in `delta`."""
    held = choice.get("delta") or choice.get("message") if isinstance(choice, dict) else None
    content = held.get("content") if isinstance(held, dict) else None
    return content if isinstance(content, str) else ""


def _is_over(choice: object) -> bool:
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if reason in ("length", "content_filter"):
        raise TranslationError(f"did not end its answer ({reason})")
    return reason is not None


def _json_of(response: Response) -> object:
    """Return what a response says that is no answer; None for what is no JSON, or too long."""
    body = b""
    for piece in response.pieces:
        body += piece
        if len(body) > _MOST_ERROR_BYTES:
            return None
    with suppress(ValueError):
        return parse_json(body)
    return None


def _message(value: object) -> str:
    """Return the message in what an error says; "" when there is none."""
    for _ in range(_DEEPEST_MESSAGE):
        named = (
            [value[name] for name in ("error", "message", "detail") if name in value] if isinstance(value, dict) else []
        )
        value = named[0] if named else value
    return value.strip() if isinstance(value, str) else ""
