"""The page where a server translates: the reader chooses which texts are seen, while somebody speaks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from simul_whisper import AlignAttConfig, Model
from streaming.audio.files import read_audio
from streaming.server.translations import Translations
from streaming.settings import VoiceConfig
from tests.conftest import RECORDINGS
from tests.streaming.serving import Served, serving
from tests.streaming.shouting import TARGETS, Shouting
from tests.streaming.web.browser import browser

PATIENCE_MS = 60_000
CONFIG = AlignAttConfig(model_name="tiny.en", padding_len=3.0)


@pytest.fixture(scope="module")
def served(tiny: Model) -> Iterator[Served]:
    translations = Translations(translator=Shouting(), first=["es"])
    with serving(model=tiny, config=CONFIG, voice=VoiceConfig(), translations=translations) as served:
        yield served


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    heard = tmp_path_factory.mktemp("page") / "heard.wav"
    soundfile.write(heard, read_audio(RECORDINGS / "captions.flac"), 16_000, subtype="PCM_16")
    with browser(heard) as started:
        yield started


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    opened, errors = chromium.new_page(locale="en-US"), list[str]()
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(f"http://127.0.0.1:{served.port}/")
    opened.locator("#languages").wait_for()
    yield opened
    opened.close()
    assert errors == []


def choose(page: Any, *names: str) -> None:
    """Change what is chosen of these, with the keyboard's and the screen reader's names."""
    page.locator("#languages summary").click()
    for name in names:
        page.get_by_label(name, exact=True).click()
    page.keyboard.press("Escape")
    page.locator("#languages[open]").wait_for(state="detached")


def shown(page: Any) -> list[str]:
    """The titles of the texts, in order."""
    titles: list[str] = page.eval_on_selector_all(
        ".pane", "all => all.filter((each) => each.checkVisibility()).map((each) => each.firstElementChild.textContent)"
    )
    return titles


def text_of(page: Any, lang: str) -> str:
    return " ".join(page.locator(f".text[lang={lang}] p").all_inner_texts())


@pytest.mark.waits
def test_texts_are_chosen_while_somebody_speaks(page: Any) -> None:
    choose(page, "Spanish")
    # Before anything is said, the page says what it is for.
    assert shown(page) == ["What is said"]
    page.click("#start")
    page.locator(".text[lang=es] .committed").first.wait_for()
    assert shown(page) == ["What is said", "Spanish"]
    choose(page, "Arabic", "What is said")
    page.locator(".text[lang=ar] .committed").first.wait_for()
    assert shown(page) == ["Spanish", "Arabic"]
    page.locator(".text[lang=es] .committed", has_text="BACK").wait_for()
    page.click("#stop")
    page.locator("html[data-phase=idle]").wait_for()
    said, spanish, arabic = page.inner_text("#text"), text_of(page, "es"), text_of(page, "ar")
    choose(page, "What is said")
    said = page.inner_text("#text")
    assert spanish.split() == said.upper().split()
    assert spanish.endswith(arabic)
    assert len(arabic) < len(spanish)
    assert shown(page) == ["What is said", "Spanish", "Arabic"]
    # Who looks away and back again finds what was there.
    choose(page, "Spanish")
    choose(page, "Spanish")
    assert text_of(page, "es") == spanish


def test_each_text_has_its_language_direction_and_file(page: Any, tmp_path: Path) -> None:
    choose(page, "Spanish", "Arabic")
    page.click("#start")
    page.locator(".text[lang=ar] .committed").first.wait_for()
    page.click("#stop")
    page.locator("html[data-phase=idle]").wait_for()
    assert page.locator(".text[lang=ar] p").first.get_attribute("dir") == "rtl"
    assert page.locator(".text[lang=es] p").first.get_attribute("dir") == "ltr"
    assert page.locator("[role=log]").count() == 3
    assert page.get_by_role("region", name="Captions: Arabic").count() == 1
    page.get_by_label("Text to save").select_option("Spanish")
    with page.expect_download() as download:
        page.click("[data-format=vtt]")
    assert download.value.suggested_filename.endswith("-es.vtt")
    download.value.save_as(tmp_path / "es.vtt")
    saved = (tmp_path / "es.vtt").read_text("utf-8")
    assert saved.startswith("WEBVTT")
    assert text_of(page, "es").split()[0] in saved


OUTSIDE = """(width) => [...document.querySelectorAll("button, select, label, h1, h2, summary, .connection")]
  .filter((each) => each.checkVisibility())
  .filter((each) => each.getBoundingClientRect().right > width || each.getBoundingClientRect().left < 0)
  .map((each) => each.outerHTML)"""


def test_nothing_is_wider_than_the_screen_whatever_is_open(page: Any) -> None:
    choose(page, "Spanish")
    page.click("#start")
    page.locator(".text[lang=es] .committed").first.wait_for()
    for width in (320, 390, 700, 820, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.locator("#languages summary").click()
        assert page.evaluate(OUTSIDE, width) == [], width
        page.keyboard.press("Escape")
        assert page.evaluate(OUTSIDE, width) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        tops = page.eval_on_selector_all(".pane:not([hidden])", "all => all.map((each) => each.offsetTop)")
        # Side by side where there is room.
        assert (len(set(tops)) == 1) == (width >= 960), width
    page.click("#stop")


def test_the_choice_is_remembered_and_what_is_offered_first_comes_first(page: Any) -> None:
    offered = page.locator("#targets label")
    assert [each.strip() for each in offered.all_text_contents()] == ["Spanish", "Arabic", "German"]
    choose(page, "German", "What is said")
    page.reload()
    page.locator("#languages").wait_for()
    assert page.locator("[name=target]:checked").evaluate_all("all => all.map((each) => each.value)") == ["de"]
    assert not page.is_checked("[name=original]")
    page.click("#start")
    page.locator(".text[lang=de] .committed").first.wait_for()
    assert shown(page) == ["German"]
    page.click("#stop")


def test_no_more_can_be_chosen_than_the_server_allows(page: Any) -> None:
    codes = ["de", "es", "ar", "fr", "it"]
    offered = [{"code": code, "name": code} for code in codes]
    script = """async (offered) => {
      const { Choice } = await import("/choice.js");
      const choice = new Choice(document.getElementById("languages"), () => {});
      choice.offer(offered, [], 2);
      const boxes = [...document.querySelectorAll("[name=target]")];
      boxes[0].click();
      boxes[3].click();
      return [choice.targets.length, boxes.filter((each) => each.disabled).length];
    }"""
    assert page.evaluate(script, offered) == [2, 3]
    assert set(TARGETS) < set(codes)


def test_what_was_left_out_is_noted_between_paragraphs(page: Any) -> None:
    script = """async () => {
      const { Texts } = await import("/texts.js");
      const texts = new Texts(document.getElementById("texts"), document.getElementById("pane"), (code) => code);
      texts.show(["", "es"]);
      const words = (text, at_s) => [{ text, start_s: at_s, end_s: at_s + 1, language: "es" }];
      const translation = { type: "translation", target: "es", utterance: 1 };
      texts.hear({ ...translation, words: words(" Uno", 0) });
      texts.hear({ type: "translation_skipped", target: "es", from_s: 1, to_s: 13, why: "the translator is too slow" });
      texts.hear({ ...translation, words: words(" dos", 13) });
      return [...document.querySelectorAll(".text[lang=es] p")].map((each) => [each.textContent, each.lang]);
    }"""
    assert page.evaluate(script) == [
        ["Uno", ""],
        ["12 s not translated: the translator is too slow", "en"],
        ["dos", ""],
    ]
