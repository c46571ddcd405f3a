"""What a listener was told, word by word, against what one was told to whom nothing befell. Pure.

Who is heard under load is decoded in other passes, which now and then makes other words of the same sound. So a word
counts as lost only where nothing else was told at its time, and as doubled only where the same word was told twice for
one time; what differs otherwise is other.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper import Word
from streaming.replay.recovery import RECOVERY


@dataclass(frozen=True)
class Differences:
    lost: int = 0
    doubled: int = 0
    other: int = 0

    def __add__(self, more: "Differences") -> "Differences":
        return Differences(self.lost + more.lost, self.doubled + more.doubled, self.other + more.other)


def differences(told: Sequence[Word], expected: Sequence[Word]) -> Differences:
    """Return in how many words these differ, of the same sound."""
    found = Differences()
    matcher = difflib.SequenceMatcher(None, [*map(_bare, expected)], [*map(_bare, told)], autojunk=False)
    for change, a, a_end, b, b_end in matcher.get_opcodes():
        if change != "equal":
            lost = sum(not any(_covers(each, word) for each in told) for word in expected[a:a_end])
            doubled = sum(any(_is_again(word, each) for each in told) for word in told[b:b_end])
            other = max(a_end - a - lost, b_end - b - doubled)
            found += Differences(lost, doubled, other)
    return found


def _bare(word: Word) -> str:
    return "".join(re.findall(r"\w+", word.text.lower()))


def _covers(told: Word, word: Word) -> bool:
    """Whether the middle of a word lies in one that was told."""
    return told.start_s <= (word.start_s + word.end_s) / 2 <= told.end_s


def _is_again(word: Word, other: Word) -> bool:
    is_near = abs(word.start_s - other.start_s) <= RECOVERY.same_word_s
    return word is not other and is_near and _bare(word) == _bare(other)
