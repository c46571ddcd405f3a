"""Settings of voice activity: from a file, from flags, and what is refused, with the file and the key in the error."""

import argparse
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig, ConfigError
from streaming.cli import main
from streaming.cli.options import add_settings, add_voice_settings, config_from, configs_from
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
    add_settings(parser)
    return parser.parse_args(flags)


def test_a_file_sets_both_kinds(file: Path) -> None:
    file.write_text(BOTH)
    config, voice = configs_from(parsed("--config", str(file)))
    assert config == AlignAttConfig(language="de").validated()
    assert voice == VoiceConfig(vad_silence=1.5, vad_lead_in=1.0)


def test_without_a_file_there_are_defaults_and_flags() -> None:
    assert configs_from(parsed()) == (AlignAttConfig().validated(), VoiceConfig())
    assert configs_from(parsed("--no-vad", "--preset", "mlx_only")) == (
        AlignAttConfig.preset("mlx_only").validated(),
        VoiceConfig(vad=False),
    )


def test_flags_win_over_the_file(file: Path) -> None:
    file.write_text(BOTH)
    flags = ("--vad-silence", "0.4", "--no-vad", "--language", "fr")
    config, voice = configs_from(parsed("--config", str(file), *flags))
    assert config.language == "fr"
    assert voice == VoiceConfig(vad=False, vad_silence=0.4, vad_lead_in=1.0)


def test_a_flag_may_switch_on_what_the_file_switches_off(file: Path) -> None:
    file.write_text("[voice]\nvad = false\n")
    assert not configs_from(parsed("--config", str(file)))[1].vad
    assert configs_from(parsed("--config", str(file), "--vad"))[1].vad


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
    with pytest.raises(ConfigError, match=r"settings\.toml: unknown setting voise"):
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
