"""A file of tokens: what is read, what is refused in one line, and that no token is ever told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import ConfigError
from streaming.server.tokens import Tokens, both, can_be_read_by_others, one_token, read_tokens

ALICE, BOB = "a" * 16, "b c" * 8


def test_lines_are_names_and_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# who may come in\n\nalice {ALICE}\n  bob   {BOB}  \n", "utf-8")
    tokens = read_tokens(path)
    assert [tokens.name_of(each) for each in (ALICE, BOB, "", "a", BOB + " ")] == ["alice", "bob", None, None, None]
    assert ALICE not in repr(tokens)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# nobody\n",
        b"alice\n",
        b"alice short\n",
        b"al:ice " + b"a" * 16,
        b"alice " + b"\xc3\xa4" * 16,
        b"alice " + b"\xff" * 16,
        b"alice " + b"a" * 16 + b"\nalice " + b"b" * 16,
        b"alice " + b"a" * 16 + b"\nbob " + b"a" * 16,
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_tells_no_token(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_tokens(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert "a" * 16 not in str(caught.value).removeprefix(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "missing")


@pytest.mark.parametrize("token", ["", " ", "a\n", "ä", "\udcff", " a"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match=r"--token"):
        one_token(token, "--token")


def test_a_token_of_the_file_stands_nowhere_else() -> None:
    assert both(Tokens({"alice": ALICE}), one_token(BOB, "")).name_of(BOB) == "token"
    with pytest.raises(ConfigError):
        both(Tokens({"alice": ALICE}), one_token(ALICE, ""))


def test_a_file_for_everybody_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.touch(0o600)
    assert not can_be_read_by_others(path)
    path.chmod(0o644)
    assert can_be_read_by_others(path)


@given(given=st.text())
def test_anything_is_compared(given: str) -> None:
    assert Tokens({"alice": ALICE}).name_of(given) == ("alice" if given == ALICE else None)
    assert Tokens({"alice": ALICE}).name_of("\ud800") is None
