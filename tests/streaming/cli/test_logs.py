"""Each record of the log is one line, whatever clients put into it, and holds no token."""

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.cli.logs import OneLine, server_log


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
