"""What drafts are worth to who reads along: how soon they show the words that stay, how many are right, how often one
is taken back. Pure.

A reader sees the committed text and, behind it, the draft. A word counts as shown from when on it stands there for
good, whether drafted or committed. Case and punctuation do not count.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from streaming.evaluation.replay import Emission
from streaming.evaluation.scoring import CHARACTER_LANGUAGES
from streaming.events import Draft, Words


@dataclass(frozen=True)
class Shown:
    """What a reader saw of one text; words are characters in CHARACTER_LANGUAGES.

    delays_s: when each word of the text was shown for good. n_drafted: the words of all drafts, each as often as a
    new draft has it; n_right: of these, those that the text then says there. n_taken_back: words that were shown, and
    then were gone, or stood behind one that had changed.
    """

    delays_s: list[float]
    n_drafted: int = 0
    n_right: int = 0
    n_taken_back: int = 0


@dataclass(frozen=True)
class _Screen:
    """What was shown from a time on: all words, and those that are committed, of which the last may go on."""

    ready_s: float
    words: list[str]
    committed: list[str]
    is_new_draft: bool

    @property
    def drafted(self) -> list[str]:
        return self.words[len(self.committed) :]

    def has(self, i: int, word: str) -> bool:
        """Whether a word that is not drafted is there, at least with what is drafted of it."""
        return i < len(self.committed) and word in (self.committed[i], self.words[i])


def shown(emissions: Iterable[Emission], language: str) -> Shown:
    """Return what a reader saw of all that a session told, in this language."""
    screens = list(_screens(emissions, language))
    text = screens[-1].committed if screens else []
    since: list[float | None] = [None] * len(text)
    n_drafted = n_right = n_taken_back = 0
    before = list[str]()
    for screen in screens:
        n = len(screen.committed)
        kept = [n + i for i in _kept(screen.drafted, text[n:])]
        there = {*kept, *(i for i, word in enumerate(text[:n]) if screen.has(i, word))}
        since = [(screen.ready_s if at is None else at) if i in there else None for i, at in enumerate(since)]
        if screen.is_new_draft:
            n_drafted, n_right = n_drafted + len(screen.drafted), n_right + len(kept)
        n_taken_back += len(before) - _n_common(before, screen.words)
        before = screen.words
    return Shown([at for at in since if at is not None], n_drafted, n_right, n_taken_back)


def _screens(emissions: Iterable[Emission], language: str) -> Iterator[_Screen]:
    committed = draft = ""
    for emission in emissions:
        drafts = [event.text for event in emission.events if isinstance(event, Draft)]
        words = [event.text for event in emission.events if isinstance(event, Words)]
        if drafts or words:
            committed, draft = committed + "".join(words), (drafts or [draft])[-1]
            on_screen, sure = _heard(committed + draft, language), _heard(committed, language)
            yield _Screen(emission.ready_s, on_screen, sure, bool(drafts))


def _heard(text: str, language: str) -> list[str]:
    """Return the words that `unit_delays` gives a time each."""
    letters = "".join(each for each in text.casefold() if each.isalnum() or each.isspace())
    return list("".join(letters.split())) if language in CHARACTER_LANGUAGES else letters.split()


def _n_common(before: Sequence[str], after: Sequence[str]) -> int:
    pairs = zip(before, after, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(before), len(after)))


def _kept(drafted: Sequence[str], following: Sequence[str]) -> list[int]:
    """Return which of the words that followed were drafted: by the fewest edits from the draft to their beginning.

    Of several ways that which keeps most words.
    """
    # To leave out the draft takes one edit a word, so a beginning twice as long is never the nearest.
    following = following[: 2 * len(drafted)]
    # For each beginning of what followed: edits, minus the number of words kept, and which.
    best: list[tuple[int, int, tuple[int, ...]]] = [(j, 0, ()) for j in range(len(following) + 1)]
    for word in drafted:
        row, best = best, [(best[0][0] + 1, best[0][1], best[0][2])]
        for j, other in enumerate(following):
            edits, kept, which = row[j]
            same = (edits, kept - 1, (*which, j)) if word == other else (edits + 1, kept, which)
            gone = (row[j + 1][0] + 1, *row[j + 1][1:])
            missing = (best[j][0] + 1, *best[j][1:])
            best.append(min(same, gone, missing))
    return list(min(best)[2])
