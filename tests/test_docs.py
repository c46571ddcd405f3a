"""The README and docs/ tell the truth: every command in them is run, or says why it is not; tables are the code's.

A block of `sh` or `python` is run as it stands, in a folder that has what it names: short recordings, one clip in
demos/recordings, the clone's configs. 127.0.0.1:8000 is a server of the test, at another port. A comment in the line
before the block asks for less:

    <!-- parsed: why -->    the flags are read by the command's own parser, and nothing is done
    <!-- not run: why -->   nothing is done
"""

import argparse
import ast
import asyncio
import json
import logging
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any, get_args
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile

from scripts.settings_tables import renewed
from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, Update, load_model
from streaming.cli import main
from streaming.cli.options import configs_from
from streaming.client import RECOVERY, After
from streaming.events import Event, Reason
from streaming.protocols import native
from streaming.protocols.reading import ProtocolError
from streaming.sessions.request import ENGINE_OPTIONS, VOICE_OPTIONS
from tests.conftest import RECORDINGS, Recording
from tests.doc_blocks import CLONE, DOCS, PAGES, README, Block, blocks
from tests.listener import n_errors, text_of
from tests.streaming.serving import Served, s16, serving

MOST_README_BYTES = 8_000
MOST_LINE_CHARS = 132
NATIVE = DOCS / "protocols" / "native.md"
ADDRESS = "127.0.0.1:8000"
CLIP_S = 3
# What listeners of one model may set differently; models that differ in nothing else are loaded once.
FREE = set(ENGINE_OPTIONS)


@pytest.fixture(scope="module")
def served(tiny: Model) -> Iterator[Served]:
    with serving(model=tiny) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path, captions: Recording, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands of the documentation name."""
    clip = captions.samples[: CLIP_S * SAMPLE_RATE]
    for name in ("talk.mp3", "rede.mp3", "talk.wav", "rede.wav"):
        soundfile.write(tmp_path / name, clip, SAMPLE_RATE)
    soundfile.write(tmp_path / "call.wav", np.stack([clip, clip[::-1]], axis=1), SAMPLE_RATE)
    (tmp_path / "talk.raw").write_bytes(s16(clip))
    (tmp_path / "terms.txt").write_text("Whisper\n", "utf-8")
    (tmp_path / "configs").symlink_to(CLONE / "configs")
    recordings = tmp_path / "demos" / "recordings"
    recordings.mkdir(parents=True)
    shutil.copy(RECORDINGS / "captions.flac", recordings)
    lines = (RECORDINGS / "manifest.jsonl").read_text("utf-8").splitlines()
    (recordings / "manifest.jsonl").write_text(next(line for line in lines if '"captions"' in line), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def loaded(tiny: Model, base: Model) -> dict[str, Model]:
    return {_key(AlignAttConfig(model_name="tiny.en")): tiny, _key(AlignAttConfig(model_name="base")): base}


def _key(config: AlignAttConfig) -> str:
    return repr([getattr(config, each.name) for each in fields(config) if each.name not in FREE])


@pytest.fixture
def shared_models(loaded: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are loaded once for all commands."""

    def load(config: AlignAttConfig, *arguments: Any) -> Model:
        key = _key(config)
        if key not in loaded:
            loaded[key] = load_model(config, *arguments)
        return loaded[key]

    for module in list(sys.modules.values()):
        if module.__name__.startswith(("simul_whisper", "streaming")) and vars(module).get("load_model") is load_model:
            monkeypatch.setattr(module, "load_model", load)


