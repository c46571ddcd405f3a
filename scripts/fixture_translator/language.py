"""A made-up pair of languages whose translations are known exactly: plain English to invented words.

It is the oracle of the fixture model: what is right for any English of these words, cut anywhere, and on which of the
words each translated one depends. What makes it hard is what makes real pairs hard:

- the verb, and the word that opened the clause ("today"), come at its end: long reordering;
- an adjective follows its noun and ends as the noun's class asks, a verb as its subject's number asks: agreement;
- "the" and "does" are dropped; particles after subjects, objects and places, and in questions, are added.

It knows nothing of models and tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

SOURCE, TARGET = "en", "la"
"""Whisper's codes that the two pose as: the source is English, the target only takes Latin's place."""


@dataclass(frozen=True)
class TargetWord:
    """A translated word, with its punctuation, and the last source word, from 0, that it depends on."""

    text: str
    source_word: int


class _Kind(Enum):
    """What a source word is."""

    NOUN = "noun"
    VERB = "verb"
    ADJECTIVE = "adjective"
    QUANTITY = "quantity"
    ADVERB = "adverb"
    PREPOSITION = "preposition"
    CONJUNCTION = "conjunction"
    NOT = "not"
    ASK = "ask"
    ARTICLE = "article"


_NOUNS = {
    "dog": "tomi",
    "cat": "miro",
    "bird": "peka",
    "horse": "kavan",
    "fish": "sulo",
    "farmer": "agremi",
    "teacher": "dosken",
    "doctor": "medaro",
    "sailor": "navoti",
    "king": "rekso",
    "boat": "barun",
    "bridge": "pontila",
    "garden": "hortu",
    "river": "fluma",
    "forest": "silvano",
    "house": "domek",
    "school": "lernaki",
    "market": "foruna",
    "island": "insolu",
    "mountain": "montek",
}
_PLURALS = {"fish": "fishes"}
_CLASSES = ("ta", "ri", "no")
_VERBS = {
    "see": "vid",
    "hear": "audel",
    "follow": "sekum",
    "find": "trob",
    "love": "amar",
    "paint": "pintek",
    "carry": "portul",
    "remember": "memori",
    "watch": "gardam",
    "help": "helpin",
}
_THIRD_PERSON = {"carry": "carries", "watch": "watches"}
_ADJECTIVES = {
    "old": "vetu",
    "young": "yuna",
    "small": "piko",
    "big": "grandi",
    "red": "ruvi",
    "green": "verdo",
    "white": "blanu",
    "black": "nigo",
    "quiet": "kalmi",
    "happy": "feli",
}
_QUANTITIES = {"two": "dul", "three": "tril", "four": "kvar", "five": "pent", "my": "menu", "your": "tenu"}
_ADVERBS = {"today": "hodi", "tomorrow": "manya", "yesterday": "heri", "sometimes": "foyas", "now": "nunk"}
_PREPOSITIONS = {"in": "en", "near": "apu", "behind": "post", "under": "suba"}
_CONJUNCTIONS = {"and": "yet", "but": "sed", "because": "karuk"}
_COUNTED = ("two", "three", "four", "five")


@dataclass(frozen=True)
class _Entry:
    kind: _Kind
    text: str = ""
    is_plural: bool = False
    ending: str = _CLASSES[0]


def _lexicon() -> dict[str, _Entry]:
    found = {"the": _Entry(_Kind.ARTICLE), "a": _Entry(_Kind.ARTICLE), "not": _Entry(_Kind.NOT)}
    found |= {"does": _Entry(_Kind.ASK), "do": _Entry(_Kind.ASK)}
    for n, (word, text) in enumerate(_NOUNS.items()):
        ending = _CLASSES[n % len(_CLASSES)]
        found[word] = _Entry(_Kind.NOUN, text, ending=ending)
        found[_PLURALS.get(word, f"{word}s")] = _Entry(_Kind.NOUN, f"{text}ka", is_plural=True, ending=ending)
    for word, text in _VERBS.items():
        found[word] = found[_THIRD_PERSON.get(word, f"{word}s")] = _Entry(_Kind.VERB, text)
    for kind, words in (
        (_Kind.ADJECTIVE, _ADJECTIVES),
        (_Kind.QUANTITY, _QUANTITIES),
        (_Kind.ADVERB, _ADVERBS),
        (_Kind.PREPOSITION, _PREPOSITIONS),
        (_Kind.CONJUNCTION, _CONJUNCTIONS),
    ):
        found |= {word: _Entry(kind, text) for word, text in words.items()}
    return found


_LEXICON = _lexicon()
_PUNCTUATION = ",.?"


def translate(words: Sequence[str]) -> tuple[TargetWord, ...]:
    """Return the translation of a sentence, or of its beginning as if it ended there.

    words: with or without a leading space, with their punctuation. Raises KeyError for one that is not of the language.
    """
    found: list[TargetWord] = []
    clause = _Clause()
    for at, word in enumerate(words):
        plain = word.strip()
        entry = _LEXICON[plain.rstrip(_PUNCTUATION).lower()]
        if entry.kind is _Kind.CONJUNCTION:
            found += clause.end(at)
            clause = _Clause(entry, at)
        else:
            clause.feed(entry, at)
        mark = plain[len(plain.rstrip(_PUNCTUATION)) :]
        if mark:
            # A comma belongs to the clause that it ends.
            found += clause.end(at)
            clause = _Clause()
            if found:
                found[-1] = TargetWord(found[-1].text + mark, at)
    return (*found, *clause.end(len(words) - 1))


@dataclass
class _Phrase:
    """A noun with what goes with it, in the order of the words."""

    particle: str
    noun: _Entry | None = None
    noun_at: int = 0
    others: list[_Entry] = field(default_factory=list)

    def end(self, at: int) -> list[TargetWord]:
        """Return its translation; without its noun yet, it depends on the last word there is."""
        ending = self.noun.ending if self.noun else _CLASSES[0]
        adjectives = [f"{each.text}{ending}" for each in self.others if each.kind is _Kind.ADJECTIVE]
        quantities = [each.text for each in self.others if each.kind is _Kind.QUANTITY]
        if self.noun is None:
            return [TargetWord(text, at) for text in [*adjectives, *quantities]]
        return [TargetWord(text, self.noun_at) for text in [self.noun.text, *adjectives, *quantities, self.particle]]


class _Clause:
    """What was heard of a clause; `conjunction` opened it."""

    def __init__(self, conjunction: _Entry | None = None, at: int = 0) -> None:
        self._opening = [] if conjunction is None else [TargetWord(conjunction.text, at)]
        self._phrases = [_Phrase("wa")]
        self._adverbs: list[str] = []
        self._verb: _Entry | None = None
        self._is_negative = self._is_question = False

    def feed(self, entry: _Entry, at: int) -> None:
        phrase = self._phrases[-1]
        if entry.kind is _Kind.NOUN:
            phrase.noun, phrase.noun_at = entry, at
        elif entry.kind in (_Kind.ADJECTIVE, _Kind.QUANTITY):
            phrase.others.append(entry)
        elif entry.kind is _Kind.VERB:
            self._verb = entry
            self._phrases.append(_Phrase("lo"))
        elif entry.kind is _Kind.PREPOSITION:
            self._phrases.append(_Phrase(entry.text))
        elif entry.kind is _Kind.ADVERB:
            self._adverbs.append(entry.text)
        elif entry.kind is _Kind.NOT:
            self._is_negative = True
        elif entry.kind is _Kind.ASK:
            # Before its subject it asks, after it it only carries "not".
            self._is_question |= phrase.noun is None

    def end(self, at: int) -> list[TargetWord]:
        """Return its translation; what stands at its end depends on word `at`, which showed that it is over."""
        subject = self._phrases[0].noun
        late = [*self._adverbs, *(["nek"] if self._is_negative else [])]
        if self._verb:
            late.append(self._verb.text + ("un" if subject and subject.is_plural else "o"))
        late += ["ku"] if self._is_question else []
        phrases = [word for phrase in self._phrases for word in phrase.end(at)]
        return [*self._opening, *phrases, *(TargetWord(text, at) for text in late)]


def sentence(rng: random.Random) -> tuple[str, ...]:
    """Return a sentence as Whisper tells one: each word with its leading space, punctuation with the word before."""
    if rng.random() < 0.15:
        words, mark = _question(rng), "?"
    else:
        words, mark = _statement(rng), "."
        if rng.random() < 0.35:
            conjunction = rng.choice(list(_CONJUNCTIONS))
            words[-1] += "," if conjunction == "but" else ""
            words = [*words, conjunction, *_statement(rng)]
    words[0] = words[0].capitalize()
    words[-1] += mark
    return tuple(f" {word}" for word in words)


def _statement(rng: random.Random) -> list[str]:
    subject, is_plural = _noun_phrase(rng)
    adverb = [rng.choice(list(_ADVERBS))] if rng.random() < 0.3 else []
    verb = rng.choice(list(_VERBS))
    if rng.random() < 0.2:
        action = ["do" if is_plural else "does", "not", verb]
    else:
        action = [verb if is_plural else _THIRD_PERSON.get(verb, f"{verb}s")]
    return [*adverb, *subject, *action, *_noun_phrase(rng)[0], *_place(rng)]


def _question(rng: random.Random) -> list[str]:
    subject, is_plural = _noun_phrase(rng)
    verb = rng.choice(list(_VERBS))
    return ["do" if is_plural else "does", *subject, verb, *_noun_phrase(rng)[0], *_place(rng)]


def _place(rng: random.Random) -> list[str]:
    return [rng.choice(list(_PREPOSITIONS)), *_noun_phrase(rng)[0]] if rng.random() < 0.4 else []


def _noun_phrase(rng: random.Random) -> tuple[list[str], bool]:
    """Return its words, and whether it is plural."""
    noun = rng.choice(list(_NOUNS))
    adjectives = rng.sample(list(_ADJECTIVES), rng.choice((0, 0, 1, 1, 2)))
    is_plural = rng.random() < 0.4
    first = rng.choice(("the", *_COUNTED, "my", "your") if is_plural else ("the", "the", "a", "my", "your"))
    return [first, *adjectives, _PLURALS.get(noun, f"{noun}s") if is_plural else noun], is_plural
