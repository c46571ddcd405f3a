"""The pictures of the README: captions on the page, and in a terminal.

python scripts/pictures.py [--model base] [--only page|terminal]

It needs the extras cpu, embedded, live and dev, and Chromium. A server, a browser and a session hear a recording of
demos/, and what they show in the middle of it is written to docs/pictures/.
"""

import argparse
import io
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.live import Live

from scripts.chromium import chromium, chromium_path
from scripts.own_server import OwnServer
from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, load_model
from streaming.audio.files import chunked, read_audio
from streaming.events import Draft
from streaming.output.terminal import ScreenCaptions
from streaming.sessions.session import Session

ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "demos" / "recordings" / "lighthouse.flac"
PICTURES = ROOT / "docs" / "pictures"
PIECE_SAMPLES = SAMPLE_RATE // 10
PAGE_PX = {"width": 900, "height": 560}
TERMINAL_COLUMNS = 84
# From then on there is something to see; a picture is taken when something is being decided.
PAGE_FROM_S, TERMINAL_FROM_S = 17, 28
PATIENCE_MS = 60_000


def page_picture(model: str) -> bytes:
    """Return a PNG of the page while somebody speaks."""
    path = chromium_path()
    if path is None:
        sys.exit("no Chromium was found; install it with: apt-get install chromium")
    server = OwnServer(["--model", model])
    try:
        with tempfile.TemporaryDirectory() as folder:
            heard = Path(folder) / "heard.wav"
            soundfile.write(heard, read_audio(RECORDING), SAMPLE_RATE, subtype="PCM_16")
            with chromium(path, heard) as browser:
                page = browser.new_page(viewport=PAGE_PX, color_scheme="light")
                page.goto(server.url.replace("ws:", "http:"))
                return _taken_while_words_appear(page)
    finally:
        server.kill()


def _taken_while_words_appear(page: Any) -> bytes:
    page.locator("[name=language] option[value=en]").wait_for(state="attached")
    page.click("#start")
    page.mouse.move(0, 0)
    page.locator("#time", has_text=re.compile(rf"0:({PAGE_FROM_S}|[2-5]\d)")).wait_for(timeout=PATIENCE_MS)
    draft = page.locator(".draft", has_text=re.compile(r"\w{2}")).last
    while True:
        draft.wait_for(timeout=PATIENCE_MS)
        before = page.inner_text("#text")
        taken: bytes = page.screenshot()
        if page.inner_text("#text") == before:
            return taken


def terminal_picture(model: Model, samples: NDArray[np.float32], from_s: float = TERMINAL_FROM_S) -> str:
    """Return an SVG of what `simul-whisper listen` shows after `from_s` seconds, as soon as there is a draft.

    samples: float32 (n,) mono 16 kHz. What the session computes takes its time here as it does before a microphone.
    """
    console = Console(record=True, width=TERMINAL_COLUMNS, file=io.StringIO(), force_terminal=True)
    # Never started, it draws nothing; what it would draw is printed once, at the end.
    live = Live(console=console, auto_refresh=False, transient=True)
    session, now_s, n_heard = Session(AlignAttConfig(language="en"), model), 0.0, 0
    captions = ScreenCaptions(live, lambda: now_s, "en")
    for n, piece in enumerate(chunked([samples], PIECE_SAMPLES), start=1):
        began, now_s = time.perf_counter(), max(now_s, n * PIECE_SAMPLES / SAMPLE_RATE)
        events = session.feed(piece)
        now_s += time.perf_counter() - began
        captions.hear(samples[n_heard : (n_heard := round(now_s * SAMPLE_RATE))])
        for event in events:
            captions.show(event)
        if now_s > from_s and any(isinstance(event, Draft) and re.search(r"\w{2}", event.text) for event in events):
            break
    console.print(live.get_renderable())
    return console.export_svg(title="simul-whisper listen", code_format=_without_fonts(CONSOLE_SVG_FORMAT))


def _without_fonts(svg: str) -> str:
    """A picture asks nobody else for a font; any monospaced one will do."""
    return re.sub(r"@font-face \{\{.*?\}\}\s*", "", svg, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="base", help="whose words are shown (default: base)")
    parser.add_argument("--only", choices=("page", "terminal"), help="make this picture alone")
    options = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if options.only != "terminal":
        (PICTURES / "page.png").write_bytes(page_picture(options.model))
    if options.only != "page":
        model = load_model(AlignAttConfig(model_name=options.model))
        (PICTURES / "terminal.svg").write_text(terminal_picture(model, read_audio(RECORDING)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
