"""Names and terms that a listener expects: a prefix tree of their tokens, and what a text has earned by writing them.

A term may cost up to its boost, in log-probability, against what would be written without it, and nothing is paid for
one that is begun and not written to its end: so a term that was not said is not written because of its first letters.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simul_whisper.tokenizer import Tokenizer

_MOST_BOOSTED_TOKENS = 5
# First tokens that are less likely than the likeliest one by more are not tried: it would cost more than it finds.
_REACH = 6.0
# A name with it is still the name: Keplers Gesetze, two Kubernetes.
_ENDING = "s"


@dataclass(eq=False)
class _Node:
    """Tokens of terms up to here.

    boost: of the term that ends here, 0 for none; hope: the most here or further on; credit: for the tokens up to here.
    """

    credit: float = 0.0
    children: dict[int, "_Node"] = field(default_factory=dict)
    boost: float = 0.0
    hope: float = 0.0

    def add(self, tokens: Sequence[int], boost: float) -> None:
        """Add a term; boost: of each of its tokens, the first of which counts for half: it alone tells little."""
        credits = [boost * (min(n, _MOST_BOOSTED_TOKENS) - 0.5) for n in range(1, len(tokens) + 1)]
        node = self
        for token, credit in zip(tokens, credits, strict=True):
            node = node.children.setdefault(token, _Node(credit))
            node.hope = max(node.hope, credits[-1])
        node.boost = credits[-1]


@dataclass(frozen=True)
class TermPath:
    """Where a text stands: the terms that its last tokens have begun, and whether one may begin without a space.

    earned: by a term that its last token has ended, if no letter follows.
    """

    nodes: tuple[_Node, ...] = ()
    is_joined: bool = False

    @property
    def earned(self) -> float:
        return max((node.boost for node in self.nodes), default=0.0)

    @property
    def hope(self) -> float:
        """The most that may still be earned by the terms that were begun."""
        return max((node.hope for node in self.nodes), default=0.0)

    @property
    def credit(self) -> float:
        """What their tokens so far would be worth."""
        return max((node.credit for node in self.nodes), default=0.0)


class Terms:
    """What is listened for. It never changes.

    boost: log-probability for each token of a term, counted for five at most. Long terms get more because they are
    rarely read from other words.
    """

    def __init__(self, tokenizer: Tokenizer, terms: Sequence[str], boost: float) -> None:
        self._tokenizer = tokenizer
        self._spaced, self._bare = _Node(), _Node()
        for term in terms if boost else ():
            for written in {term, term[:1].upper() + term[1:]}:
                for root, text in ((self._spaced, f" {written}"), (self._bare, written)):
                    root.add(tokenizer.encode(text), boost)
        self._first = {id(root): np.array([*root.children], np.int64) for root in (self._spaced, self._bare)}

    def __bool__(self) -> bool:
        return bool(self._spaced.children)

    def after(self, path: TermPath, token: int, *, has_spaces: bool) -> TermPath:
        """Return where a text stands after one more token. has_spaces: whether its language parts words by them."""
        begun = (*path.nodes, *self._roots(path))
        nodes = tuple(node.children[token] for node in begun if token in node.children)
        text = self._tokenizer.decode([token])
        is_mark = text != "" and text[-1] != " " and not _is_of_word(text[-1])
        begins_text = text == "" and self._tokenizer.is_bare
        return TermPath(nodes, is_mark or begins_text or not has_spaces)

    def at(self, tokens: Sequence[int], *, has_spaces: bool) -> TermPath:
        """Return where a text stands; what it has earned before that counts no more."""
        path = TermPath(is_joined=not has_spaces)
        for token in tokens if self else ():
            path = self.after(path, token, has_spaces=has_spaces)
        return path

    def expected(self, path: TermPath, logprobs: NDArray[np.float32], *, begins: bool) -> set[int]:
        """Return the next tokens of the terms that were begun and, if one more may begin, likely first ones.

        logprobs: float32 (n_vocab,).
        """
        found = {token for node in path.nodes for token in node.children}
        if begins:
            for root in self._roots(path):
                tokens = self._first[id(root)]
                found.update(tokens[logprobs[tokens] >= logprobs.max() - _REACH].tolist())
        return found

    def ends_word(self, token: int, *, has_spaces: bool) -> bool:
        """Whether a term that stands before this token is a word by itself."""
        text = self._tokenizer.decode([token])
        return not has_spaces or text in ("", _ENDING) or not _is_of_word(text[0])

    def _roots(self, path: TermPath) -> tuple[_Node, ...]:
        return (self._spaced, self._bare) if path.is_joined else (self._spaced,)


@lru_cache(maxsize=4)
def terms_of(tokenizer: Tokenizer, terms: tuple[str, ...], boost: float) -> Terms:
    """Return these terms, made once for all listeners with the same: thousands take half a second and much memory."""
    return Terms(tokenizer, terms, boost)


def _is_of_word(character: str) -> bool:
    """Whether it is a part of a word; half a character may be one, too."""
    return character.isalnum() or character == "\ufffd" or unicodedata.category(character).startswith("M")
