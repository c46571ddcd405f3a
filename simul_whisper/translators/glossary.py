"""A glossary: names and terms, and how they are to be translated; `term = translation` a line, `#` before a remark."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import one_line, read_bytes, shown

_MOST_BYTES = 1 << 18
_MOST_TERMS = 2_000
_LONGEST = 100
# What is told a model with each sentence.
_MOST_MENTIONED = 20


def read_glossary(path: str) -> dict[str, str]:
    """Return term -> translation. Raises ConfigError, which names the line, for a file that does not say that."""
    try:
        text = read_bytes(Path(path), _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"the glossary {shown(path)} is not UTF-8 text") from error
    except OSError as error:
        raise ConfigError(f"cannot read the glossary {shown(path)}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read the glossary {shown(path)}: {one_line(error)}") from error
    return parsed_glossary(text.splitlines(), f"glossary {one_line(path)}")


def parsed_glossary(lines: Iterable[str], name: str = "glossary") -> dict[str, str]:
    """Return term -> translation. Raises ConfigError, which names the line."""
    terms, folded = dict[str, str](), set[str]()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{name}, line {number}"
        term, equals, translation = (part.strip() for part in line.partition("="))
        if not term or not equals or not translation:
            raise ConfigError(f"{where}: got {shown(line)}, expected term = translation")
        if not (term + translation).isprintable() or max(len(term), len(translation)) > _LONGEST:
            raise ConfigError(f"{where}: got {shown(line)}, expected at most {_LONGEST} printable characters on a side")
        if term.casefold() in folded:
            raise ConfigError(f"{where}: the term {shown(term)} stands there a second time")
        if len(terms) == _MOST_TERMS:
            raise ConfigError(f"{where}: expected at most {_MOST_TERMS} terms")
        terms[term] = translation
        folded.add(term.casefold())
    return terms


def mentioned(glossary: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the terms that a text has, in any case, as words of their own; the first of them when there are many."""
    folded = text.casefold()
    found = [term for term in glossary if _stands_in(term.casefold(), folded)]
    return {term: glossary[term] for term in found[:_MOST_MENTIONED]}


def _stands_in(term: str, text: str) -> bool:
    # Many languages write no spaces, so only letters that Latin, Greek and Cyrillic words are made of count.
    letter = "[0-9A-Za-z\u00c0-\u052f]"
    return term in text and re.search(f"(?<!{letter}){re.escape(term)}(?!{letter})", text) is not None
