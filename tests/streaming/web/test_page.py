"""The page as a user meets it: a browser that hears a recording, and a real server that may die."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

from simul_whisper.languages import LANGUAGES
from streaming.audio.files import read_audio
from streaming.evaluation.scoring import word_edits
from tests.streaming.web.browser import browser

CAPTIONS = Path(__file__).parents[3] / "demos" / "recordings" / "captions.flac"
SPOKEN = CAPTIONS.with_suffix(".txt").read_text("utf-8")
SPOKEN_S = 10.6
FAST = ["--padding-len", "3", "--decoder-device", "cpu"]
PATIENCE_MS = 60_000


class Server:
    """`serve` in a process of its own, always on the same port."""

    def __init__(self, *flags: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as any_free:
            self.port = any_free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._flags = flags
        self.start()

    def start(self) -> None:
        model = [] if "--model" in self._flags else ["--model", "tiny.en"]
        flags = [*FAST, *model, "--port", str(self.port), *self._flags]
        command = [sys.executable, "-m", "streaming.cli", "serve", *flags]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        while "ready" not in (line := self._process.stderr.readline()):
            assert line, "the server ended"

    def kill(self) -> None:
        """As nobody expects it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(60)
        assert self._process.stderr
        self._process.stderr.close()


@contextmanager
def serving(*flags: str) -> Iterator[Server]:
    started = Server(*flags)
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "heard.wav"
    soundfile.write(path, read_audio(CAPTIONS), 16_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def chromium(heard: Path) -> Iterator[Any]:
    with browser(heard) as started:
        yield started


@pytest.fixture(scope="module")
def server(chromium: Any) -> Iterator[Server]:  # noqa: ARG001
    with serving() as started:
        yield started


class Reader:
    """Somebody in front of the page."""

    def __init__(self, chromium: Any, address: str, locale: str = "en-US") -> None:
        self.page = chromium.new_page(locale=locale)
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)

    def choose(self, file: Path, pace: str) -> None:
        self.page.get_by_text("File", exact=True).first.click()
        self.page.set_input_files("[name=file]", file)
        self.page.select_option("[name=pace]", pace)

    def start(self) -> None:
        self.page.click("#start")

    def wait_for(self, words: str) -> None:
        self.page.locator(".committed", has_text=words).first.wait_for()

    def wait_for_phase(self, phase: str) -> None:
        self.page.locator(f"html[data-phase={phase}]").wait_for()

    def wait_for_languages(self) -> None:
        """Wait until the server has told what its model has."""
        self.page.locator("[name=language] option[value=en]").wait_for(state="attached")

    @property
    def languages(self) -> dict[str, str]:
        """What is offered, by code."""
        pairs = self.page.eval_on_selector_all(
            "[name=language] option", "all => all.map((each) => [each.value, each.text])"
        )
        return dict(pairs)

    @property
    def recorded_s(self) -> int:
        minutes, seconds = re.match(r"(\d+):(\d+)", self.page.inner_text("#time")).groups()  # type: ignore[union-attr]
        return 60 * int(minutes) + int(seconds)

    @property
    def text(self) -> str:
        return " ".join(self.page.locator("#text p").all_inner_texts())

    @property
    def error_rate(self) -> float:
        rate = word_edits(SPOKEN, self.text, "en").rate
        assert rate is not None
        return rate

    def saved(self, format_name: str) -> str:
        with self.page.expect_download() as download:
            self.page.click(f"[data-format={format_name}]")
        return Path(download.value.path()).read_text("utf-8")


@pytest.fixture
def reader(chromium: Any, server: Server) -> Iterator[Reader]:
    opened = Reader(chromium, server.url)
    yield opened
    opened.page.close()
    assert opened.errors == []


def test_the_page_can_be_used_once_it_can_hear_it(chromium: Any, server: Server) -> None:
    page, held = chromium.new_page(), list[Any]()
    page.set_default_timeout(PATIENCE_MS)
    with page.expect_request("**/recovery.json"):
        page.route("**/recovery.json", lambda route: held.append(route))
        page.goto(server.url, wait_until="commit")
    page.locator("#start").wait_for()
    before = page.evaluate("document.documentElement.dataset.theme")
    page.click("#theme", force=True)
    held[0].continue_()
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") != before
    page.click("#full-screen")
    page.wait_for_selector("footer", state="hidden")
    page.close()


