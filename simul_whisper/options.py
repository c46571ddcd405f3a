"""The one idiom of settings: a field of a dataclass is an option, with its default, its help text and what it may be.

Command-line flags, TOML keys and the tables of the docs are made from the fields.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import one_line, shown

_Settings = TypeVar("_Settings")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Option:
    """What is known of a setting besides its name, type and default."""

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def option(
    default: Any, help_text: str, choices: Sequence[str] = (), low: float | None = None, high: float | None = None
) -> Any:
    """Return a field that is an option; low and high are allowed themselves."""
    return field(default=default, metadata={"option": Option(help_text, tuple(choices), low, high)})


def option_of(settings_field: "Field[Any]") -> Option:
    """Return what is known of the option that a field is."""
    known = settings_field.metadata["option"]
    assert isinstance(known, Option)
    return known


def check_options(settings: Any) -> None:
    """Raise ConfigError for the first value that its option does not allow."""
    for each in fields(settings):
        checked_value(each, getattr(settings, each.name))


def checked_value(settings_field: "Field[Any]", given: Any) -> Any:
    """Return the value of an option in its declared type. Raises ConfigError."""
    name, known = settings_field.name, option_of(settings_field)
    annotation: Any = str if get_origin(settings_field.type) is Literal else settings_field.type
    expected: Any = {float: (int, float), Sequence[Sequence[int]]: (list, tuple), Sequence[str]: (list, tuple)}.get(
        annotation, annotation
    )
    if not isinstance(given, expected) or (isinstance(given, bool) and annotation in (int, float)):
        raise ConfigError(f"got {name} = {shown(given)}, expected {_expected(annotation, known)}")
    if known.choices and given not in known.choices:
        raise ConfigError(f"got {name} = {shown(given)}, expected one of {', '.join(known.choices)}")
    if not _is_within(given, known):
        raise ConfigError(f"got {name} = {shown(given)}, expected {_range(known)}")
    try:
        return float(given) if annotation is float else given
    except OverflowError as error:
        raise ConfigError(f"got {name} = {shown(given)}, expected a number that is not as large") from error


def from_mapping(settings: type[_Settings], values: Mapping[str, Any], source: str = "settings") -> _Settings:
    """Return settings with these values. Raises ConfigError, which names the source, for bad keys and values."""
    names = [each.name for each in fields(settings)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            close = difflib.get_close_matches(key[:_LONGEST_NAME], names, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(names)}"
            raise ConfigError(f"{source}: unknown setting {one_line(key)}{hint}")
    try:
        return settings(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _is_within(given: Any, known: Option) -> bool:
    # NaN is within nothing.
    return (known.low is None or given >= known.low) and (known.high is None or given <= known.high)


def _expected(annotation: Any, known: Option) -> str:
    if isinstance(annotation, UnionType):
        annotation = get_args(annotation)[0]
    if annotation is float:
        return _range(known) or "a number"
    return {bool: "true or false", int: "a whole number", str: "text"}.get(annotation, "a list")


def _range(known: Option) -> str:
    if known.low is None or known.high is None:
        return "" if known.low is None else f"at least {known.low:g}"
    return f"{known.low:g} to {known.high:g}"
