"""The files that come with the project: each loads, and says only what differs from the defaults."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def test_there_are_four() -> None:
    assert [path.stem for path in CONFIGS] == ["accurate", "default", "low-latency", "translate"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
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
