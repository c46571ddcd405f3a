"""Where a sentence ends, in text that grows word by word. The rules of each language are those of sentencex."""

import importlib.util
import re

from simul_whisper.errors import BackendError
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES

MOST_WORDS = 40
"""A longer sentence is cut, which bounds what a translator is given, and the delay."""
_WORDS_BEFORE_COMMA = 30
_PAUSES = (",", ";", ":", "—", "–", "،", "؛", "、", "，", "；", "：")
_CODES = {"jw": "jv"}
# Text that ends before all of these ends before everything.
_FOLLOWING, _FOLLOWING_WITHOUT_SPACES = (" A", " a", " 1"), ("A", "あ")
# "M. Dupont", "J. Smith": sentencex knows them in some languages only.
_INITIAL = re.compile(r"(^|\s)\w\.$")


def check_installed() -> None:
    """Raise BackendError, which says what to install, where sentencex is missing."""
    if importlib.util.find_spec("sentencex") is None:
        raise BackendError("sentencex is not installed; pip install 'simul-whisper[translate]'")


def ends_before(language: str, text: str, word: str) -> bool:
    """Return whether a sentence in this language (Whisper's code) ends with the text, when `word` comes next."""
    # Here, because it comes with an extra that only those who translate need.
    import sentencex

    if language not in LANGUAGES_WITHOUT_SPACES and _INITIAL.search(text):
        return False
    position = 0
    # The space between sentences belongs to the first.
    n_at_least, n_at_most = len(text), len(text) + len(word) - len(word.lstrip())
    for sentence in sentencex.segment(_CODES.get(language, language), text + word):
        position += len(sentence)
        if n_at_least <= position <= n_at_most:
            return True
    return False


def ends_for_certain(language: str, text: str, n_words: int) -> bool:
    """Return whether a sentence of so many words ends with the text, whatever follows, or is cut there."""
    if n_words >= MOST_WORDS or (n_words >= _WORDS_BEFORE_COMMA and text.endswith(_PAUSES)):
        return True
    following = _FOLLOWING_WITHOUT_SPACES if language in LANGUAGES_WITHOUT_SPACES else _FOLLOWING
    return all(ends_before(language, text, word) for word in following)


def sentences(language: str, text: str) -> list[str]:
    """Return the sentences of a text, which they make up together, spaces and all."""
    import sentencex

    return list(sentencex.segment(_CODES.get(language, language), text))
