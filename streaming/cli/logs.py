"""What a server tells the one who runs it: lines that no client can break, forge or put a token into."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A token may have spaces, which an address writes as %20: in a header it goes on to the end of the line.
_TOKEN = re.compile(r"(bearer |token=)((?<=bearer ).*|\"[^\"]*\"|'[^']*'|[^\s&]+)", re.IGNORECASE)


class OneLine(logging.Formatter):
    """Writes control characters as escapes; a traceback stands indented below its line."""

    def __init__(self) -> None:
        super().__init__("simul-whisper: %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        first = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})
        lines = [super().format(first)]
        if record.exc_info:
            lines += [f"    {line}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(_harmless(line) for line in lines)


def _harmless(line: str) -> str:
    shown = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], line)
    return _TOKEN.sub(r"\1...", shown)


@contextmanager
def server_log() -> Iterator[None]:
    """Write warnings and errors of all that runs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
