"""A real headless Chromium, for the tests of the page; they are skipped where it cannot be had."""

import os
import shutil
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

# As root, which is how containers run, Chromium refuses to start with its sandbox.
_FLAGS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
_NAMES = ("chromium", "chromium-browser", "google-chrome")

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")


def chromium() -> str:
    """Return its path; skip the test where there is none."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@contextmanager
def browser(heard: Path | None = None) -> Iterator[Any]:
    """Start it; heard: the WAV file that its microphone hears, once, from when it is opened."""
    flags = list(_FLAGS)
    if heard:
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags += [f"--use-file-for-fake-audio-capture={heard}%noloop"]
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield started
        finally:
            started.close()


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
