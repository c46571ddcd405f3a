"""Directories as converters write them, with the fixture's weights under other families' names and vocabularies."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fixture_translator import DIRECTORY

Vocabulary = Sequence[str]


def copy_of_fixture(to: Path) -> Path:
    """The whole fixture, to be changed."""
    return Path(shutil.copytree(DIRECTORY, to))


def of_family(to: Path, pieces: str, vocabulary: Vocabulary, config: Mapping[str, object] | None = None) -> Path:
    """A directory with the files of a family that has one SentencePiece model, and with a vocabulary as given.

    Only what says how to use it is right: its weights are not of this vocabulary.
    """
    to.mkdir(parents=True)
    shutil.copy(DIRECTORY / "model.bin", to)
    shutil.copy(DIRECTORY / "source.spm", to / pieces)
    (to / "config.json").write_text(json.dumps(config or {"eos_token": "</s>"}))
    (to / "shared_vocabulary.txt").write_text("\n".join(vocabulary), "utf-8")
    return to
