"""Flags that stand in the environment: each is read as the flag would be, and mistakes name the variable."""

import argparse
from collections.abc import Iterator, Mapping
from importlib import import_module

import pytest

from streaming.cli import _COMMANDS, main, parser_of
from streaming.cli.environment import flag_of, flags_of, strangers, variable_of
from streaming.cli.options import configs_from, options_from
from streaming.cli.parser import Parser, Source
from streaming.server.limits import Limits
from streaming.settings import VoiceConfig, WorkerConfig


def parsed(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], *arguments: str) -> argparse.Namespace:
    for name, value in variables.items():
        monkeypatch.setenv(f"SIMUL_WHISPER_{name}", value)
    return parser_of(arguments).parse_args(arguments)


@pytest.mark.parametrize(
    ("name", "text", "dest", "value"),
    [
        ("PORT", "9000", "port", 9000),
        ("HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("ADMIN_PORT", "0", "admin_port", 0),
        ("ORIGIN", "https://a.example, https://b.example", "origin", ["https://a.example", "https://b.example"]),
        ("ALIAS", "one,two", "alias", ["one", "two"]),
        ("SPEECH", "true", "speech", True),
        ("SPEECH", "0", "speech", False),
        ("VAD", "false", "vad", False),
        ("VAD", "On", "vad", True),
        ("TO", "es,en", "targets", ("es", "en")),
        ("ALIGNMENT_HEADS", "[[3, 1]]", "alignment_heads", [[3, 1]]),
        ("TOKEN", "a,b c", "token", "a,b c"),
    ],
)
def test_a_variable_is_read_as_its_flag(
    name: str, text: str, dest: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = parsed(monkeypatch, {name: text}, "serve")
    assert getattr(options, dest) == value
    assert options.sources == {dest: Source.ENVIRONMENT}


def test_a_flag_wins_over_its_variable_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parsed(monkeypatch, {"PORT": "1", "ORIGIN": "a,b"}, "serve", "--port", "2", "--origin", "c")
    assert (options.port, options.origin) == (2, ["c"])
    assert not parsed(monkeypatch, {"VAD": "true"}, "serve", "--no-vad").vad


def test_settings_have_them_and_keep_the_other_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parsed(monkeypatch, {"MAX_SESSIONS": "3", "IDLE_S": "7", "VAD_SILENCE": "2", "LANGUAGE": "de"}, "serve")
    assert options_from(WorkerConfig, options) == WorkerConfig(max_sessions=3)
    assert options_from(Limits, options) == Limits(idle_s=7.0)
    configs = configs_from(options)
    assert (configs.voice, configs.engine.language) == (VoiceConfig(vad_silence=2.0), "de")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("PORT", "many", "got 'many', expected a whole number"),
        ("SPEECH", "perhaps", "got 'perhaps', expected true or false"),
        ("MAX_SESSIONS", "-1", "got max_sessions = -1, expected at least 0"),
        ("VAD_SILENCE", "nan", "got vad_silence = nan, expected 0.1 to 10"),
        ("DECODER_TYPE", "best", "got 'best', expected one of greedy, beam"),
        ("DIALECTS", "morse", "got 'morse', expected all, none, or some of"),
        ("CLIENT_LIMITS", "beam=2", "--client-limits: unknown setting beam; did you mean beam_size?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_variable(
    name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"SIMUL_WHISPER_{name}", text)
    assert main(["serve", "--port", "0"] if name != "PORT" else ["serve"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"simul-whisper: SIMUL_WHISPER_{name}: {said}")
    assert len(err.splitlines()) == 1


def test_what_excludes_each_other_does_so_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"CONFIG": "a.toml", "PRESET": "hybrid"}
    assert parsed(monkeypatch, variables, "listen", "--preset", "mlx_only").preset == "mlx_only"
    assert parsed(monkeypatch, variables, "listen", "--preset", "mlx_only").config is None
    assert main(["listen"]) == 2
    assert "SIMUL_WHISPER_CONFIG and SIMUL_WHISPER_PRESET exclude each other" in capsys.readouterr().err


def test_a_command_reads_only_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = parsed(monkeypatch, {"PORT": "nonsense", "TOKEN": "secret"}, "connect", "ws://x", "y")
    assert options.token == "secret"
    assert not hasattr(options, "port")
    assert main(["models"]) == 0
    assert capsys.readouterr().err == ""


def test_a_command_within_a_command_has_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("coreml", "convert", "base")
    assert parsed(monkeypatch, {"NAME": "mine"}, *arguments).name == "mine"


def test_a_wrong_name_is_told_with_the_nearest_and_never_the_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMUL_WHISPER_TOKENS", "secret")
    assert main(["models"]) == 0
    err = capsys.readouterr().err
    assert err == (
        "simul-whisper: the variable SIMUL_WHISPER_TOKENS is not one that is read; did you mean SIMUL_WHISPER_TOKEN?\n"
    )


def test_what_kubernetes_says_of_a_service_of_this_name_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "PORT": "tcp://10.0.0.1:8000",
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_PORT": "tcp://10.0.0.1:8000",
    }
    assert parsed(monkeypatch, told, "serve").port == 8000
    assert not strangers({f"SIMUL_WHISPER_{name}": value for name, value in told.items()}, ())


def test_help_says_so_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SIMUL_WHISPER_TOKEN", "secret")
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert shown.count("SIMUL_WHISPER_MAX_SESSIONS") == 1
    assert "secret" not in shown


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_flag_of_every_command_has_a_variable_of_its_own(command: str) -> None:
    parser = Parser()
    import_module(f"streaming.cli.{command}").add_arguments(parser)
    for each in parsers(parser):
        assert isinstance(each, Parser)
        by_name = {variable_of(action): flag_of(action) for action in flags_of(each)}
        assert len(by_name) == len(flags_of(each))
