"""The page's other modules, run in the browser without a server: what they compute, and what they show."""

import random
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import SpeechEnded, Words
from streaming.output.formats import open_format
from tests.streaming.web.browser import WEB


def passages(seed: int) -> list[Words | SpeechEnded]:
    """Made-up speech: pauses, long words, punctuation, numbers in pieces, several scripts, a language with ordinals."""
    chance = random.Random(seed)
    spoken = (
        " a| word| sentence.| “quoted”| Donaudampfschifffahrtsgesellschaft| <tag> &| 字幕| テスト。| ا| naïve| of the"
        "| and|,|?|...| 1|,250|250| 135| 000| 50| %| €|%| L|-Y| the| 3.|s"
    ).split("|")
    made: list[Words | SpeechEnded] = []
    at_s = 0.0
    for _ in range(60):
        words = []
        for _ in range(chance.randint(1, 4)):
            start_s = at_s + chance.choice([0.0, 0.1, 1.5])
            at_s = start_s + chance.choice([0.0, 0.25, 0.6])
            words.append(
                Word(chance.choice(spoken), round(start_s, 3), round(at_s, 3), 1.0, chance.choice([None, "en", "de"]))
            )
        made.append(Words(tuple(words), at_s))
        if chance.random() < 0.2:
            made.append(SpeechEnded(at_s))
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_subtitles_are_those_of_the_command_line(page: Any, name: str, seed: int) -> None:
    written, expected = open_format(name), ""
    words: list[dict[str, Any]] = []
    for event in passages(seed):
        expected += written.feed(event)
        if isinstance(event, Words):
            words += [
                {name: getattr(word, name) for name in ("text", "start_s", "end_s", "language")} for word in event.words
            ]
        else:
            words[-1]["endsSpeech"] = True
    expected += written.end()
    script = """async ([name, words]) => (await import("/subtitles.js")).FORMATS[name].write(words)"""
    assert page.evaluate(script, [name, words]) == expected


def test_samples_become_integers(page: Any) -> None:
    script = "async (samples) => [...(await import('/pcm.js')).toInt16(Float32Array.from(samples))]"
    assert page.evaluate(script, [0, 0.5, -1, 1, 2, -2]) == [0, 16384, -32768, 32767, 32767, -32768]


