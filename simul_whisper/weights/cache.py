"""Where files that we make are kept, and how they appear there: whole or not at all."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def cache_home() -> Path:
    """$SIMUL_WHISPER_CACHE, or `simul-whisper` in the platform's directory of caches."""
    if chosen := os.environ.get("SIMUL_WHISPER_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "simul-whisper"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simul-whisper"


@contextmanager
def whole_file(target: Path) -> Iterator[IO[bytes]]:
    """Write to a stream that becomes `target` at the end, unless an error comes first.

    Two processes may do so at once: the last one wins, and a reader sees one of the two.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as stream:
        part = Path(stream.name)
        try:
            yield stream
        except BaseException:
            part.unlink()
            raise
    part.replace(target)
