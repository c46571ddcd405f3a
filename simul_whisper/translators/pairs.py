"""Which languages a translator knows, in Whisper's codes, and the tokens that name them to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import one_line
from simul_whisper.languages import LANGUAGES, language_code
from simul_whisper.translators.model_files import LANGUAGE_TOKENS, Family, ModelFiles

# opus-mt-en-de, opus-mt-tc-big-en-pt; a group of languages, such as ROMANCE, is no language of Whisper's.
_PAIR_IN_NAME = re.compile(r"opus-mt(?:-tc)?(?:-big)?-([A-Za-z_]+)-([A-Za-z_]+)")
# Where a vocabulary has a language in several scripts, and none without a script: what Whisper writes.
_SCRIPTS = {"zh": "Hans", "yue": "Hant", "sr": "Cyrl"}
_MOST_NAMED = 12


@dataclass(frozen=True)
class Pairs:
    """What a model translates.

    sources, targets: Whisper's code -> the token that names the language, or "" where none is needed; None: a model
    that is not told, and takes whatever it was trained with.
    """

    sources: Mapping[str, str] | None
    targets: Mapping[str, str] | None

    def check(self, source: str, target: str, name: str) -> None:
        """Raise ConfigError unless the model called `name` translates between these."""
        for code, known, verb in ((source, self.sources, "from"), (target, self.targets, "into")):
            if known is not None and code not in known:
                raise ConfigError(f"{one_line(name)} does not translate {verb} {code}, but {verb} {_listed(known)}")
        if source == target:
            raise ConfigError(f"got {source} as source and target, expected two languages")

    def tokens(self, source: str, target: str) -> tuple[str, str]:
        """Return the tokens that name both languages."""
        return (self.sources or {}).get(source, ""), (self.targets or {}).get(target, "")


def pairs_of(files: ModelFiles, name: str) -> Pairs:
    """Return what a model translates; name: as the user calls it, which for OPUS-MT often says the languages."""
    named = _named_in(files)
    if files.family is Family.MADLAD:
        # It is never told the source.
        return Pairs(None, named)
    if files.family is not Family.OPUS_MT:
        return Pairs(named, named)
    found = _PAIR_IN_NAME.search(name)
    source, target = files.pair or (found.groups() if found else ("", ""))
    return Pairs(_only(source), named or _only(target))


def _only(written: str) -> Mapping[str, str] | None:
    """One language that needs no token; None for a group of them."""
    code = _whispers(written)
    return {code: ""} if code else None


def _named_in(files: ModelFiles) -> dict[str, str]:
    """Whisper's code -> the best token of the vocabulary that names it."""
    found: dict[str, tuple[int, str]] = {}
    for token in files.source_vocabulary:
        if match := LANGUAGE_TOKENS[files.family].fullmatch(token):
            written, _, script = match[1].partition("_")
            if code := _whispers(written):
                candidate = (_rank(code, script), token)
                found[code] = min(found.get(code, candidate), candidate)
    return {code: token for code, (_, token) in found.items()}


def _rank(code: str, script: str) -> int:
    return 0 if not script else 1 if script == _SCRIPTS.get(code) else 2 if script == "Latn" else 3


def _whispers(written: str) -> str:
    """Return Whisper's code of a language's; "" for what is none of its languages, such as a group of them."""
    try:
        code = language_code(written)
    except ConfigError:
        return ""
    return code if code in LANGUAGES else ""


def _listed(known: Mapping[str, str]) -> str:
    codes = sorted(known)
    more = len(codes) - _MOST_NAMED
    return ", ".join(codes[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
