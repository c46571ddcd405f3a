"""The flags of `serve` about models, and two of them in one server as somebody runs it."""

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig
from streaming.cli import main
from streaming.cli.options import ProgressBar
from streaming.cli.pools import add_pool_flags, pool_from
from streaming.cli.served_models import add_model_flags, by_language_from, first_source, models_from
from streaming.sessions.models import ModelsPool
from streaming.sessions.worker import Worker
from streaming.settings import WorkerConfig
from tests.streaming.cli.test_cli_serve import CAPTIONS, COMMAND, ROOT, SPOKEN, words_of

CONFIG = AlignAttConfig(model_name="base", alignment_heads=((3, 1),), language="de")


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_flags(parser)
    add_pool_flags(parser)
    return parser.parse_args(flags)


def test_one_model_is_a_worker_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    for flags in ((), ("--model", "base"), ("--model", str(tmp_path / "a=b"))):
        options = parsed(*flags)
        assert models_from(options, CONFIG) == {}
        assert isinstance(pool_from(options, CONFIG, WorkerConfig(), ProgressBar()), Worker)
    assert first_source(parsed()) is None


def test_names_and_what_they_stand_for(tmp_path: Path) -> None:
    options = parsed("--model", "base", "--model", "mine=openai/whisper-small", "--model", str(tmp_path / "."))
    models = models_from(options, CONFIG)
    assert first_source(options) == "base"
    assert list(models) == ["base", "mine", tmp_path.name]
    assert models["base"] == CONFIG
    # Heads are of one model; all else is of the server.
    assert (models["mine"].model_name, models["mine"].alignment_heads) == ("openai/whisper-small", ())
    assert models["mine"].language == "de"
    assert models[tmp_path.name].model_name == str(tmp_path / ".")


def test_one_with_a_name_of_its_own_has_it() -> None:
    options = parsed("--model", "mine=tiny.en")
    pool = pool_from(options, AlignAttConfig(model_name="tiny.en"), WorkerConfig(), ProgressBar())
    assert isinstance(pool, ModelsPool)
    health = pool.health()
    assert (health.model, health.languages) == ("mine", ("en",))
    pool.stop()


def test_languages_by_any_name() -> None:
    options = parsed("--model", "base", "--model", "tiny.en", "--model-for", "German=base", "--model-for", "en=tiny.en")
    assert by_language_from(options) == {"de": "base", "en": "tiny.en"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "base", "--model", "base"], "got two models called base; --model NAME=PATH gives one of them"),
        (["--model", "base", "--model-for", "de=small"], "got --model-for de=small, expected one of the models: base"),
        (["--model-for", "de=small"], "expected one of the models: none; give --model"),
        (["--model", "a=base", "--model-path", "/models/b"], "name it: --model NAME=/models/b"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag", [["--model", "=base"], ["--model", "mine="], ["--model-for", "de"], ["--model-for", "xx=a"]]
)
def test_what_is_no_model_is_refused(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*flag)
    assert f"argument {flag[0]}: got " in capsys.readouterr().err


def test_what_cannot_be_loaded_is_told_to_strangers_without_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = parsed("--model", "tiny.en", "--model", f"mine={tmp_path / 'nothing'}")
    pool = pool_from(options, AlignAttConfig(model_name="tiny.en"), WorkerConfig(), ProgressBar())
    assert isinstance(pool, ModelsPool)
    handle = pool.open(AlignAttConfig(model_name="mine"))
    pool.start()
    try:
        cursor = handle.log.cursor()
        (failed,) = cursor.read(60.0)
        assert getattr(failed, "message", "") == "the model mine cannot be used at present"
        assert f"the model mine cannot be loaded: {tmp_path / 'nothing'}: no such directory" in caplog.text
    finally:
        pool.stop()


def test_two_models_in_one_server_as_somebody_runs_it() -> None:
    flags = ["--model", "tiny.en", "--model", "base", "--model-for", "es=base", "--padding-len", "1"]
    command = [*COMMAND, "serve", "--port", "0", "--language", "en", *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            lines = iter(process.stderr.readline, "")
            address = next(found[0] for line in lines if (found := re.findall(r"listening on (\S+);", line)))
            assert any("ready" in line for line in lines)
            connect = [*COMMAND, "connect", address, str(CAPTIONS), "--model", "base"]
            ran = subprocess.run(connect, cwd=ROOT, capture_output=True, text=True, check=False)
            assert ran.returncode == 0
            assert words_of(ran.stdout) == SPOKEN
            assert any("model base, encoder" in line for line in lines)
        finally:
            process.kill()
