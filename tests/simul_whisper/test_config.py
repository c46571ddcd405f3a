"""Settings: what is refused, with the name of the setting in the error, and what the older names mean."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from simul_whisper.config import PRESETS, AlignAttConfig, LastWord, SimulWhisperConfig
from simul_whisper.errors import ConfigError
from simul_whisper.options import option_of

NAMES_OF_THE_INTERFACE = (
    "model_path model_name language task decoder_type beam_size init_prompt static_init_prompt max_context_tokens "
    "audio_min_len audio_max_len segment_length frame_threshold rewind_threshold nonspeech_prob cif_ckpt_path "
    "never_fire use_coreml_encoder coreml_encoder_path coreml_compute_units"
).split()


def changed(**values: Any) -> AlignAttConfig:
    return AlignAttConfig(**values).validated()


def test_the_interface_has_its_names() -> None:
    assert issubclass(AlignAttConfig, SimulWhisperConfig)
    assert SimulWhisperConfig.__module__ == "simul_whisper.config"
    assert set(NAMES_OF_THE_INTERFACE) <= {each.name for each in fields(AlignAttConfig)}


def test_defaults_are_valid_and_stay_themselves() -> None:
    assert AlignAttConfig().validated() == AlignAttConfig()
    assert SimulWhisperConfig().validated() == SimulWhisperConfig()


@pytest.mark.parametrize("setting", fields(AlignAttConfig), ids=lambda setting: setting.name)
def test_every_setting_explains_itself(setting: Any) -> None:
    option = option_of(setting)
    assert len(option.help) > 10
    assert (option.low is None) == (option.high is None)


def test_languages_are_written_as_people_write_them() -> None:
    assert changed(languages=["German", "en-GB", "de"]).languages == ("de", "en")


def test_a_snapshot_does_not_follow_later_assignments() -> None:
    config = AlignAttConfig(alignment_heads=[[1, 2]])
    snapshot = config.validated()
    config.language = "de"
    assert isinstance(config.alignment_heads, list)
    config.alignment_heads[0] = [9, 9]
    assert snapshot.language == "auto"
    assert [list(pair) for pair in snapshot.alignment_heads] == [[1, 2]]


def test_settings_are_assigned_one_by_one() -> None:
    config = AlignAttConfig()
    config.coreml_compute_units = "CPU_AND_NE"
    config.audio_max_len = 30
    snapshot = config.validated()
    assert snapshot.coreml_compute_units == "CPU_AND_NE"
    assert isinstance(snapshot.audio_max_len, float)
    assert snapshot.max_samples == 480_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio_max_len", 31),
        ("audio_max_len", 30.01),
        ("audio_max_len", 1.9),
        ("audio_max_len", float("nan")),
        ("audio_max_len", float("inf")),
        ("audio_max_len", "15"),
        ("audio_max_len", True),
        ("audio_min_len", -0.1),
        ("segment_length", 0),
        ("beam_size", 0),
        ("beam_size", 2.0),
        ("beam_size", True),
        ("max_context_tokens", -1),
        ("frame_threshold", 0),
        ("frame_threshold", "25"),
        pytest.param("rewind_threshold", 10**400, id="rewind_threshold-googol"),
        ("nonspeech_prob", 1.5),
        ("hold_probability", -0.1),
        ("task", "summarize"),
        ("task", None),
        ("decoder_type", "sampling"),
        ("last_word", "maybe"),
        ("encoder_backend", "onnx"),
        ("encoder_compute_type", "int4"),
        ("decoder_device", "tpu"),
        ("coreml_compute_units", "NE"),
        ("use_coreml_encoder", 1),
        ("never_fire", "yes"),
        ("language", 7),
        ("languages", "de"),
        ("languages", [7]),
        ("languages", ["de", "auto"]),
        ("model_path", Path("model")),
        ("alignment_heads", "3,1"),
        ("alignment_heads", [[1]]),
        ("alignment_heads", [[1, "2"]]),
        ("alignment_heads", [[1, 2.0]]),
        ("alignment_heads", [[1, True]]),
        ("alignment_heads", [3, 1]),
    ],
)
def test_impossible_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"got {name} "):
        changed(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("beam_size", 2.0, "a whole number"),
        ("never_fire", "yes", "true or false"),
        ("coreml_encoder_path", 7, "text"),
        ("alignment_heads", "3,1", "a list"),
        ("hold_len", "1", "0 to 30"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_which_is_right(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"got {name} = {value!r}, expected {expected}"):
        changed(**{name: value})


def test_a_refused_choice_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="expected one of ALL, CPU_AND_NE, CPU_AND_GPU, CPU_ONLY"):
        changed(coreml_compute_units="CPU")


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(ConfigError, match="audio_min_len 9 s, expected at most audio_max_len, 8 s"):
        changed(audio_min_len=9, audio_max_len=8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"never_fire": True}, LastWord.KEEP),
        ({"never_fire": True, "cif_ckpt_path": "cif.npz"}, LastWord.KEEP),
        ({"never_fire": False}, LastWord.DROP),
        ({"never_fire": False, "cif_ckpt_path": "cif.npz"}, LastWord.DROP),
        ({}, LastWord.DROP),
    ],
)
def test_never_fire_is_an_older_name_of_last_word(given: dict[str, Any], expected: LastWord) -> None:
    snapshot = changed(**given)
    assert LastWord(snapshot.last_word) is expected
    assert snapshot.never_fire is None
    assert snapshot.validated() == snapshot


def test_use_coreml_encoder_is_an_older_name_of_a_backend() -> None:
    assert changed(use_coreml_encoder=True).encoder_backend == "coreml"
    assert changed(use_coreml_encoder=True, encoder_backend="coreml").encoder_backend == "coreml"
    assert changed().encoder_backend == "auto"
    with pytest.raises(ConfigError, match="use_coreml_encoder contradicts encoder_backend = mlx"):
        changed(use_coreml_encoder=True, encoder_backend="mlx")


def test_core_ml_is_for_every_policy() -> None:
    values = {"use_coreml_encoder": True, "coreml_encoder_path": "some.mlmodelc", "coreml_compute_units": "CPU_AND_NE"}
    for kind in (SimulWhisperConfig, AlignAttConfig):
        config = kind.from_mapping(values).validated()
        assert (config.encoder_backend, config.use_coreml_encoder) == ("coreml", False)
        assert kind(coreml_encoder_path=None).validated() == kind().validated()


def test_only_the_beam_decoder_has_beams() -> None:
    assert changed(beam_size=4, decoder_type="greedy").n_beams == 1
    assert changed(beam_size=4).n_beams == 4


def test_toml_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('language = "de"\naudio_max_len = 20\nalignment_heads = [[3, 1], [4, 2]]\n')
    expected = AlignAttConfig(language="de", audio_max_len=20, alignment_heads=[[3, 1], [4, 2]])
    assert AlignAttConfig.from_toml(file).validated() == expected.validated()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"audio_max_lenn = 3", "settings.toml: unknown setting audio_max_lenn; did you mean audio_max_len"),
        (b"zzz = 3", "settings.toml: unknown setting zzz; expected one of model_name,"),
        (b"language = ", "settings.toml: not valid TOML"),
        (b'language = "\xff"', "settings.toml: not valid TOML"),
    ],
)
def test_toml_with_mistakes_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        AlignAttConfig.from_toml(file)


def test_toml_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
        AlignAttConfig.from_toml(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        AlignAttConfig.from_toml(tmp_path)


def test_settings_of_the_policy_are_unknown_to_its_base() -> None:
    with pytest.raises(ConfigError, match="settings: unknown setting frame_threshold"):
        SimulWhisperConfig.from_mapping({"frame_threshold": 25})


def test_presets_are_settings_to_start_from() -> None:
    config = AlignAttConfig.preset("max_performance", language="de").validated()
    assert (config.backend, config.quantization, config.load_in_background) == ("coreml", "fastest", True)
    assert config.language == "de"
    assert AlignAttConfig.preset("mlx_only").backend == "mlx"
    parts = {name: (each.backend, each.decoder_backend) for name in PRESETS if (each := AlignAttConfig.preset(name))}
    assert (parts["full_coreml"], parts["hybrid"]) == (("coreml", "coreml"), ("coreml", "mlx"))
    assert parts["max_performance"] == ("coreml", "auto")
    assert AlignAttConfig.preset("default") == AlignAttConfig()
    with pytest.raises(ConfigError, match="expected one of default, max_performance, full_coreml, hybrid, mlx_only"):
        AlignAttConfig.preset("fast")
