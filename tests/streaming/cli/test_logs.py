"""Each record of the log is one line, whatever clients put into it, and holds no token."""

import argparse
import io
import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig, ConfigError
from streaming.cli.logs import JSON, OneLine, OneObject, server_log
from streaming.cli.options import ProgressBar
from streaming.cli.pools import pool_from
from streaming.settings import WorkerConfig
from streaming.tracing import Trace, working_for
from tests.streaming.serving import PATIENCE_S


def written(message: str, *arguments: object, error: Exception | None = None) -> str:
    info = (type(error), error, None) if error else None
    return OneLine().format(logging.LogRecord("any", logging.ERROR, "", 0, message, arguments, info))


@given(st.text(st.characters()))
def test_no_text_of_a_client_breaks_its_line(text: str) -> None:
    line = written("got %s", text)
    assert len(line.splitlines()) == 1
    assert all(character.isprintable() or ord(character) > 127 for character in line)
    traceback = written("it failed", error=ValueError(text)).splitlines()
    assert all(each.startswith("    ") for each in traceback[1:])
    line.encode()


@pytest.mark.parametrize(
    "message",
    ["/v1/stream?a=1&token=secret&b=2", "Authorization: Bearer se secret", "token='a secret'", 'token="a secret" b'],
)
def test_no_token_is_written(message: str) -> None:
    assert "secret" not in written("GET %s", message)


def test_the_log_is_only_there_while_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    before = list(logging.getLogger().handlers)
    with server_log():
        logging.getLogger("any").warning("a\nb")
    assert logging.getLogger().handlers == before
    assert text.getvalue() == "simul-whisper: WARNING: a\\nb\n"


def as_object(message: str, *arguments: object, error: Exception | None = None, **more: object) -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("any.logger", logging.ERROR, "", 0, message, arguments, info)
    vars(record).update(more)
    line = OneObject().format(record)
    assert len(line.splitlines()) == 1
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def test_an_object_says_when_what_and_of_whom() -> None:
    said = as_object("got %d", 3, session="1a2b", dialect="native", client="", audio_s=1.5, words=0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("ts"))
    assert said == {
        "level": "error",
        "logger": "any.logger",
        "message": "got 3",
        "session": "1a2b",
        "dialect": "native",
        "audio_s": 1.5,
        "words": 0,
    }


def test_an_object_has_nothing_that_a_logger_adds_by_itself() -> None:
    assert as_object("x", text="what was said", samples=[1], token="secret").keys() == {
        "ts",
        "level",
        "logger",
        "message",
    }


@given(st.text(st.characters()))
def test_no_text_of_a_client_breaks_an_object(text: str) -> None:
    said = as_object("got %s", text, client=text, error=ValueError(text))
    assert all(character.isprintable() or ord(character) > 127 for character in said["message"])
    assert "Traceback" in said["traceback"] or "ValueError" in said["traceback"]


@pytest.mark.parametrize("form", ["/v1/stream?token=secret", "Authorization: Bearer se secret"])
def test_no_token_is_in_an_object(form: str) -> None:
    assert "secret" not in json.dumps(as_object("GET %s", form, client=form, error=ValueError(form)))


def test_as_json_all_that_is_printed_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    with pytest.raises(SystemExit, match="2"):
        _run_as_json()
    said = [json.loads(line) for line in text.getvalue().splitlines()]
    assert sorted((each["level"], each["message"]) for each in said) == [
        ("error", "it cannot start"),
        ("info", "and more"),
        ("info", "listening"),
        ("info", "no end"),
        ("info", "of a session"),
    ]
    [of_session] = [each for each in said if each["message"] == "of a session"]
    assert (of_session["session"], of_session["dialect"], of_session["client"]) == ("1a2b", "deepgram", "bob")
    assert sys.stderr is text


def test_processes_that_decode_write_objects_too(capfd: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(models=None, pool="here", workers=2, log_format=JSON, log_level="info")
    pool = pool_from(options, AlignAttConfig(model_name="tiny.en"), WorkerConfig(admit=False), ProgressBar())
    pool.start()
    try:
        assert pool.wait_ready(PATIENCE_S).is_ready
    finally:
        pool.stop()
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert any(each["message"].startswith("worker-1: model tiny.en, encoder ") for each in said)


def _run_as_json() -> None:
    with server_log(JSON, "info"):
        sys.stderr.write("simul-whisper: listening\nand more\nno end")
        with working_for(Trace("deepgram", "bob", "1a2b")):
            logging.getLogger("streaming.any").info("of a session")
        logging.getLogger("uvicorn.any").info("not asked for")
        raise ConfigError("it cannot start")
