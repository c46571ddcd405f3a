"""Settings of voice activity and translation: from a file, from flags, and what is refused, by file and key."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig, ConfigError, Progress, Stage, TranslationConfig
from streaming.cli import main
from streaming.cli.options import (
    Configs,
    ProgressBar,
    add_settings,
    add_translation_settings,
    add_voice_settings,
    config_from,
    configs_from,
    session_configs_from,
)
from streaming.settings import VoiceConfig

BOTH = 'language = "de"\n\n[voice]\nvad_silence = 1.5\nvad_lead_in = 1\n'
MISTAKES = {
    "vad_silense = 1": "unknown setting vad_silense; did you mean vad_silence?",
    "language = 'de'": "unknown setting language",
    "vad_silence = '1'": "got vad_silence = '1', expected 0.1 to 10",
    "vad_silence = 11": "got vad_silence = 11, expected 0.1 to 10",
    "vad_threshold = nan": "got vad_threshold = nan, expected 0.05 to 0.95",
    "vad_lead_in = true": "got vad_lead_in = True, expected 0 to 2",
    "vad = 1": "got vad = 1, expected true or false",
    "vad = {}": "got vad = {}, expected true or false",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_voice_settings(parser)
    add_translation_settings(parser)
    add_settings(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize(("command", "default"), [("transcribe", "False"), ("listen", "True"), ("bench", "True")])
def test_help_says_whether_only_speech_is_decoded(
    command: str, default: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"decode speech only; false = everything is decoded (default: {default}" in shown


def test_a_file_sets_both_kinds(file: Path) -> None:
    file.write_text(BOTH)
    configs = configs_from(parsed("--config", str(file)))
    assert configs.engine == AlignAttConfig(language="de").validated()
    assert configs.voice == VoiceConfig(vad_silence=1.5, vad_lead_in=1.0)


def test_without_a_file_there_are_defaults_and_flags() -> None:
    assert configs_from(parsed()) == Configs(AlignAttConfig().validated(), VoiceConfig(), TranslationConfig())
    assert configs_from(
        parsed("--no-vad", "--preset", "mlx_only", "--to", "es", "--translation-timeout", "3")
    ) == Configs(
        AlignAttConfig.preset("mlx_only", targets=["es"]).validated(),
        VoiceConfig(vad=False),
        TranslationConfig(timeout=3),
    )


def test_flags_win_over_the_file(file: Path) -> None:
    file.write_text(BOTH)
    flags = ("--vad-silence", "0.4", "--no-vad", "--language", "fr")
    configs = configs_from(parsed("--config", str(file), *flags))
    assert configs.engine.language == "fr"
    assert configs.voice == VoiceConfig(vad=False, vad_silence=0.4, vad_lead_in=1.0)


def test_a_flag_may_switch_on_what_the_file_switches_off(file: Path) -> None:
    file.write_text("[voice]\nvad = false\n")
    assert not configs_from(parsed("--config", str(file))).voice.vad
    assert configs_from(parsed("--config", str(file), "--vad")).voice.vad


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_refused_by_file_and_key(line: str, file: Path) -> None:
    file.write_text(f"[voice]\n{line}\n")
    with pytest.raises(ConfigError) as refused:
        configs_from(parsed("--config", str(file)))
    assert str(refused.value).startswith(f"{file}: [voice]: {MISTAKES[line]}")


@pytest.mark.parametrize("content", ["voice = 3", "[[voice]]\nvad = true"])
def test_what_is_no_table_is_refused(content: str, file: Path) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"settings\.toml: got voice = .*, expected a table, \[voice\]"):
        configs_from(parsed("--config", str(file)))


def test_other_tables_are_refused(file: Path) -> None:
    file.write_text("[voise]\nvad = true\n")
    with pytest.raises(ConfigError, match=r"settings\.toml: unknown table \[voise\]; did you mean \[voice\]\?"):
        configs_from(parsed("--config", str(file)))


def test_voice_settings_among_those_of_the_engine_are_refused(file: Path) -> None:
    file.write_text("vad_silence = 1.0\n")
    with pytest.raises(ConfigError, match=r"settings\.toml: unknown setting vad_silence"):
        configs_from(parsed("--config", str(file)))


def test_a_flag_with_an_impossible_value_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^got vad_silence = 11\.0, expected 0\.1 to 10"):
        configs_from(parsed("--vad-silence", "11"))


def test_settings_of_the_engine_alone_do_without_the_table(file: Path) -> None:
    file.write_text("language = 'de'\n[voice]\nvad_silense = 1\n")
    assert config_from(parsed("--config", str(file))) == AlignAttConfig(language="de").validated()


@pytest.mark.parametrize("command", ["listen", "serve"])
def test_commands_with_voice_activity_read_the_table(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[voice]\nvad_silence = 0\n")
    assert main([command, "--config", str(file)]) == 2
    assert capsys.readouterr().err == f"simul-whisper: {file}: [voice]: got vad_silence = 0, expected 0.1 to 10\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [(["transcribe", "x.wav", "--output", "/no/such/folder/out.txt"], "out.txt"), (["bench", "/no/such"], "/no/such")],
)
def test_commands_without_it_pass_over_the_table(
    command: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come to their next mistake."""
    file.write_text(BOTH)
    assert main([*command, "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "voice" not in err


# Translation

TRANSLATED = """
backend = "mlx"

[translation]
targets = ["German", "en"]
backend = "openai"
model = "llama"
url = "http://127.0.0.1:11434/v1"
drafts = false
"""


@pytest.mark.parametrize("read", [configs_from, session_configs_from])
def test_a_table_sets_translation_and_its_targets(read: Callable[..., Configs], file: Path) -> None:
    file.write_text(TRANSLATED)
    configs = read(parsed("--config", str(file)))
    assert configs.translation == TranslationConfig("openai", "llama", "http://127.0.0.1:11434/v1", drafts=False)
    assert (configs.engine.targets, configs.engine.backend, configs.engine.model_name) == (("de", "en"), "mlx", "base")


def test_flags_of_translation_are_not_those_of_the_engine(file: Path) -> None:
    file.write_text(TRANSLATED)
    flags = (
        "--translation-backend",
        "ctranslate2",
        "--backend",
        "coreml",
        "--translation-model",
        "m",
        "--model",
        "tiny",
    )
    configs = configs_from(parsed("--config", str(file), *flags, "--translation-drafts", "--to", "Spanish, fr-CA"))
    assert (configs.translation.backend, configs.translation.model, configs.translation.drafts) == (
        "ctranslate2",
        "m",
        True,
    )
    assert (configs.engine.backend, configs.engine.model_name) == ("coreml", "tiny")
    assert configs.engine.targets == ("es", "fr")
    assert configs.translation.url == "http://127.0.0.1:11434/v1"


def test_no_targets_can_be_asked_for(file: Path) -> None:
    file.write_text(TRANSLATED)
    assert configs_from(parsed("--config", str(file), "--to", "")).engine.targets == ()


def test_who_translates_into_which_language() -> None:
    configs = configs_from(parsed("--to", "es,en,de"))
    assert (configs.session.targets, configs.stage_targets) == (("en",), ("es", "de"))
    assert configs.session.validated() == configs_from(parsed("--to", "en")).engine
    configs = configs_from(parsed("--to", "es,en", "--translation-english", "translator"))
    assert (configs.session.targets, configs.stage_targets) == ((), ("es", "en"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[translation]\nmodle = 'x'", "[translation]: unknown setting modle; did you mean model?"),
        ("[translation]\ntimeout = 0", "[translation]: got timeout = 0, expected 0.1 to 600"),
        ("[translation]\ntargets = 'es'", "got targets = 'es', expected a list"),
        ("translation = 'es'", "got translation = 'es', expected a table, [translation]"),
        ("[[translation]]", "got translation = [{}], expected a table, [translation]"),
        (
            "targets = ['es']\n[translation]\ntargets = ['de']",
            "got targets = ['es'] and, in [translation], ['de']; they are one setting, so write it once",
        ),
    ],
)
def test_mistakes_in_translation_are_refused(content: str, said: str, file: Path) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(said)):
        configs_from(parsed("--config", str(file)))


def test_targets_that_stand_twice_alike_are_no_mistake(file: Path) -> None:
    file.write_text("targets = ['es']\n[translation]\ntargets = ['es']\n")
    assert configs_from(parsed("--config", str(file))).engine.targets == ("es",)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--to", "Klingonian"], "got language 'Klingonian', which Whisper does not know; the nearest are"),
        (["--to", "es,auto"], "got targets ('es', 'auto'), expected languages; auto is none"),
        (
            ["--to", "es,en", "--task", "translate"],
            "task = translate writes English already; leave en out of the targets",
        ),
    ],
)
def test_impossible_targets_are_refused(flags: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        configs_from(parsed(*flags))
    assert "detects" not in str(refused.value)


def test_why_core_ml_does_not_run_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressBar()(Progress(Stage.COREML_UNAVAILABLE, "Core ML needs macOS", part="decoder"))
    assert capsys.readouterr().err == "simul-whisper: decoder: coreml unavailable: Core ML needs macOS\n"


def test_weights_that_cannot_be_downloaded_are_told_by_the_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressBar()(Progress(Stage.DOWNLOAD_FAILED, "no network"))
    assert capsys.readouterr().err == ""
    ProgressBar()(Progress(Stage.DOWNLOAD_FAILED, "no network", part="encoder"))
    assert capsys.readouterr().err == "simul-whisper: encoder: download failed: no network\n"


def test_terms_stand_in_a_file_of_their_own_or_in_that_of_the_settings(file: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("# names\nAda Lovelace\nmel, hop\n", encoding="utf-8")
    file.write_text('terms = ["frame", "token"]', encoding="utf-8")
    assert configs_from(parsed("--config", str(file))).engine.terms == ("frame", "token")
    configs = configs_from(parsed("--config", str(file), "--terms", str(terms)))
    assert configs.engine.terms == ("Ada Lovelace", "mel, hop")


@pytest.mark.parametrize("command", [["transcribe", "a.wav"], ["listen"], ["serve"], ["connect", "ws://a", "-"]])
def test_a_bad_file_of_terms_is_refused_in_a_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--terms", str(tmp_path / "none.txt")])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "none.txt: cannot be read: No such file" in line
