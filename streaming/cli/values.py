"""What a flag takes, where it does not come from the command line: the text of a variable, or a value of TOML."""

import argparse
import re
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Any, NamedTuple

from simul_whisper import ConfigError, checked_value

_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_BETWEEN = re.compile(r"[,\s]+")
# Nobody is to read them on a screen or in a log.
_SECRET = "token"
_EXPECTED = {int: "a whole number", float: "a number", str: "text", Path: "text"}


class Setting(NamedTuple):
    """The option that a flag sets, and whose it is."""

    settings: type[Any]
    field: "Field[Any]"


def mark_setting(action: argparse.Action, setting: Setting) -> None:
    """Note which option a flag sets, so that what comes another way is checked likewise."""
    vars(action)["setting"] = setting


def setting_of(action: argparse.Action) -> Setting | None:
    """Return the option that a flag sets; None where it is no option of settings."""
    found: Setting | None = vars(action).get("setting")
    return found


def from_text(action: argparse.Action, text: str) -> Any:
    """Return what a flag would set for a text. Raises ConfigError."""
    if _is_switch(action):
        return _checked(action, _switched(text))
    if _is_list(action):
        # What may be repeated may be an address, in which commas are rare and spaces are none.
        return [_converted(action, part) for part in _BETWEEN.split(text.strip()) if part]
    return _checked(action, _converted(action, text))


def from_toml(action: argparse.Action, value: Any) -> Any:
    """Return what a flag would set for a value of TOML, whose type must be right. Raises ConfigError."""
    if _is_switch(action):
        if type(value) is not bool:
            raise _unexpected(action, value, "true or false")
        return _checked(action, value)
    if _is_list(action):
        if not isinstance(value, list):
            raise _unexpected(action, value, "a list")
        return [_converted(action, _text(action, each)) for each in value]
    return _checked(action, _converted(action, _text(action, value)))


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs in ("*", "+")


def _switched(text: str) -> bool:
    if text.strip().lower() not in _YES + _NO:
        raise ConfigError(f"got {text!r}, expected true or false")
    return text.strip().lower() in _YES


def _text(action: argparse.Action, value: Any) -> str:
    """Return a value of TOML as the command line would have it."""
    kind: Any = action.type or str
    is_number = type(value) in (int, float)
    if kind is int and type(value) is not int:
        raise _unexpected(action, value, _EXPECTED[int])
    if kind is float and not is_number:
        raise _unexpected(action, value, _EXPECTED[float])
    if kind in (int, float):
        return repr(value)
    if kind in _EXPECTED and not isinstance(value, str):
        raise _unexpected(action, value, _EXPECTED[kind])
    # The others take texts of their own, such as `openai,wyoming=10301`, for which a list is easier to read.
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    if isinstance(value, str) or is_number:
        return f"{value}"
    raise _unexpected(action, value, "text, or a list of texts")


def _converted(action: argparse.Action, text: str) -> Any:
    kind: Callable[[str], Any] = action.type if callable(action.type) else str
    try:
        value = kind(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise _unexpected(action, text, _EXPECTED.get(kind, "another value")) from error  # type: ignore[call-overload]
    if action.choices is not None and value not in action.choices:
        raise _unexpected(action, text, f"one of {', '.join(map(str, action.choices))}")
    return value


def _checked(action: argparse.Action, value: Any) -> Any:
    setting = setting_of(action)
    return checked_value(setting.field, value) if setting else value


def _unexpected(action: argparse.Action, value: Any, expected: str) -> ConfigError:
    shown = "something else" if action.dest == _SECRET else repr(value)
    return ConfigError(f"got {shown}, expected {expected}")
