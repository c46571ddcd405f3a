"""Translation by Apertium, the program of that name: rules and dictionaries, fast and rough, for pairs of languages."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from simul_whisper.errors import BackendError, ConfigError
from simul_whisper.languages import language_code, language_names
from simul_whisper.translators import Sentence, TargetToken
from simul_whisper.translators.agreement import following
from simul_whisper.translators.apertium_pipe import ApertiumPipe
from simul_whisper.translators.config import TranslationConfig

_PROGRAM = "apertium"
_INSTALL = "on Debian: apt install apertium apertium-eng-spa, or another pair"
# Serbo-Croatian, which Whisper has as three; Apertium tells them apart as targets: hbs_HR.
_SERBO_CROATIAN = {"hbs": ("bs", "hr", "sr"), "hbs_BS": ("bs",), "hbs_HR": ("hr",), "hbs_SR": ("sr",)}


def open_apertium(config: TranslationConfig) -> "ApertiumTranslator":
    """Return the translator. Raises BackendError where the program or every pair of languages is missing, and
    ConfigError for a glossary, which it cannot be told.
    """
    if config.glossary:
        raise ConfigError("got a glossary, which apertium cannot be told; leave it out, or use openai")
    program = shutil.which(_PROGRAM)
    if program is None:
        raise BackendError(f"the program {_PROGRAM} is not installed; {_INSTALL}")
    # What the program itself looks at; beside its directory, wherever that is.
    data = Path(os.environ.get("APERTIUM_DATADIR") or Path(program).resolve().parent.parent / "share" / "apertium")
    modes = modes_by_pair(sorted(data.glob("modes/*.mode")))
    if not modes:
        raise BackendError(f"apertium has no pair of languages that Whisper knows in {data}; {_INSTALL}")
    return ApertiumTranslator(modes, config.timeout)


class ApertiumTranslator:
    """modes: what Apertium has for each pair of Whisper's codes, *.mode files. timeout_s: for one sentence.

    Each pair has one pipe, which is begun with its first sentence and takes them one by one.
    """

    def __init__(self, modes: Mapping[tuple[str, str], Path], timeout_s: float) -> None:
        self._modes = modes
        self._timeout_s = timeout_s
        self._pipes = {mode: ApertiumPipe(mode) for mode in set(modes.values())}

    @property
    def description(self) -> str:
        return f"apertium {', '.join(sorted({mode.stem for mode in self._modes.values()}))}"

    def check_pair(self, source: str, target: str) -> None:
        if (source, target) not in self._modes:
            names = language_names()
            there = sorted(f"{names[one]} to {names[other]}" for one, other in self._modes)
            raise ConfigError(
                f"apertium does not translate {names.get(source, source)} to {names.get(target, target)} here, "
                f"only {', '.join(there)}"
            )

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.check_pair(sentence.source, sentence.target)
        pipe = self._pipes[self._modes[sentence.source, sentence.target]]
        return following(sentence.told, pipe.translated(sentence.text, self._timeout_s), sentence.target)


def modes_by_pair(modes: Sequence[Path]) -> dict[tuple[str, str], Path]:
    """Return pair of Whisper's codes -> mode: spa-eng.mode, or where there is none a variant like spa-eng_US.mode."""
    found = dict[tuple[str, str], Path]()
    for mode in sorted(modes, key=lambda mode: mode.stem.count("_")):
        parts = mode.stem.split("-")
        if len(parts) == 2:
            for pair in ((one, other) for one in _codes(parts[0]) for other in _codes(parts[1])):
                found.setdefault(pair, mode)
    return found


def _codes(language: str) -> Sequence[str]:
    """Whisper's codes of a language as Apertium writes it, most often in three letters."""
    if language in _SERBO_CROATIAN:
        return _SERBO_CROATIAN[language]
    try:
        return (language_code(language),)
    except ConfigError:
        return ()
