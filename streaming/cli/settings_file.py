"""The file of --config: settings of the engine above all tables, and a table for each kind of the others.

A command reads the tables that it has a use for, so that one file may hold the settings of all.
"""

import argparse
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from simul_whisper import AlignAttConfig, ConfigError, SpeechConfig, TranslationConfig, read_toml
from streaming.cli.environment import flag_of
from streaming.cli.values import from_toml, setting_of
from streaming.server.limits import Limits
from streaming.settings import ClientLimits, VoiceConfig, WorkerConfig

SERVER = "server"
SETTINGS: Mapping[str, type[Any]] = {
    "voice": VoiceConfig,
    "translation": TranslationConfig,
    "speech": SpeechConfig,
    "limits": Limits,
    "client_limits": ClientLimits,
    "worker": WorkerConfig,
}
"""The tables that hold settings. In [server] stands what else is a flag of `serve`."""
_TRANSLATION, _TARGETS = "translation", "targets"
# They say where the settings come from, or have a table of their own.
_NOT_IN_A_TABLE = ("config", "preset", "client_limits")


@dataclass(frozen=True)
class SettingsFile:
    """path: for messages. engine, tables: what it says, not checked yet."""

    path: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def table_of(self, settings: type[Any]) -> tuple[str, Mapping[str, Any]]:
        """Return the name of a table, for messages, and what stands in it."""
        name = next((name for name, each in SETTINGS.items() if each is settings), "")
        return f"{self.path}: [{name}]", self.tables.get(name, {})


def settings_file(options: argparse.Namespace) -> SettingsFile:
    """Return what the file of --config says; it is read once, as it may be a pipe. Raises ConfigError."""
    found: SettingsFile | None = getattr(options, "settings_file", None)
    if found is None:
        path = getattr(options, "config", None)
        found = options.settings_file = _read(path) if path else SettingsFile()
    return found


def flags_from(file: SettingsFile, name: str, actions: Iterable[argparse.Action]) -> dict[str, Any]:
    """Return what a table of flags says, by destination. Raises ConfigError, which names file, table and key."""
    table, source = file.tables.get(name, {}), f"{file.path}: [{name}]"
    known = {_key(action): action for action in actions if _may_stand_in_a_table(action)}
    found = dict[str, Any]()
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{source}: unknown setting {key}{_hint(key, known)}")
        try:
            found[known[key].dest] = from_toml(known[key], value)
        except ConfigError as error:
            raise ConfigError(f"{source}: {key}: {error}") from error
    return found


def _read(path: str) -> SettingsFile:
    engine = read_toml(path)
    tables = {name: _table(path, name, engine.pop(name)) for name in (SERVER, *SETTINGS) if name in engine}
    names = [each.name for each in fields(AlignAttConfig)]
    for name, value in engine.items():
        if isinstance(value, dict) and name not in names:
            close = difflib.get_close_matches(name, [SERVER, *SETTINGS], n=1)
            expected = f"did you mean [{close[0]}]?" if close else f"expected one of {_shown((SERVER, *SETTINGS))}"
            raise ConfigError(f"{path}: unknown table [{name}]; {expected}")
    _move_targets(path, engine, tables.get(_TRANSLATION, {}))
    return SettingsFile(path, engine, tables)


def _table(path: str, name: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: got {name} = {table!r}, expected a table, [{name}]")
    return table


def _move_targets(path: str, engine: dict[str, Any], translation: Mapping[str, Any]) -> None:
    """The languages may stand in the table of translation or above it."""
    if _TARGETS not in translation:
        return
    assert isinstance(translation, dict)
    targets = translation.pop(_TARGETS)
    if engine.setdefault(_TARGETS, targets) != targets:
        raise ConfigError(
            f"{path}: got targets = {engine[_TARGETS]} and, in [{_TRANSLATION}], {targets}; "
            "they are one setting, so write it once"
        )


def _may_stand_in_a_table(action: argparse.Action) -> bool:
    setting = setting_of(action)
    has_a_place = setting is not None and setting.settings in (AlignAttConfig, *SETTINGS.values())
    return not has_a_place and action.dest not in _NOT_IN_A_TABLE


def _key(action: argparse.Action) -> str:
    return flag_of(action).lstrip("-").replace("-", "_")


def _hint(key: str, known: Iterable[str]) -> str:
    """Say where a setting belongs that is in no place of its own, or which one may be meant."""
    homes = [f"[{name}]" for name, settings in SETTINGS.items() if key in {each.name for each in fields(settings)}]
    if key in {each.name for each in fields(AlignAttConfig)}:
        homes.append("the lines above all tables")
    if homes:
        return f"; it belongs into {' or '.join(homes)}"
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(known)}"


def _shown(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)
