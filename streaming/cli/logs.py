"""What a server tells the one who runs it: lines that no client can break, forge or put a token into.

As text, or as one object of JSON a line, which then all that is written to standard error becomes.
"""

import argparse
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import datetime, timezone
from typing import TextIO

from simul_whisper import SimulWhisperError
from streaming.tracing import BelongingFilter

TEXT, JSON = "text", "json"
# Below info stands what was said.
_LEVELS = ("error", "warning", "info")
_PROGRAM = "simul-whisper"
# What sessions, and nobody else, are told about; their loggers alone follow --log-level below warning.
_OURS = "streaming"
_USAGE_ERROR = 2
# What a record may say besides its message. There is nothing else, whatever a logger may add.
_FIELDS = "session dialect client model language targets reason audio_s compute_s words".split()
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A token may have spaces, which an address writes as %20: in a header it goes on to the end of the line.
_TOKEN = re.compile(r"(bearer |token=)((?<=bearer ).*|\"[^\"]*\"|'[^']*'|[^\s&]+)", re.IGNORECASE)


class OneLine(logging.Formatter):
    """Writes control characters as escapes; a traceback stands indented below its line."""

    def __init__(self) -> None:
        super().__init__("simul-whisper: %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        lines = [super().format(_without_traceback(record))]
        if record.exc_info:
            lines += [f"    {line}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(_harmless(line) for line in lines)


class OneObject(logging.Formatter):
    """Writes an object of JSON, in ASCII: ts, level, logger, message, what the record belongs to, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "ts": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _harmless(record.getMessage()),
        }
        said |= {name: vars(record)[name] for name in _FIELDS if vars(record).get(name) not in (None, "")}
        said |= {name: _harmless(value) for name, value in said.items() if isinstance(value, str)}
        if record.exc_info:
            lines = self.formatException(record.exc_info).split("\n")
            said["traceback"] = "\n".join(_harmless(line) for line in lines)
        return json.dumps(said)


class JsonLines(io.TextIOBase):
    """Standard error as JSON: each line that is printed becomes an object, whoever prints it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._formatter, self._rest = stream, OneObject(), ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._put(line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def end(self) -> None:
        """Write the line that is not ended."""
        self._put(self._rest)
        self._rest = ""

    def _put(self, line: str) -> None:
        if line.strip():
            said = line.removeprefix(f"{_PROGRAM}: ")
            record = logging.LogRecord(_PROGRAM, logging.INFO, "", 0, "%s", (said,), None)
            self._stream.write(f"{self._formatter.format(record)}\n")
            self._stream.flush()


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the log, on standard error")
    group.add_argument(
        "--log-format",
        choices=(TEXT, JSON),
        default=TEXT,
        help="json: one object a line, for programs that collect logs (default: text)",
    )
    group.add_argument(
        "--log-level",
        choices=_LEVELS,
        default="warning",
        help="info: also that sessions begin and end, and who gets none; never what is said (default: warning)",
    )


@contextmanager
def server_log(form: str = TEXT, level: str = "warning") -> Iterator[None]:
    """Write what is logged to standard error. As JSON, that is all that is written there, errors too.

    Exits where it is JSON and SimulWhisperError is raised.
    """
    stderr = sys.stderr
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(OneObject() if form == JSON else OneLine())
    handler.addFilter(BelongingFilter())
    handler.setLevel(level.upper())
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level.upper())
    try:
        if form == JSON:
            with _json_lines(stderr):
                yield
        else:
            yield
    finally:
        ours.setLevel(before)
        root.removeHandler(handler)


@contextmanager
def _json_lines(stderr: TextIO) -> Iterator[None]:
    lines = JsonLines(stderr)
    with redirect_stderr(lines):
        try:
            yield
        except SimulWhisperError as error:
            logging.getLogger(_PROGRAM).error("%s", error)
            sys.exit(_USAGE_ERROR)
        finally:
            lines.end()


def _without_traceback(record: logging.LogRecord) -> logging.LogRecord:
    return logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})


def _rfc3339(created_s: float) -> str:
    moment = datetime.fromtimestamp(created_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _harmless(line: str) -> str:
    shown = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], line)
    return _TOKEN.sub(r"\1...", shown)


def say(notice: str) -> None:
    """Tell the one who runs the server something that is no trouble."""
    print(f"{_PROGRAM}: {notice}", file=sys.stderr, flush=True)