@pytest.mark.waits
def test_words_appear_while_somebody_speaks(reader: Reader) -> None:
    reader.start()
    reader.wait_for("screen")
    assert reader.recorded_s < SPOKEN_S
    assert reader.page.inner_text("#connection") == "Live"
    reader.wait_for("back")
    assert re.fullmatch(r"\d+\.\d s delay", reader.page.inner_text("#delay"))
    reader.page.click("#stop")
    reader.wait_for_phase("idle")
    assert reader.error_rate <= 0.2
    assert reader.page.locator(".draft").last.inner_text() == ""
    assert reader.saved("txt").split() == reader.text.split()
    assert reader.saved("vtt").startswith("WEBVTT\n\n1\n00:00:00.")
    assert "\n2\n00:00:0" in reader.saved("srt")


@pytest.mark.waits
def test_a_server_that_was_killed_and_started_again_is_gone_on_with(reader: Reader, server: Server) -> None:
    reader.start()
    reader.wait_for("screen")
    server.kill()
    reader.page.locator("#notice").wait_for()
    assert "cannot be reached" in reader.page.inner_text("#notice")
    # How late the captions are is not known now.
    reader.page.locator("#delay").wait_for(state="hidden")
    assert "screen" in reader.text
    server.start()
    reader.wait_for("back")
    assert not reader.page.is_visible("#notice")
    reader.page.click("#stop")
    reader.wait_for_phase("idle")
    assert reader.error_rate <= 0.2


def test_a_file_goes_as_fast_as_it_can(reader: Reader) -> None:
    reader.choose(CAPTIONS, "fast")
    reader.start()
    reader.wait_for("back")
    reader.wait_for_phase("idle")
    assert reader.error_rate <= 0.2
    assert reader.page.inner_text("#time") == "0:10 / 0:10"


def test_a_file_that_is_none_is_told_in_words(reader: Reader) -> None:
    reader.choose(Path(__file__), "fast")
    reader.start()
    reader.page.get_by_text("could not be read as audio").wait_for()
    assert reader.page.is_enabled("#start")


def test_it_offers_what_the_model_has(reader: Reader) -> None:
    reader.wait_for_languages()
    assert reader.languages == {"en": "English"}
    assert not reader.page.is_visible("[name=task]")


def test_it_names_every_language_in_the_readers_own(chromium: Any) -> None:
    with serving("--model", "base", "--language", "de", "--task", "translate") as server:
        reader = Reader(chromium, server.url, "fr-FR")
        names = reader.page.locator("[name=language] option")
        names.nth(98).wait_for(state="attached")
        offered = dict(
            zip(names.evaluate_all("all => all.map((each) => each.value)"), names.all_inner_texts(), strict=True)
        )
        assert offered.keys() == {"auto", *LANGUAGES[:99]}
        # Chromium has no name for Bashkir.
        assert (offered["de"], offered["jw"], offered["ba"]) == ("allemand", "javanais", "Bashkir")
        assert not [code for code, name in offered.items() if name == code]
        assert reader.page.input_value("[name=language]") == "de"
        assert reader.page.input_value("[name=task]") == "translate"
        reader.page.close()


def test_a_model_that_is_loading_is_waited_for(reader: Reader) -> None:
    page = reader.page
    page.route("**/v1/model", lambda route: route.fulfill(status=503, json={"message": "the model is loading"}))
    page.reload()
    page.get_by_text("Loading the model…").wait_for()
    page.unroute("**/v1/model")
    reader.wait_for_languages()
    assert page.inner_text("#connection") == "Ready"


def test_what_the_server_cannot_do_is_told_in_words(reader: Reader) -> None:
    reader.wait_for_languages()
    # As if the server had got another model since.
    reader.page.evaluate("document.querySelector('[name=language]').replaceChildren(new Option('Deutsch', 'de'))")
    reader.start()
    reader.page.get_by_text("The server cannot do this.").wait_for()
    assert "can only transcribe English" in reader.page.inner_text("#problem-detail")
    assert reader.page.is_enabled("#start")
    reader.wait_for_languages()


def test_a_token_can_be_typed_in(chromium: Any) -> None:
    with serving("--token", "open sesame & more") as server:
        reader = Reader(chromium, server.url)
        reader.page.get_by_text("An access token is needed").wait_for()
        reader.page.get_by_label("Access token").fill("open sesame & more")
        reader.page.keyboard.press("Enter")
        reader.wait_for("appear")
        assert not reader.page.is_visible("#problem")
        assert reader.languages == {"en": "English"}
        reader.page.close()


def test_captions_alone_fill_the_screen(reader: Reader) -> None:
    reader.page.click("#full-screen")
    reader.page.wait_for_selector("footer", state="hidden")
    reader.page.wait_for_function("document.getElementById('captions').clientHeight === innerHeight")
    reader.page.click("#leave-full-screen")
    reader.page.wait_for_selector("footer", state="visible")
    assert not reader.page.is_visible("#leave-full-screen")
