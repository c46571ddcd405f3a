"""The page where a server speaks: the reader chooses what is heard, how loud, and is silenced at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from simul_whisper import AlignAttConfig
from streaming.events import Spoken
from streaming.protocols.sound import sound_bytes
from streaming.server.speech import Speech
from streaming.server.translations import Translations
from tests.speaking import LoudVoice, ToneVoices
from tests.streaming.serving import Served, serving
from tests.streaming.shouting import Shouting
from tests.streaming.web.browser import browser
from tests.streaming.web.test_page_translating import OUTSIDE
from tests.tones import random_words, speech_of

PATIENCE_MS = 60_000
SPEECH = speech_of(random_words(12, 1))
# What is played is noted where a browser is asked to play it.
SPY = """
  window.played = [];
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    window.played.push({ volume: this.volume, src: this.src });
    window.element = this;
    return play.call(this);
  };
"""


# The page allows nobody to evaluate text, which Playwright does where it waits for something.
UNTIL_PLAYING = """async () => {
  while (!(window.played.length && !window.element.paused)) await new Promise((done) => setTimeout(done, 20));
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    speech = Speech(voices=ToneVoices(LoudVoice(), ("en", "es")))
    translations = Translations(translator=Shouting(), first=["es"])
    config = AlignAttConfig(language="en", padding_len=1.0)
    with serving(config=config, translations=translations, speech=speech) as served:
        yield served


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    heard = tmp_path_factory.mktemp("page") / "heard.wav"
    soundfile.write(heard, SPEECH.samples, 16_000, subtype="PCM_16")
    with browser(heard) as started:
        yield started


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    opened, errors = chromium.new_page(locale="en-US"), list[str]()
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.extend([said.text] if said.type == "error" else []))
    opened.add_init_script(SPY)
    opened.goto(f"http://127.0.0.1:{served.port}/")
    opened.locator("#hearing").wait_for(timeout=5000)
    yield opened
    opened.close()
    assert errors == []


def listen_to(page: Any, name: str) -> None:
    page.locator("#hearing summary").click()
    page.locator("[name=heard]").select_option(name)
    page.keyboard.press("Escape")
    page.locator("#hearing[open]").wait_for(state="detached")


def test_a_language_is_chosen_and_heard_and_clear_silences_it(page: Any, tmp_path: Path) -> None:
    offered = page.locator("[name=heard]").locator("option").all_text_contents()
    assert offered == ["Nothing", "What is said", "English", "Spanish"]
    listen_to(page, "Spanish")
    page.locator("#hearing summary").click()
    page.locator("[name=volume]").fill("0.4")
    page.screenshot(path=tmp_path / "listen.png")
    page.keyboard.press("Escape")
    page.click("#start")
    page.locator("#text .committed").first.wait_for()
    # Tones have no sentences: what was said is spoken at its end.
    page.click("#stop")
    page.evaluate(UNTIL_PLAYING)
    assert page.evaluate("window.played[0].volume") == pytest.approx(0.4)
    assert page.evaluate("window.played[0].src").startswith("blob:")
    page.click("#clear")
    assert page.evaluate("window.element.paused")


def test_nothing_is_spoken_to_who_chose_nothing(page: Any) -> None:
    page.click("#start")
    page.locator("#text .committed").first.wait_for()
    page.click("#stop")
    page.locator("html[data-phase=idle]").wait_for()
    assert page.evaluate("window.played") == []


def test_who_is_behind_hears_it_faster_and_what_is_too_old_is_left_out(page: Any) -> None:
    script = """async () => {
      const { Player } = await import("/player.js");
      const skipped = [], element = new Audio();
      const player = new Player((seconds) => skipped.push(seconds), element);
      const sound = (seconds) => ({ pcm: new Uint8Array(2 * 8000 * seconds), rate: 8000 });
      player.play(sound(2));
      const rates = [element.playbackRate];
      player.play(sound(9));
      rates.push(element.playbackRate);
      const behind = player.behind_s;
      player.play(sound(40));
      player.stop();
      return { rates, behind: Math.round(behind), skipped, after: player.behind_s, paused: element.paused };
    }"""
    told = page.evaluate(script)
    assert told == {"rates": [1, 1.25], "behind": 11, "skipped": [9], "after": 0, "paused": True}


def test_a_sound_is_read_as_it_is_documented(page: Any) -> None:
    written = sound_bytes(7, Spoken("es", "¡Hola!", b"\1\2\3\4", 22_050, 0.5, 1.25, False, 3))
    script = """async (bytes) => {
      const { sound } = await import("/protocol.js");
      const { pcm, ...rest } = sound(new Uint8Array(bytes).buffer);
      return { ...rest, pcm: [...pcm] };
    }"""
    assert page.evaluate(script, list(written)) == {
        "type": "spoken",
        "seq": 7,
        "target": "es",
        "text": "¡Hola!",
        "rate": 22_050,
        "source_start_s": 0.5,
        "source_end_s": 1.25,
        "is_last": False,
        "utterance": 3,
        "pcm": [1, 2, 3, 4],
    }


@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#hearing summary").click()
    assert page.evaluate(OUTSIDE, width) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
