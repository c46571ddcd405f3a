"""Text cut at phrases, so that the first is heard early. Never in the middle of a word or of a number."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.translators.sentences import sentences

MOST_CHARACTERS = 120
"""About eight seconds of speech; a longer phrase is cut between two words."""
# A phrase shorter than this is spoken with its neighbour: alone it sounds clipped.
_LEAST_CHARACTERS = 16
_CLOSERS = "\"'”’»)]」』）】"
# The second kind stands before no space.
_END = re.compile(
    rf"(?:[.,;:!?…،؛؟।]+[{re.escape(_CLOSERS)}]*(?=\s)|\s[–—-]+(?=\s)|—+|[、。，；：！？]+[{re.escape(_CLOSERS)}]*)\s*"
)
# Where "3." is the third, which ends no sentence.
_WITH_ORDINALS = frozenset("bs cs da de et fi fo hr hu is lv nn no pl sk sl sr tr".split())
_ORDINAL = re.compile(r"\b\d{1,3}\.\s*$")
# Of scripts without spaces, these take two or three letters of the others.
_WIDE = 3


def phrases(text: str, language: str) -> list[str]:
    """Return the phrases of a text in a language (Whisper's code), which they make up together, spaces and all."""
    without_spaces = language in LANGUAGES_WITHOUT_SPACES
    scale = _WIDE if without_spaces else 1
    found = list[str]()
    for sentence in _sentences(text, language):
        for phrase in _joined(_clauses(sentence), _LEAST_CHARACTERS // scale):
            found.extend(_bounded(phrase, MOST_CHARACTERS // scale, without_spaces))
    return found


def _sentences(text: str, language: str) -> list[str]:
    found = list[str]()
    for sentence in sentences(language, text):
        if found and language in _WITH_ORDINALS and _ORDINAL.search(found[-1]):
            found[-1] += sentence
        else:
            found.append(sentence)
    return found


def _clauses(sentence: str) -> list[str]:
    """Cut after commas and the like; a full stop within a sentence belongs to an abbreviation."""
    ends = [each.end() for each in _END.finditer(sentence) if not each.group().startswith(".")]
    cuts = [0, *ends, len(sentence)]
    return [sentence[start:end] for start, end in pairwise(cuts) if start < end]


def _joined(clauses: list[str], least: int) -> list[str]:
    """Join what is too short to what follows, and at the end to what came before."""
    found = list[str]()
    for clause in clauses:
        if found and len(found[-1].strip()) < least:
            found[-1] += clause
        else:
            found.append(clause)
    if len(found) > 1 and len(found[-1].strip()) < least:
        found[-2:] = ["".join(found[-2:])]
    return found


def _bounded(phrase: str, most: int, without_spaces: bool) -> list[str]:
    """Cut a phrase into pieces of about the same length, each at most that long where words allow it."""
    places = sorted(_word_ends(phrase, without_spaces))
    cuts = [0]
    while len(phrase) - cuts[-1] > most:
        left = len(phrase) - cuts[-1]
        wanted = cuts[-1] + left // -(-left // most)
        after = bisect_right(places, wanted)
        fitting = places[after - 1 : after + 1] if after else places[:1]
        cut = next((place for place in fitting if place > cuts[-1]), None)
        if cut is None:
            break
        cuts.append(cut)
    return [phrase[start:end] for start, end in pairwise([*cuts, len(phrase)])]


def _word_ends(text: str, without_spaces: bool) -> Iterator[int]:
    """Yield where a word may begin after another; 10 000 is one number."""
    for gap in re.finditer(r"(?<=\S)\s+(?=\S)", text):
        if not (text[gap.start() - 1].isdigit() and text[gap.end()].isdigit()):
            yield gap.end()
    if without_spaces:
        yield from (at for at in range(1, len(text)) if _is_wide(text[at - 1]) and _is_wide(text[at]))


def _is_wide(character: str) -> bool:
    """Whether it is a letter of a script that has no spaces, each of which most often is a word, or half of one."""
    return unicodedata.east_asian_width(character) == "W" and character.isalpha()
