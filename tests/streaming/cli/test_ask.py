"""Questions about a recording on the command line, to a small Voxtral that answers nonsense."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.voxtral_reference import write_model
from simul_whisper import Ending, Generation, Written
from streaming.cli import main

CAPTIONS = str(Path(__file__).parents[3] / "demos" / "recordings" / "captions.flac")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("models") / "small-voxtral"))


def test_the_answer_alone_goes_to_standard_output(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", CAPTIONS, "was here?", "--model", model, "--most-tokens", "12"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert out.strip()
    assert err.splitlines() == [
        "simul-whisper: small-voxtral: MLX",
        "simul-whisper: the answer was cut; --most-tokens allows a longer one",
    ]


def test_a_whole_answer_needs_no_notice(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = [Written("At "), Written("noon."), Written("", Ending.WHOLE)]
    monkeypatch.setattr(Generation, "answer", lambda *_: iter(answer))
    assert main(["ask", CAPTIONS, "When?", "--model", model]) == 0
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("At noon.\n", 1)


def test_ctrl_c_ends_the_line_that_was_begun(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[Written]:
        yield Written("At ")
        raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "answer", interrupted)
    assert main(["ask", CAPTIONS, "When?", "--model", model]) == 130
    assert capsys.readouterr().out == "At \n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CAPTIONS, "When?", "--model", "tiny.en"], "tiny.en answers no questions; take a Voxtral"),
        (["missing.wav", "When?"], "missing.wav: No such file"),
        ([CAPTIONS, " "], "got an empty question"),
        ([CAPTIONS, "When? " * 2000, "--model", "MODEL"], "positions of audio and text, expected at most 4096"),
        ([CAPTIONS, "When?", "--most-tokens", "0"], "got --most-tokens 0, expected at least 1"),
        ([CAPTIONS, "When?", "--channels", "separate"], "leave out --channels separate"),
        ([CAPTIONS, "When?", "--backend", "ctranslate2", "--model", "MODEL"], "no encoder in ctranslate2"),
    ],
)
def test_what_cannot_be_is_one_line(
    model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["ask", *(model if each == "MODEL" else each for each in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = (each for each in err.splitlines() if not each.endswith(": MLX"))
    assert said in line
