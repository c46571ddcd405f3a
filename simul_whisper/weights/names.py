"""Names under which people know one and the same model."""

import re

_FULL_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo", "voxtral": "voxtral-mini"}
_MAKER = re.compile(r"^(?:ggml-|(?:faster-)?(distil-)?whisper-)")
# What converters add: the program that reads it, the precision, the bits of quantised weights.
_FORMS = re.compile(
    r"(?:-(?:mlx|ct2|asr|f16|f32|fp16|fp32|bf16|float16|float32|int8|q\d(?:_[\dk])?|\dbit))*(?:\.bin)?$"
)


def full_name(name: str) -> str:
    """Return the full name of a model that also has a short one, such as turbo; other names as they are."""
    return _FULL_NAMES.get(name, name)


def plain_name(model: str) -> str:
    """Return what a model is called, whoever converted it, to whatever format and precision.

    model: a short name, a hub id, a directory or a file: "mlx-community/whisper-small.en-mlx-q4" is "small.en",
    "Systran/faster-distil-whisper-large-v3" is "distil-large-v3", "ggml-base-q5_1.bin" is "base".
    """
    name = model.rstrip("/").rpartition("/")[2]
    return full_name(_FORMS.sub("", _MAKER.sub(lambda found: found[1] or "", name), count=1))
