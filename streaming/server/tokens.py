"""Access tokens: several, each with a name, from a file or by themselves. Only the names are ever told."""

import hmac
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simul_whisper import ConfigError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What fits in a header as it is.
_TOKEN = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_LEAST_CHARS = 16


@dataclass(frozen=True)
class Tokens:
    """values: by name. With none, everybody is let in."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def name_of(self, given: str) -> str | None:
        """Return whose token this is; the time taken does not tell how wrong it is, nor whose it resembles."""
        found = None
        for name, token in self.values.items():
            if hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
                found = name
        return found

    def __bool__(self) -> bool:
        return bool(self.values)


def one_token(token: str, source: str) -> Tokens:
    """Return a token that has no name of its own. source: where it comes from, for ConfigError."""
    return Tokens({"token": _checked(token, source)})


def read_tokens(path: Path) -> Tokens:
    """Read a file of lines with a name and a token each. Raises ConfigError, which tells no token."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: expected a file, which can be read again")
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8; expected lines with a name and a token") from error
    values: dict[str, str] = {}
    for n, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, token = _named(line, f"{path}, line {n}")
            if name in values or token in values.values():
                raise ConfigError(f"{path}, line {n}: this name or token stands above already; each must be unique")
            values[name] = token
    if not values:
        raise ConfigError(f"{path}: holds no token; expected lines with a name and a token")
    return Tokens(values)


def both(tokens: Tokens, others: Tokens) -> Tokens:
    """Raises ConfigError when they share a name or a token."""
    if set(tokens.values) & set(others.values) or set(tokens.values.values()) & set(others.values.values()):
        raise ConfigError("a token, or the name token, stands in the token file and outside of it; leave one out")
    return Tokens({**tokens.values, **others.values})


def can_be_read_by_others(path: Path) -> bool:
    """Whether every user of this machine may read the file. Raises ConfigError when it is gone."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _named(line: str, source: str) -> tuple[str, str]:
    name, _, token = line.strip().partition(" ")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{source}: expected a name of letters, digits, dots, - and _, a space, and the token")
    token = _checked(token.strip(), source)
    if len(token) < _LEAST_CHARS:
        raise ConfigError(f"{source}: the token is too short; use {_LEAST_CHARS} characters or more, at random")
    return name, token


def _checked(token: str, source: str) -> str:
    if not token:
        raise ConfigError(f"{source}: the token is empty; leave it out, or fill it")
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"{source}: the token has characters that cannot be sent; use those of ASCII that are visible"
        )
    return token
