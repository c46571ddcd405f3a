"""Glossaries that people write, and what of them a sentence mentions."""

from pathlib import Path

import pytest

from simul_whisper.errors import ConfigError
from simul_whisper.translators.glossary import mentioned, parsed_glossary, read_glossary


def test_a_glossary_is_read(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("\ufeff# names\n\nFresnel = Fresnel\n  a = b  =c\r\nlens=lente\n", "utf-8")
    assert read_glossary(str(tmp_path / "terms.txt")) == {"Fresnel": "Fresnel", "a": "b  =c", "lens": "lente"}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["a = b", "no sign"], "line 2: got 'no sign', expected term = translation"),
        (["= b"], "line 1: got '= b', expected term"),
        (["a ="], "line 1: got 'a =', expected term"),
        (["a = b\x1b[2J"], "line 1: .* expected at most 100 printable characters"),
        ([f"{'a' * 101} = b"], "line 1: .* expected at most 100 printable"),
        (["a = b", "# c", "A = d"], "line 3: the term 'A' stands there a second time"),
        ([f"a{n} = b" for n in range(2001)], "line 2001: expected at most 2000 terms"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(lines: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parsed_glossary(lines)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the glossary '/nowhere/terms': No such file"):
        read_glossary("/nowhere/terms")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_glossary(str(tmp_path))
    (tmp_path / "latin1").write_bytes(b"caf\xe9 = b")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_glossary(str(tmp_path / "latin1"))
    (tmp_path / "large").write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="got 300000 bytes, expected at most 262144"):
        read_glossary(str(tmp_path / "large"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The LENS is large.", ["lens"]),
        ("A lenses' maker", []),
        ("lens-maker", ["lens"]),
        ("東京タワーへ", ["東京"]),
        ("C++ and C#", ["C++"]),
        ("", []),
    ],
)
def test_terms_are_found_as_words(text: str, expected: list[str]) -> None:
    assert [*mentioned({"lens": "lente", "東京": "Tokio", "C++": "C++"}, text)] == expected


def test_a_model_is_told_few_terms() -> None:
    glossary = {f"a{n}": "b" for n in range(100)}
    assert [*mentioned(glossary, " ".join(glossary))] == [f"a{n}" for n in range(20)]
