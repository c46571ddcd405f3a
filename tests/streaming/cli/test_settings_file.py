"""`serve --config FILE`: the file holds all that is a flag, flags and variables win, and mistakes are named."""

import argparse
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig, SpeechConfig
from streaming.cli import main, parser_of
from streaming.cli.access import access_from
from streaming.cli.client_limits import client_limits_from
from streaming.cli.environment import flag_of, flags_of
from streaming.cli.options import configs_from, options_from
from streaming.cli.parser import Parser
from streaming.cli.settings_file import SETTINGS, flags_from, settings_file
from streaming.cli.speech import speech_from
from streaming.cli.values import setting_of
from streaming.server.limits import Limits
from streaming.settings import ClientLimits, WorkerConfig

WHOLE = """
language = "de"

[server]
host = "0.0.0.0"
port = 9000
admin_port = 0
origin = ["https://talks.example.org"]
allowed_host = ["talks.example.org", "captions"]
token_file = "tokens.txt"
dialects = ["openai", "wyoming=10301"]
alias = ["captions"]
speech = true

[limits]
idle_s = 30

[worker]
max_sessions = 4

[client_limits]
beam_size = 3
terms = 10

[speech]
speed = 1.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(WHOLE)
    return path


def parsed(*arguments: str) -> argparse.Namespace:
    return parser_of(["serve"]).parse_args(["serve", *arguments])


def test_every_table_is_read(file: Path) -> None:
    options = parsed("--config", str(file))
    assert (options.host, options.port, options.admin_port, options.speech) == ("0.0.0.0", 9000, 0, True)
    assert options.origin == ["https://talks.example.org"]
    assert options.allowed_host == ["talks.example.org", "captions"]
    assert options.token_file == Path("tokens.txt")
    assert (options.dialects.names, options.dialects.places) == (("openai", "wyoming"), {"wyoming": 10301})
    assert options.admin_host == "127.0.0.1"
    assert options_from(Limits, options) == Limits(idle_s=30.0)
    assert options_from(WorkerConfig, options) == WorkerConfig(max_sessions=4)
    assert client_limits_from(options) == ClientLimits(beam_size=3, terms=10)
    configs = configs_from(options)
    assert configs.engine == AlignAttConfig(language="de").validated()
    assert speech_from(options, configs) == SpeechConfig(speed=1.5)


def test_flags_win_over_variables_and_these_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMUL_WHISPER_PORT", "9001")
    monkeypatch.setenv("SIMUL_WHISPER_MAX_SESSIONS", "5")
    monkeypatch.setenv("SIMUL_WHISPER_CONFIG", str(file))
    options = parsed("--max-sessions", "6", "--client-limits", "terms=20", "--allowed-host", "other")
    assert (options.host, options.port, options.allowed_host) == ("0.0.0.0", 9001, ["other"])
    assert options_from(WorkerConfig, options) == WorkerConfig(max_sessions=6)
    assert client_limits_from(options) == ClientLimits(beam_size=3, terms=20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "[server]: unknown setting prot; did you mean port?"),
        ("[server]\nport = '1'", "[server]: port: got '1', expected a whole number"),
        ("[server]\nport = true", "[server]: port: got True, expected a whole number"),
        ("[server]\nhost = 1", "[server]: host: got 1, expected text"),
        ("[server]\nspeech = 1", "[server]: speech: got 1, expected true or false"),
        ("[server]\norigin = 'a'", "[server]: origin: got 'a', expected a list"),
        ("[server]\norigin = [1]", "[server]: origin: got 1, expected text"),
        ("[server]\ntoken = 123456", "[server]: token: got something else, expected text"),
        ("[server]\ndialects = [1]", "[server]: dialects: got [1], expected text, or a list of texts"),
        ("[server]\ndialects = 'morse'", "[server]: dialects: got 'morse', expected all, none"),
        ("[server]\nmax_sessions = 1", "[server]: unknown setting max_sessions; it belongs into [worker]"),
        ("[server]\nlanguage = 'de'", "[server]: unknown setting language; it belongs into the lines above all tables"),
        ("[server]\nconfig = 'x'", "[server]: unknown setting config"),
        ("[limits]\nidle = 1", "[limits]: unknown setting idle; did you mean idle_s?"),
        ("[worker]\nmax_sessions = -1", "[worker]: got max_sessions = -1, expected at least 0"),
        ("[client_limits]\nterms = 'many'", "[client_limits]: got terms = 'many', expected a whole number"),
        ("[speech]\ncoreml_compute_units = 'ALL'", "[speech]: coreml_compute_units is the engine's, too"),
        ("[limit]\nidle_s = 1", "unknown table [limit]; did you mean [limits]?"),
        ("server = 3", "got server = 3, expected a table, [server]"),
    ],
)
def test_mistakes_are_one_line_that_names_file_table_and_key(
    text: str, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert main(["serve", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"simul-whisper: {file}: {said}")
    assert len(err.splitlines()) == 1
    assert "123456" not in err


def test_other_commands_pass_over_what_only_a_server_has(file: Path) -> None:
    arguments = ["listen", "--config", str(file)]
    assert configs_from(parser_of(arguments).parse_args(arguments)).engine.language == "de"


def test_a_token_in_a_file_that_others_can_read_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[server]\ntoken = 'long-and-random-123'\n")
    file.chmod(0o644)
    assert access_from(parsed("--config", str(file))).name_of("long-and-random-123") == "token"
    said = capsys.readouterr().err
    assert said == f"simul-whisper: {file} can be read by all users of this machine; chmod o-r makes it yours\n"
    file.chmod(0o600)
    access_from(parsed("--config", str(file)))
    assert capsys.readouterr().err == ""


def test_every_flag_of_serve_can_stand_in_the_file(tmp_path: Path) -> None:
    """Each is either a key of [server], or of the table of its settings."""
    [serve] = [action for action in parser_of(["serve"])._actions if action.choices]
    assert serve.choices
    parser = dict(serve.choices)["serve"]
    assert isinstance(parser, Parser)
    path = tmp_path / "any.toml"
    for action in flags_of(parser):
        setting = setting_of(action)
        if setting and setting.settings in (AlignAttConfig, *SETTINGS.values()):
            assert action.dest.endswith(setting.field.name)
        elif action.dest not in ("config", "preset", "client_limits"):
            key = flag_of(action)[2:].replace("-", "_")
            path.write_text(f"[{parser.table}]\n{key} = {{}}\n")
            file = settings_file(argparse.Namespace(config=str(path)))
            # It is known, and no table.
            with pytest.raises(Exception, match=rf"any\.toml: \[server\]: {key}: got .*, expected"):
                flags_from(file, parser.table, flags_of(parser))
    assert {"port", "dialect_host", "tls_cert"} <= {action.dest for action in flags_of(parser)}
