"""Going on after the words that were told, for translators that translate a sentence anew each time.

Where the told words end in a new translation is read from their edit distance (Damerau, 1964) to each of its
beginnings: a rewording of them is passed over, and what follows them is neither said twice nor left out.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.translators import TargetToken

# A character with its marks and the punctuation behind it; numbers and Latin letters stay together.
_UNIT = re.compile(r"\s*(?:[A-Za-z0-9À-ɏ]+(?:(?<=\d)[.,:]\d+)*|\S)[^\w\s]*")
# Words that begin with as many equal letters are taken for forms of one word.
_N_OF_STEM = 4
_OTHER_FORM = 0.5


def following(told: str, translation: str, language: str) -> tuple[TargetToken, ...]:
    """Return what of a whole new translation follows the words told, which end somewhere in it.

    language: Whisper's code of that which both are in. Tokens are words with a space in front, or characters where no
    spaces are written; the first may be the punctuation that ends the last word told.
    """
    old, new = words_of(told, language), words_of(translation, language)
    n = n_said(old, new)
    ending = _ending(new[n - 1]) if old and n and not _ending(old[-1]) else ""
    return tuple(TargetToken(text) for text in (ending, *new[n:]) if text)


def words_of(text: str, language: str) -> list[str]:
    """Return the words of a text, each with a space in front; its characters, in a language that writes no spaces."""
    if language not in LANGUAGES_WITHOUT_SPACES:
        return [f" {word}" for word in text.split()]
    return _UNIT.findall(" ".join(text.split()))


def n_said(told: Sequence[str], translation: Sequence[str]) -> int:
    """Return how many words of the translation the told ones stand for, forgiving case and punctuation.

    It is the beginning with the least edits, where each told word that would come again later counts as one more. Among
    equals the longest: a word that has changed is likelier than one that has gone.
    """
    old, new = [bare(word) for word in told], [bare(word) for word in translation]
    if old == new[: len(old)]:
        return len(old)
    worth = _edits(old, new) + _said_again(old, new)
    return len(new) - int(np.argmin(worth[::-1]))


def bare(word: str) -> str:
    """Return a word without its case and the punctuation around it; of punctuation alone, itself."""
    folded = unicodedata.normalize("NFKC", word.strip()).casefold()
    kept = [at for at, character in enumerate(folded) if not _is_punctuation(character)]
    return folded[kept[0] : kept[-1] + 1] if kept else folded


def _ending(word: str) -> str:
    """The punctuation at a word's end."""
    n = len(word)
    while n > 0 and _is_punctuation(word[n - 1]):
        n -= 1
    return word[n:]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PSZC"


def _stem(word: str) -> str:
    return word[:_N_OF_STEM]


def _edits(old: Sequence[str], new: Sequence[str]) -> NDArray[np.float64]:
    """Return the edit distance of all old words to the first n new ones, float64 (len(new) + 1,).

    A word left out, put in or exchanged with its neighbour costs one, as does another one; another form costs half.
    """
    words, stems = np.array(new, dtype=object), np.array([_stem(word) for word in new], dtype=object)
    positions = np.arange(len(new) + 1, dtype=np.float64)
    before, row, word_before = positions, positions, ""
    for word in old:
        is_form, is_same = stems == _stem(word), words == word
        costs = np.where(is_same, 0, np.where(is_form, _OTHER_FORM, 1))
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + costs)
        is_exchanged = is_same[:-1] & (words[1:] == word_before)
        best[2:] = np.where(is_exchanged, np.minimum(best[2:], before[:-2] + 1), best[2:])
        # Each new word put in between costs one: a running minimum, once that price is taken off.
        before, row, word_before = row, np.minimum.accumulate(best - positions) + positions, word
    return row


def _said_again(old: Sequence[str], new: Sequence[str]) -> NDArray[np.float64]:
    """Return how many old words the first n new ones lack and the others have, float64 (len(new) + 1,)."""
    lacking, left = Counter(map(_stem, old)), Counter(map(_stem, new))
    n_again = sum((lacking & left).values())
    counts = [n_again]
    for stem in map(_stem, new):
        n_again -= max(0, min(lacking[stem], left[stem]))
        lacking[stem] -= 1
        left[stem] -= 1
        n_again += max(0, min(lacking[stem], left[stem]))
        counts.append(n_again)
    return np.array(counts, dtype=np.float64)
