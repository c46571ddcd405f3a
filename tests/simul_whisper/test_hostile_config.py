"""A file of settings that a stranger made is taken or refused in one line, and never takes for ever."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.config import AlignAttConfig
from simul_whisper.errors import ConfigError
from simul_whisper.weights import model_directory
from tests.hostile_files import changed, damaged, only_our_errors
from tests.properties import examples

ACCURATE = Path(__file__).parents[2] / "configs" / "accurate.toml"
TOML = ACCURATE.read_bytes() + b'alignment_heads = [[3, 1], [4, 2]]\n"\\u00e9".b = 1979-05-27T07:32:00Z\n'
SETTINGS = asdict(AlignAttConfig(alignment_heads=[[3, 1], [4, 2]]))
NAMES = "~nobody-of-that-name/x", "\0", "./" + "x" * 5000, "/\ud800", "/dev/null", "\n"


@examples(300)
@given(content=damaged(TOML))
def test_a_damaged_file_of_settings_is_taken_or_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with only_our_errors():
        AlignAttConfig.from_toml(tmp_path / "config.toml").validated()


@examples(300)
@given(values=changed(SETTINGS))
def test_any_values_are_taken_or_refused(values: Any) -> None:
    with only_our_errors():
        AlignAttConfig.from_mapping(values if isinstance(values, dict) else {}).validated()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a = " + "[" * 15_000, "not valid TOML: maximum recursion"),
        ("a = " + "9" * 15_000, "not valid TOML: Exceeds the limit"),
        (".".join("a" * 8_000) + " = 1", "unknown setting a"),
        ("[" + ".".join("a" * 8_000) + "]", "unknown setting a"),
        ("x" * 70_000, "not valid TOML: got 70000 bytes"),
        (f'language = "{"x" * 15_000}"', "which Whisper does not know"),
        ('"a\\nb" = 1', "unknown setting a\ufffdb"),
    ],
    ids=["lists", "digits", "keys", "tables", "size", "language", "lines"],
)
def test_what_means_harm_is_refused_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(ConfigError, match=said) as refused:
        AlignAttConfig.from_toml(tmp_path / "config.toml").validated()
    assert len(str(refused.value)) < 2000
    assert str(refused.value).isprintable()


@examples(60)
@given(name=st.sampled_from(NAMES) | st.text())
def test_any_name_of_a_model_is_refused_or_found(name: str, tmp_path: Path) -> None:
    if "/" not in name or name.startswith((".", "/", "~")):  # others are asked of the hub
        with only_our_errors():
            model_directory(name, tmp_path)