CONTRASTS = """
(theme) => {
  document.documentElement.dataset.theme = theme;
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (name) => {
    canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
    canvas.fillRect(0, 0, 1, 1);
    const linear = (each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((each) => linear(each / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  return (ink, page) => {
    const [darker, lighter] = [light(ink), light(page)].sort((one, other) => one - other);
    return (lighter + 0.05) / (darker + 0.05);
  };
}
"""
READ = ["ink", "quiet", "draft"]
SEEN = ["control-line", "good", "warn", "stop", "accent"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_told_from_its_background(page: Any, theme: str) -> None:
    """WCAG AA: 4.5 for text, 3 for what is not."""

    def contrast(one: str, other: str) -> float:
        ratio: float = page.evaluate(f"(([a, b]) => ({CONTRASTS})('{theme}')(a, b))", [f"--{one}", f"--{other}"])
        return ratio

    pairs = [(ink, ground, 4.5) for ink in READ for ground in ("page", "panel", "warn-page", "bad-page")]
    pairs += [("on-accent", "accent", 4.5), ("stop", "panel", 4.5)]
    pairs += [(seen, ground, 3.0) for seen in SEEN for ground in ("page", "panel")]
    assert [(one, other) for one, other, least in pairs if contrast(one, other) < least] == []


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
@pytest.mark.parametrize("source", ["microphone", "file"])
def test_nothing_is_wider_than_the_screen(page: Any, width: int, source: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator(f"[value={source}]").check(force=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = """(width) => [...document.querySelectorAll("button, select, label, h1, .connection")]
      .filter((each) => each.checkVisibility())
      .filter((each) => each.getBoundingClientRect().right > width || each.getBoundingClientRect().left < 0)
      .map((each) => each.outerHTML)"""
    assert page.evaluate(outside, width) == []


MOVES = """async () => {
  const { Captions } = await import("/captions.js");
  const [frame, text, button] = ["captions", "text", "to-latest"].map((id) => document.getElementById(id));
  document.getElementById("empty").hidden = true;
  const captions = new Captions(frame, text, button);
  captions.clear();
  const positions = () =>
    [...text.querySelectorAll(".committed")].map((each) => [each.offsetLeft, each.offsetTop].join());
  let moved = 0;
  let scrolledByDraft = 0;
  for (let i = 0; i < 120; i++) {
    const before = positions();
    const top = frame.scrollTop;
    captions.draft(" draft".repeat(i % 7), false);
    scrolledByDraft += frame.scrollTop !== top;
    captions.commit(` word${"s".repeat(i % 5)}`, i % 40 === 39);
    moved += before.some((position, n) => position !== positions()[n]);
  }
  captions.clear();
  return { moved, scrolledByDraft };
}"""


def test_captions_grow_and_never_move(page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": 390, "height": 600})
    assert page.evaluate(MOVES) == {"moved": 0, "scrolledByDraft": 0}


COMMITTED_DRAFTS = """async (committed) => {
  const { Captions } = await import("/captions.js");
  const [frame, text, button] = ["captions", "text", "to-latest"].map((id) => document.getElementById(id));
  const captions = new Captions(frame, text, button);
  captions.clear();
  captions.draft(" brown fox jumps", false);
  captions.commit(committed, false);
  const shown = text.textContent;
  captions.clear();
  return shown;
}"""


@pytest.mark.parametrize(
    ("committed", "shown"),
    [(" brown", "brown fox jumps"), (" brown fox jumps over", "brown fox jumps over"), (" black", "black")],
)
def test_the_rest_of_a_draft_stays_while_its_first_words_are_committed(page: Any, committed: str, shown: str) -> None:
    assert page.evaluate(COMMITTED_DRAFTS, committed) == shown


SPOKEN_LANGUAGES = """async () => {
  const { Captions } = await import("/captions.js");
  const [frame, text, button] = ["captions", "text", "to-latest"].map((id) => document.getElementById(id));
  const captions = new Captions(frame, text, button);
  captions.commit(" Hello", false, "en");
  captions.commit(" schön", false, "de");
  captions.commit(" there", false);
  const found = [...text.querySelectorAll(".committed")].map((each) => [each.textContent, each.getAttribute("lang")]);
  captions.clear();
  return found;
}"""


def test_captions_say_their_language(page: Any) -> None:
    assert page.evaluate(SPOKEN_LANGUAGES) == [["Hello", "en"], [" schön", "de"], [" there", None]]


UNBROKEN = """async () => {
  const { Captions } = await import("/captions.js");
  const [frame, text, button] = ["captions", "text", "to-latest"].map((id) => document.getElementById(id));
  const captions = new Captions(frame, text, button);
  captions.commit(" $1,250.50, 135 000 € or 50 % at 10:45; call 555-1234, L-Y-V, a well-known 12月25日.", false);
  const found = [text.textContent, ...[...text.querySelectorAll(".whole")].map((each) => each.textContent)];
  captions.clear();
  return found;
}"""


def test_no_row_ends_inside_a_number(page: Any) -> None:
    assert page.evaluate(UNBROKEN) == [
        "$1,250.50, 135 000 € or 50 % at 10:45; call 555-1234, L-Y-V, a well-known 12月25日.",
        *("$1,250.50", "135 000 €", "50 %", "10:45", "555-1234", "L-Y-V", "12", "25"),
    ]


LOST = """async (in_s) => {
  const [{ Status }, { State }] = [await import("/status.js"), await import("/client.js")];
  const [connection, notice] = [document.createElement("p"), document.createElement("p")];
  notice.append(document.createElement("span"));
  new Status({ connection, notice }).show(State.LOST, "too_many_sessions", in_s ?? undefined);
  return notice.textContent;
}"""


@pytest.mark.parametrize(("in_s", "end"), [(None, "; trying again."), (11.2, "; trying again in 12 s.")])
def test_who_waits_is_told_for_how_long_where_that_is_known(page: Any, in_s: float | None, end: str) -> None:
    assert page.evaluate(LOST, in_s).endswith(end)


def test_it_asks_nobody_else() -> None:
    for path in WEB.iterdir():
        outside = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in outside, path
        assert "https://" not in outside, path
