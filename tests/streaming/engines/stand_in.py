"""whisper.cpp for tests: a program that can be run, and its model, which says what it tells."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WORDS = ((" Hello", 0, 400), (",", 1400, 1500), (" wor", 500, 700), ("ld", 700, 900), (".", 1500, 1600))
_TOKENS = [{"text": "[_BEG_]", "ms": [0, 0], "id": 50364}, *({"text": t, "ms": [a, b]} for t, a, b in _WORDS)]
SEGMENTS = [
    {"ms": [0, 1600], "tokens": _TOKENS},
    {"ms": [1600, 2000], "tokens": [{"text": " Bye.", "ms": [1700, 1900]}]},
]


def write_program(folder: Path, name: str = "whisper-cli") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program, script = folder / name, Path(__file__).with_name("whisper_program.py")
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    program.chmod(0o755)
    return program


def write_model(
    folder: Path,
    segments: Sequence[dict[str, Any]] = SEGMENTS,
    *,
    language: str = "en",
    multilingual: bool = True,
    **does: Any,
) -> Path:
    """segments: bytes of their tokens are characters of Latin-1. does: says, status, hangs, lacks, content, times."""
    model = folder / "ggml-base.bin"
    model.write_text(json.dumps({"segments": segments, "language": language, "multilingual": multilingual, **does}))
    return model


def given_to(model: Path) -> list[dict[str, Any]]:
    """What the program was given, each time that it ran."""
    return [json.loads(line) for line in Path(f"{model}.given").read_text().splitlines()]