def marked(language: str, mark: str) -> pytest.MarkDecorator:
    chosen = [block for block in blocks(language) if block.mark == mark]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=str)


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= MOST_README_BYTES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short_enough_to_be_read_in_an_editor(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    # A row of a table is one line, however long.
    assert [line for line in prose.splitlines() if len(line) > MOST_LINE_CHARS and not line.startswith("|")] == []


def test_no_block_escapes() -> None:
    """A shell block of another name, such as `bash`, would not be run."""
    assert {block.language for block in blocks()} == {"sh", "python", "json", "toml"}


@marked("sh", "")
def test_a_command_runs_as_written(block: Block, folder: Path, served: Served, shared_models: None) -> None:  # noqa: ARG001
    for command in block.commands:
        run(command.replace(ADDRESS, f"127.0.0.1:{served.port}"))


def run(command: str) -> None:
    """Run a line of shell; our own command in this process, which has its models loaded."""
    words = shlex.split(command, comments=True)
    if words[:2] == ["simul-whisper", "coreml"]:
        pytest.importorskip("coremltools", reason="needs the extra coreml")
    if words[0] == "simul-whisper" and not re.search(r"[|<>*?$;&`]", shlex.join(words[1:]).replace("'", "")):
        assert main(words[1:]) == 0
        return
    if not shutil.which(words[0], path=_path()):
        pytest.skip(f"needs {words[0]}")
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True, env=os.environ | {"PATH": _path()})


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@marked("sh", "parsed")
def test_a_command_that_is_not_run_is_possible(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", _parse_only)
    for command in block.commands:
        words = shlex.split(command, comments=True)
        while words and (words[0] == "export" or "=" in words[0]):
            words.pop(0)
        if words:
            check(words, monkeypatch)


class ParsedError(Exception):
    """The flags are right."""


_parse_args = argparse.ArgumentParser.parse_args


def _parse_only(parser: argparse.ArgumentParser, arguments: Any = None) -> None:
    options = _parse_args(parser, arguments)
    if hasattr(options, "preset"):
        configs_from(options)
    raise ParsedError


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a command without doing what it says."""
    match words:
        case ["make", target]:
            assert re.search(f"^{target}:", (CLONE / "Makefile").read_text("utf-8"), re.MULTILINE)
        case ["pip", "install", *packages]:
            known = re.findall(r"^(\w+) = \[", (CLONE / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
            extras = [extra for package in packages for extra in re.findall(r"\w+", package.partition("[")[2])]
            assert set(extras) <= set(known)
        case ["simul-whisper", *arguments]:
            with pytest.raises(ParsedError):
                main(arguments)
        case ["python", script, *_] if script.startswith("demos/"):
            assert (CLONE / script).is_file()
        case ["python", "-m", module, *arguments]:
            _check_module(module, arguments, monkeypatch)
        case ["python", script, *arguments]:
            _check_module(script.removesuffix(".py").replace("/", "."), arguments, monkeypatch)
        case _:
            pytest.fail(f"nobody knows how to check {words}")


def _check_module(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(name)
    program = module if hasattr(module, "main") else import_module(f"{name}.__main__")
    monkeypatch.setattr("sys.argv", [name, *arguments])
    with pytest.raises(ParsedError):
        program.main()


@marked("python", "")
def test_a_program_runs_as_written(
    block: Block,
    folder: Path,  # noqa: ARG001
    served: Served,
    captions: Recording,
    shared_models: None,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
) -> None:
    # So that it is restored, whatever the program makes of it.
    caplog.set_level(logging.NOTSET, "simul_whisper")
    execute(block.text.replace(ADDRESS, f"127.0.0.1:{served.port}"), {"samples": captions.samples})


def execute(program: str, scope: dict[str, Any]) -> None:
    """Run a program that may wait at its top level."""
    code: CodeType = compile(program, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, scope)
    if waiting is not None:
        asyncio.run(waiting)


@pytest.mark.parametrize("name", ["tiny.en", "base"])
@pytest.mark.usefixtures("shared_models")
def test_the_first_program_hears_what_is_said(name: str, captions: Recording) -> None:
    block = next(block for block in blocks("python") if block.page == DOCS / "library.md")
    example = block.text.replace('model_name="base"', f'model_name="{name}"')
    kept: list[Update] = []
    scope = {"samples": captions.samples, "keep": kept.append}
    execute(re.sub(r"^(update = .*?\))( *#.*)?$", r"\1; keep(update)", example, flags=re.MULTILINE), scope)
    assert len(kept) == 2
    assert kept[-1].is_last
    assert n_errors(captions.transcript, text_of(kept)) <= 2


@marked("toml", "")
def test_a_file_of_settings_is_possible(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "settings.toml").write_text(block.text, encoding="utf-8")
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", _parse_only)
    check(["simul-whisper", "serve", "--config", "settings.toml"], monkeypatch)


@marked("json", "")
def test_json_can_be_read_and_messages_are_those_of_the_protocol(block: Block) -> None:
    for line in block.text.splitlines():
        json.loads(line)
        if block.page == NATIVE:
            assert is_message(line), line


def is_message(line: str) -> bool:
    """Whether the protocol has it, with all its keys."""
    with suppress(ProtocolError):
        return bool(native.parse_client(line))
    said = from_server(line)
    return said is not None and json.loads(header_of(native.server_message(said))).keys() == json.loads(line).keys()


def from_server(line: str) -> native.ServerMessage | None:
    """Read an example: of sound, that is the header alone."""
    header = line.encode()
    is_sound = json.loads(line)["type"] == "spoken"
    return native.parse_server(struct.pack("<II", 1, len(header)) + header if is_sound else line)


def header_of(message: str | bytes) -> str:
    return message if isinstance(message, str) else message[8 : 8 + struct.unpack_from("<I", message, 4)[0]].decode()


def test_the_protocol_is_described_whole() -> None:
    text = NATIVE.read_text(encoding="utf-8")
    options = set(re.findall(r"`(\w+)`", text.split("### options")[1].split("## ")[0])) - {"keep", "drop"}
    assert options == {*ENGINE_OPTIONS, *VOICE_OPTIONS, "drafts"} - {"language", "task"}
    assert first_cells(text) >= {reason.value for reason in Reason} - {"unknown"}
    examples = [line for block in blocks("json") if block.page == NATIVE for line in block.text.splitlines()]
    events = [said.event for said in map(from_server, examples) if isinstance(said, native.Numbered)]
    assert {type(event) for event in events} == set(get_args(Event))


def test_how_clients_recover_is_that_of_the_table() -> None:
    text = NATIVE.read_text(encoding="utf-8").split("### How our clients recover")[1].split("## ")[0]
    rows = dict(zip(After, re.findall(r"^\| (.*) \|.*\|$", text, re.MULTILINE)[2:], strict=True))
    for then in (After.AGAIN, After.RENEW):
        told = {code for code, after in RECOVERY.codes.items() if after is then} & {reason.value for reason in Reason}
        assert set(re.findall(r"`(\w+)`", rows[then])) == told


def first_cells(text: str) -> set[str]:
    """Return the names in the first column of the tables."""
    return set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| [^|]+\|", text, re.MULTILINE))))


def test_the_metrics_are_described_whole(served: Served) -> None:
    with urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
        told = set(re.findall(r"^# TYPE simul_whisper_(\w+) ", answer.read().decode(), re.MULTILINE))
    text = (DOCS / "server.md").read_text(encoding="utf-8").split("## Metrics")[1].split("\n## ")[0]
    assert first_cells(text) == told


def test_what_is_told_of_the_model_is_described(served: Served) -> None:
    with urlopen(f"http://127.0.0.1:{served.port}/v1/model") as answer:
        told = json.load(answer)
    examples = [json.loads(block.text) for block in blocks("json") if block.page == DOCS / "server.md"]
    assert [example.keys() for example in examples] == [told.keys()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_settings_are_made_from_the_fields(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == renewed(text), "run: python -m scripts.settings_tables"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_clone_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:configs|demos|deploy|docs|scripts)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (CLONE / path).exists()] == []


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", README.read_text(encoding="utf-8")):
        target = CLONE / path
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), anchor


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "protocols" / "native.html").is_file()
