"""A real headless Chromium, whose microphone may hear a recording: for tests of the page, and for pictures of it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

# As root, which is how containers run, Chromium refuses to start with its sandbox.
_FLAGS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    """Return where the system has one; None where it has none."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


@contextmanager
def chromium(path: str, heard: Path | None = None) -> Iterator[Any]:
    """Start it; heard: the WAV file that its microphone hears, once, from when it is opened."""
    flags = list(_FLAGS)
    if heard:
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags += [f"--use-file-for-fake-audio-capture={heard}%noloop"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield started
        finally:
            started.close()
