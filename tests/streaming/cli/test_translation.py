"""`--to` as somebody uses it on recordings, with the embedded tiny.en and a translator that shouts."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from simul_whisper import Progress, Sentence, TargetToken, TranslationConfig, TranslationError
from streaming.cli import main
from tests.streaming.cli.test_cli import CAPTIONS, FAST, RECORDINGS, words_of
from tests.streaming.shouting import Shouting

SPOKEN = words_of((RECORDINGS / "captions.txt").read_text())
QUIET = [*FAST, "--quiet"]


class Silenced(Shouting):
    """It is down."""

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        raise TranslationError(f"nobody shouts {sentence.target} today")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[TranslationConfig]:
    """The settings that a translator was opened with."""
    return opening(monkeypatch, Shouting)


def opening(monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Shouting]) -> list[TranslationConfig]:
    asked = list[TranslationConfig]()

    def open_translator(config: TranslationConfig, progress: Callable[[Progress], None]) -> Shouting:  # noqa: ARG001
        asked.append(config)
        return kind()

    monkeypatch.setattr("simul_whisper.open_translator", open_translator, raising=False)
    return asked


def run(*flags: str) -> None:
    assert main(["transcribe", CAPTIONS, *flags]) == 0


def lines_of(text: str, label: str) -> list[str]:
    """Those of a language; without one, of the transcript."""
    if label:
        return [line.removeprefix(f"{label}: ") for line in text.splitlines() if line.startswith(f"{label}: ")]
    return [line for line in text.splitlines() if not re.match(r"\w\w: ", line)]


def test_text_has_a_line_for_each_sentence_of_each_language(
    opened: list[TranslationConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run(*FAST, "--to", "Spanish,de", "--translation-timeout", "7")
    out, err = capsys.readouterr()
    assert opened == [TranslationConfig(timeout=7)]
    english, spanish, german = (lines_of(out, label) for label in ("", "es", "de"))
    assert words_of(" ".join(english)) == SPOKEN
    assert [line.upper() for line in english] == spanish == german
    assert len(english) > 1
    assert all(line.endswith((".", "?")) for line in english)
    assert re.search(r"translated by somebody who shouts, in 0\.0\d s per second of audio$", err.strip())


@pytest.mark.parametrize("name", ["srt", "vtt", "ttml"])
@pytest.mark.usefixtures("opened")
def test_captions_are_a_file_for_each_language(name: str, tmp_path: Path) -> None:
    run(*QUIET, "--to", "es", "--format", name, "--output", str(tmp_path / f"talk.{name}"))
    assert {path.name for path in tmp_path.iterdir()} == {f"talk.{name}", f"talk.es.{name}"}
    english, spanish = ((tmp_path / f"talk{label}.{name}").read_text() for label in ("", ".es"))
    if name == "ttml":
        language = "{http://www.w3.org/XML/1998/namespace}lang"
        trees = [ElementTree.fromstring(text) for text in (english, spanish)]
        assert [tree.get(language) for tree in trees] == ["en", "es"]
        english, spanish = (" ".join(tree.itertext()) for tree in trees)
    assert words_of(re.sub(r"webvtt|[\d:.,>-]+", " ", english.lower())) == SPOKEN
    assert sorted(words_of(english)) == sorted(words_of(spanish))
    assert spanish.isupper() or name == "vtt"


@pytest.mark.usefixtures("opened")
def test_in_a_folder_each_recording_has_its_languages(tmp_path: Path) -> None:
    run(CAPTIONS, *QUIET, "--to", "es", "--format", "srt", "--output", f"{tmp_path}/out/")
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {"captions.srt", "captions.es.srt", "captions-2.srt", "captions-2.es.srt"}
    assert written["captions.es.srt"] == written["captions-2.es.srt"]


@pytest.mark.usefixtures("opened")
def test_rows_of_both_come_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    run(*QUIET, "--to", "es", "--format", "jsonl")
    rows: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    english, spanish = ([row for row in rows if ("target" in row) == is_target] for is_target in (False, True))
    assert "".join(row["text"] for row in english).upper().split() == "".join(row["text"] for row in spanish).split()
    emitted = [row["emitted"] for row in rows]
    assert emitted == sorted(emitted)
    assert all(row["source_start"] <= row["source_end"] <= row["emitted"] for row in spanish)
    assert "target" in rows[-1]


@pytest.mark.waits
def test_in_real_time_a_log_has_a_row_for_each_chunk(
    opened: list[TranslationConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    run(*QUIET, "--to", "es", "--realtime", "--log", str(log))
    assert len(opened) == 1
    out = capsys.readouterr().out
    assert words_of(" ".join(lines_of(out, "es"))) == words_of(" ".join(lines_of(out, "")))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    heard_s = [row["total_audio_processed"] for row in rows if "total_audio_processed" in row]
    assert heard_s == sorted(set(heard_s))


def test_a_translator_that_is_down_takes_nothing_from_the_transcript(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opening(monkeypatch, Silenced)
    run(*QUIET, "--to", "es")
    out, err = capsys.readouterr()
    assert words_of(out) == SPOKEN
    told = err.splitlines()
    assert told
    assert all(
        re.match(r"simul-whisper: captions\.flac: es: \d\d:\d\d to \d\d:\d\d is not translated", x) for x in told
    )
    assert "nobody shouts es today" in told[0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--to", "klingon"], "got language 'klingon', which Whisper does not know"),
        (["--to", "es,auto"], "expected languages; auto is none"),
        (["--to", "fr"], "nobody shouts from en into fr"),
        (["--to", "fr", "--task", "translate", "--language", "auto"], "nobody shouts from en into fr"),
        (
            ["--to", "fr", "--language", "auto"],
            "somebody who shouts translates no language into French (fr), but into de, es, ar; another translator",
        ),
        (["--to", "de,en"], "got en as the language spoken and as one to translate into"),
        (["--translation-url", "http://x"], "--translation-url needs --to, such as --to es"),
        (["--no-translation-drafts"], "--translation-drafts needs --to"),
        (
            ["--to", "en", "--language", "de", "--translation-model", "m"],
            "--translation-model is of no use here: Whisper itself translates into English",
        ),
        (["--to", "es", "--format", "srt"], "give --output FILE, such as talk.srt, or --format text"),
        (["--to", "es", "--format", "ttml", "--output", "/no/such/folder/talk.ttml"], "/no/such/folder/talk.ttml"),
        (["--to", "es", "--translation-timeout", "0"], "timeout"),
    ],
)
@pytest.mark.usefixtures("opened")
def test_what_cannot_be_is_one_line_before_a_model_is_loaded(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("simul_whisper.load_model", loaded)
    assert main(["transcribe", CAPTIONS, "--language", "en", *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("language", ["en", "auto"])
def test_a_server_does_not_start_with_a_language_that_its_translator_has_not(
    opened: list[TranslationConfig], capsys: pytest.CaptureFixture[str], language: str
) -> None:
    assert main(["serve", "--model", "base", "--language", language, "--to", "en,fr", "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert len(opened) == 1
    assert "fr" in err
    assert "listening" not in err
