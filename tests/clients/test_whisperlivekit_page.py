"""WhisperLiveKit's own page in a browser that hears a recording: its recorder's containers, and its raw audio."""

import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streaming.server.access import Access
from streaming.server.dialects import Dialects
from tests.streaming.serving import PATIENCE_S, serving
from tests.streaming.web.browser import browser
from tests.tones import speech_of

_PACKAGE = importlib.util.find_spec("whisperlivekit")
_FOLDERS = _PACKAGE.submodule_search_locations if _PACKAGE else None
if not _FOLDERS:
    pytest.skip("needs whisperlivekit: pip install --no-deps whisperlivekit", allow_module_level=True)
WEB = Path(_FOLDERS[0]) / "web"
# Tones that are still heard as the same words when they are 1 % higher: the page rounds when it goes to 16 kHz.
SPEECH = speech_of([3, 5, 4, 2, 5], lead_samples=16_000)


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/web"))


@contextmanager
def pages() -> Iterator[str]:
    """Serve the page's files, as its own server does; yield where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=WEB))
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("query", ["", pytest.param("?pcm_input=true", marks=pytest.mark.long)])
def test_the_page_shows_what_is_said(tmp_path: Path, query: str) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.append(SPEECH.samples, np.zeros(16_000 * 30, np.float32)), 16_000, "PCM_16")
    with pages() as origin, browser(path) as started:
        access = Access(origins=(origin,))
        with serving(access=access, dialects=Dialects(("whisperlivekit",))) as served:
            page = started.new_page()
            page.set_default_timeout(PATIENCE_S * 1000)
            page.goto(f"{origin}/live_transcription.html")
            page.click("#settingsToggle")
            page.fill("#websocketInput", f"ws://127.0.0.1:{served.port}/asr{query}")
            page.dispatch_event("#websocketInput", "change")
            page.click("#recordButton")
            all_shown = "document.querySelector('#linesTranscript').innerText.replace(/\\s+/g, ' ').includes('{}')"
            page.wait_for_function(all_shown.format(SPEECH.text.strip()))
            page.click("#recordButton")
            page.wait_for_function("document.querySelector('#status').innerText.startsWith('Finished')")
            shown = page.inner_text("#linesTranscript")
            assert SPEECH.text.strip() in re.sub(r"\s+", " ", shown)
