"""A real headless Chromium, for the tests of the page; they are skipped where it cannot be had."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import streaming

WEB = Path(streaming.__file__).parent / "web"

pytest.importorskip("playwright", reason="needs playwright: pip install playwright")


@contextmanager
def browser(heard: Path | None = None) -> Iterator[Any]:
    """Start it, or skip the test; heard: the WAV file that its microphone hears, once, from when it is opened."""
    from scripts.chromium import chromium, chromium_path

    path = chromium_path()
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with chromium(path, heard) as started:
        yield started


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@contextmanager
def open_web() -> Iterator[Any]:
    """Open the page where there is no server behind it, for what its modules do by themselves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=WEB))
    threading.Thread(target=server.serve_forever).start()
    try:
        with browser() as started:
            # Playwright waits by eval, and tests talk to servers of their own, which the page forbids.
            opened = started.new_page(bypass_csp=True)
            opened.goto(f"http://127.0.0.1:{server.server_port}/")
            yield opened
    finally:
        server.shutdown()
        server.server_close()
