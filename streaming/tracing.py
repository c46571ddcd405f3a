"""Whose work is being done: what records of the log belong to, and spans, where somebody collects them.

Threads and tasks say so for themselves. Text and tokens have no place here.
"""

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

Attributes = Mapping[str, str | int | float | bool]


class Spans(Protocol):
    """What makes spans of what is done. A span is whatever `begin` returns."""

    def begin(self, name: str, attributes: Attributes) -> Any:
        """Begin a span that has no parent."""
        ...

    def add(self, parent: Any, name: str, took_s: float, attributes: Attributes) -> None:
        """Add a span below another: of what has ended now, and took so long."""
        ...

    def end(self, span: Any, attributes: Attributes, *, has_failed: bool) -> None: ...


# Set once, before anything is done.
_spans: Spans | None = None


class Trace:
    """A session, or a connection that has none yet.

    session: a name for logs, which opens nothing. dialect: what its client speaks; client: the name of its token.
    """

    def __init__(self, dialect: str = "", client: str = "", session: str = "") -> None:
        self.session, self.dialect, self.client = session, dialect, client
        self._span: Any = None

    @property
    def attributes(self) -> dict[str, str]:
        """What is known of it, by name."""
        named = {"session": self.session, "dialect": self.dialect, "client": self.client}
        return {name: value for name, value in named.items() if value}

    def begin(self, attributes: Attributes) -> None:
        """The session has begun."""
        if _spans:
            self._span = _spans.begin("session", {**self.attributes, **attributes})

    def add(self, name: str, took_s: float, **attributes: str | float | bool) -> None:
        """Something was done for the session; it has ended now, and took so long."""
        if _spans and self._span is not None:
            _spans.add(self._span, name, took_s, attributes)

    def end(self, attributes: Attributes, *, has_failed: bool) -> None:
        if _spans and self._span is not None:
            _spans.end(self._span, attributes, has_failed=has_failed)


def new_session() -> Trace:
    """Return the trace of a session that is being made."""
    return Trace(session=secrets.token_hex(4))


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def enter(trace: Trace) -> None:
    """Work for it until this thread or task ends."""
    _current.set(trace)


@contextmanager
def working_for(trace: Trace) -> Iterator[None]:
    before = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(before)


def current() -> Trace:
    """Return what this thread or task works for; one of nobody's where it has not said."""
    return _current.get() or Trace()


def add_span(name: str, took_s: float, **attributes: str | float | bool) -> None:
    """As `Trace.add`, for what this thread or task works for."""
    if _spans:
        current().add(name, took_s, **attributes)


def add_refusal(reason: str) -> None:
    """Somebody who came was not let in, or got no session."""
    if _spans:
        span = _spans.begin("refusal", {**current().attributes, "reason": reason})
        _spans.end(span, {}, has_failed=False)


def collect_with(spans: Spans | None) -> None:
    """Have spans made of all sessions that begin from now on; None: of none."""
    global _spans
    _spans = spans


class BelongingFilter(logging.Filter):
    """Notes in each record what it belongs to. For handlers: those of loggers miss what their children say."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in current().attributes.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
