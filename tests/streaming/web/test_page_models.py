"""The page where a server has several models: the reader chooses one, or leaves it to the server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simul_whisper import Model
from tests.streaming.models import ENGLISH, Loader, made_pool
from tests.streaming.server.uploading import wav_of
from tests.streaming.serving import Served, serving
from tests.streaming.web.browser import browser
from tests.tones import english, mirror_model, random_words, speech_of, tone_model

SPEECH = speech_of(random_words(6))
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    models: dict[str, Model | Exception] = {"tones.en": tone_model(name="tiny.en"), "mirror": mirror_model()}
    with serving(pool=made_pool(Loader(models, {"tones.en": ENGLISH}))) as served:
        yield served


@pytest.fixture
def page(served: Served) -> Iterator[Any]:
    with browser() as started:
        opened, errors = started.new_page(locale="en-US"), list[str]()
        opened.set_default_timeout(PATIENCE_MS)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(f"http://127.0.0.1:{served.port}/")
        opened.locator("#model-field").wait_for()
        yield opened
        assert errors == []


def languages(page: Any) -> list[str]:
    codes: list[str] = page.eval_on_selector_all("[name=language] option", "all => all.map((each) => each.value)")
    return codes


def said(page: Any, recording: Path) -> str:
    page.get_by_text("File", exact=True).first.click()
    page.set_input_files("[name=file]", recording)
    page.select_option("[name=pace]", "fast")
    page.click("#start")
    page.locator("html[data-phase=idle] #text .committed").first.wait_for()
    return " ".join(page.locator("#text p").all_inner_texts())


def test_the_model_that_is_chosen_listens_and_is_remembered(page: Any, tmp_path: Path) -> None:
    recording = tmp_path / "tones.wav"
    recording.write_bytes(wav_of(SPEECH))
    assert page.input_value("[name=model]") == ""
    assert said(page, recording).split() == SPEECH.text.split()
    page.reload()
    page.select_option("[name=model]", "mirror")
    assert said(page, recording).split() == english(SPEECH).text.split()
    page.reload()
    page.locator("[name=model] option[value=mirror]").wait_for(state="attached")
    assert page.input_value("[name=model]") == "mirror"


def test_what_is_offered_is_what_the_model_has(page: Any) -> None:
    assert {"auto", "en", "de"} < set(languages(page))
    assert page.locator("#task-field").is_visible()
    page.select_option("[name=model]", "tones.en")
    assert languages(page) == ["en"]
    assert not page.locator("#task-field").is_visible()
    page.select_option("[name=model]", "mirror")
    page.select_option("[name=language]", "de")
    page.select_option("[name=model]", "tones.en")
    page.select_option("[name=model]", "")
    assert page.input_value("[name=language]") == "de"


@pytest.mark.parametrize("width", [320, 800, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Every field can be seen whole.
    right = page.eval_on_selector_all(
        ".controls > *", "all => Math.max(...all.map((e) => e.getBoundingClientRect().right))"
    )
    assert right <= width
