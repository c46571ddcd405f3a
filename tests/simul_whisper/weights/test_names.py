"""One and the same model under all the names that people have given its copies."""

import pytest

from simul_whisper.weights.names import plain_name

# All of mlx-community's collection of Whisper, and its later uploads, by what is left of their names.
MLX_COMMUNITY = {
    "tiny": "tiny tiny-mlx tiny-mlx-4bit tiny-mlx-8bit tiny-mlx-fp32 tiny-mlx-q4",
    "tiny.en": "tiny.en-mlx tiny.en-mlx-4bit tiny.en-mlx-8bit tiny.en-mlx-fp32 tiny.en-mlx-q4",
    "base": "base-mlx base-mlx-2bit base-mlx-4bit base-mlx-8bit base-mlx-fp32 base-mlx-q4",
    "base.en": "base.en-mlx base.en-mlx-4bit base.en-mlx-8bit base.en-mlx-fp32 base.en-mlx-q4",
    "small": "small-mlx small-mlx-4bit small-mlx-8bit small-mlx-fp32 small-mlx-q4 small-asr-fp16",
    "small.en": "small.en-mlx small.en-mlx-4bit small.en-mlx-8bit small.en-mlx-fp32 small.en-mlx-q4 "
    "small.en-asr-4bit small.en-asr-8bit small.en-asr-fp16",
    "medium": "medium-mlx medium-mlx-4bit medium-mlx-8bit medium-mlx-fp32 medium-mlx-q4",
    "medium.en": "medium.en-mlx medium.en-mlx-4bit medium.en-mlx-8bit medium.en-mlx-fp32",
    "large-v1": "large-v1-mlx large-v1-mlx-4bit large-v1-mlx-8bit",
    "large-v2": "large-v2-mlx large-v2-mlx-4bit large-v2-mlx-8bit large-v2-mlx-fp32",
    # When these were converted, `large` meant this.
    "large-v3": "large-mlx large-mlx-4bit large-mlx-8bit large-v3-mlx large-v3-mlx-4bit large-v3-mlx-8bit "
    "large-v3-fp16",
    "large-v3-turbo": "turbo large-v3-turbo large-v3-turbo-q4 large-v3-turbo-4bit large-v3-turbo-8bit "
    "large-v3-turbo-fp16 large-v3-turbo-asr-4bit large-v3-turbo-asr-fp16",
}
MLX_NAMES = [(f"mlx-community/whisper-{form}", name) for name, forms in MLX_COMMUNITY.items() for form in forms.split()]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *MLX_NAMES,
        ("mlx-community/distil-whisper-medium.en", "distil-medium.en"),
        ("mlx-community/distil-whisper-large-v3", "distil-large-v3"),
        ("base", "base"),
        ("turbo", "large-v3-turbo"),
        ("openai/whisper-base.en", "base.en"),
        ("Systran/faster-whisper-large-v3", "large-v3"),
        ("Systran/faster-distil-whisper-small.en", "distil-small.en"),
        ("deepdml/faster-whisper-large-v3-turbo-ct2", "large-v3-turbo"),
        ("distil-whisper/distil-large-v3.5-ct2", "distil-large-v3.5"),
        ("/models/whisper-tiny-8bit/", "tiny"),
        ("whisper.cpp/models/ggml-small.en.bin", "small.en"),
        ("ggml-large-v3-turbo-q5_0.bin", "large-v3-turbo"),
    ],
)
def test_what_a_model_is_called_whoever_converted_it(model: str, name: str) -> None:
    assert plain_name(model) == name


@pytest.mark.parametrize("name", ["my-model", "of-hers", "small-german", "tiny-q4-tuned", "mlx", "q4", "large-v4", ""])
def test_another_name_is_left_as_it_is(name: str) -> None:
    assert plain_name(name) == plain_name(f"somebody/whisper-{name}") == name
