"""The files that come with the project: each loads, and says only what differs from the defaults."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig
from streaming.cli import parser_of
from streaming.cli.client_limits import client_limits_from
from streaming.cli.options import configs_from, options_from
from streaming.cli.speech import speech_from
from streaming.server.limits import Limits
from streaming.settings import WorkerConfig

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
SERVER = next(path for path in CONFIGS if path.stem == "server")
OF_THE_ENGINE = [path for path in CONFIGS if path != SERVER]


def test_there_are_six() -> None:
    names = ["accurate", "default", "low-latency", "many-listeners", "server", "translate"]
    assert [path.stem for path in CONFIGS] == names


def with_all_choices(text: str) -> str:
    """Return the file with each line that is a choice made."""
    return re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("text", [SERVER.read_text("utf-8"), with_all_choices(SERVER.read_text("utf-8"))])
def test_a_server_can_be_started_with_its_file_and_with_all_its_choices(text: str, tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text, "utf-8")
    options = parser_of(["serve"]).parse_args(["serve", "--config", str(path)])
    configs, limits, worker = configs_from(options), options_from(Limits, options), options_from(WorkerConfig, options)
    assert (options.host, options.port, options.log_format) == ("127.0.0.1", 8000, "json")
    assert (limits.drain_s, worker.max_sessions, client_limits_from(options).targets) == (30.0, 8, 2)
    speech_from(options, configs)
    has_all = options.root_path == "/captions"
    assert (configs.engine.targets == ("es",)) == has_all == (options.token_file is not None)


@pytest.mark.parametrize("path", OF_THE_ENGINE, ids=lambda path: path.stem)
def test_each_loads_and_says_only_what_differs(path: Path) -> None:
    config, default = AlignAttConfig.from_toml(path).validated(), AlignAttConfig().validated()
    said = re.findall(r"^(\w+) = ", path.read_text("utf-8"), re.MULTILINE)
    assert [
        each.name for each in fields(config) if getattr(config, each.name) != getattr(default, each.name)
    ] == sorted(said, key=[each.name for each in fields(config)].index)
    assert bool(said) == (path.stem != "default")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_says_what_it_is_for(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")
