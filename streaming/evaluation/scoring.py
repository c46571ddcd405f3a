"""Scores of texts and delays against references: error rates, BLEU, chrF, latency. Pure functions.

Error rates are kept as counts, so that those of clips add up to those of a set. Texts go through Whisper's own
normaliser first (Appendix C of its paper, 2212.04356).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from simul_whisper import BackendError

try:
    import jiwer
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer
except ImportError as error:
    raise BackendError(f"scoring needs {error.name}; install it with: pip install 'simul-whisper[bench]'") from error

# Written without spaces between words, so a word error rate would say nothing; the paper's choice, and Cantonese.
CHARACTER_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
# Whisper writes the first before words now and then; nobody sees them, and the normaliser leaves them.
_INVISIBLE = str.maketrans("", "", "\u200b\u2060\ufeff")
_LOOP_REPEATS = 3
_LOOP_UNITS = 8
_LOOP_LONGEST_PERIOD = 32


@dataclass(frozen=True)
class Edits:
    """What turns references of `n_reference` words (or characters) into the hypotheses; `+` joins two counts."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    n_reference: int = 0

    def __add__(self, other: "Edits") -> "Edits":
        return Edits(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.n_reference + other.n_reference,
        )

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors for each word of the references; None where those are empty: look at `insertions` then."""
        return self.errors / self.n_reference if self.n_reference else None


def word_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Compare word by word; the word error rate is the rate of the sum over all clips."""
    return _edits(normalised(reference, language), normalised(hypothesis, language))


def character_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Compare character by character, spaces left out; for CHARACTER_LANGUAGES above all."""
    return _edits(_spelled(normalised(reference, language)), _spelled(normalised(hypothesis, language)))


def edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Compare by the unit of the language."""
    return (character_edits if language in CHARACTER_LANGUAGES else word_edits)(reference, hypothesis, language)


def units(text: str, language: str) -> list[str]:
    """Return the words of `text`, or its characters in CHARACTER_LANGUAGES, without spaces."""
    return list("".join(text.split())) if language in CHARACTER_LANGUAGES else text.split()


def unit_delays(pieces: Sequence[tuple[str, float]], language: str) -> list[float]:
    """Return for each of the `units` of a text that came in pieces, each with its time, when its last letter came."""
    letters = [(character, delay_s) for text, delay_s in pieces for character in text]
    stamped = [each for each in letters if each[0].isalnum() or each[0].isspace()]
    ends_word = [after.isspace() for _, (after, _) in pairwise(stamped)] + [True]
    by_character = language in CHARACTER_LANGUAGES
    return [
        delay_s
        for (character, delay_s), ends in zip(stamped, ends_word[: len(stamped)], strict=True)
        if not character.isspace() and (ends or by_character)
    ]


def has_loop(text: str, language: str) -> bool:
    """Whether a phrase is said at least three times running, over at least eight words or characters."""
    said = units(normalised(text, language), language)
    return any(_has_period(said, period) for period in range(1, min(_LOOP_LONGEST_PERIOD, len(said)) + 1))


def _has_period(said: Sequence[str], period: int) -> bool:
    n_matching = 0
    for unit, before in zip(said[period:], said, strict=False):
        n_matching = n_matching + 1 if unit == before else 0
        repeats = n_matching // period + 1
        if repeats >= _LOOP_REPEATS and repeats * period >= _LOOP_UNITS:
            return True
    return False


def has_last_unit(reference: str, hypothesis: str, language: str) -> bool:
    """Whether the last word (or character) of the reference is heard, wherever the best alignment puts it."""
    expected, heard = (units(normalised(text, language), language) for text in (reference, hypothesis))
    if not expected:
        return True
    aligned = jiwer.process_words(" ".join(expected), " ".join(heard)).alignments[0]
    return any(part.type == "equal" and part.ref_end_idx == len(expected) for part in aligned)


def normalised(text: str, language: str) -> str:
    """Return `text` without case, punctuation, remarks in brackets and what is invisible.

    English also in one spelling and one numeral.
    """
    normaliser = _english() if language == "en" else _basic()
    return str(normaliser(text.translate(_INVISIBLE))).strip()


@cache
def _english() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


@cache
def _basic() -> BasicTextNormalizer:
    return BasicTextNormalizer()


def _spelled(text: str) -> str:
    return " ".join("".join(text.split()))


def _edits(reference: str, hypothesis: str) -> Edits:
    found = jiwer.process_words(reference, hypothesis)
    n_reference = found.hits + found.substitutions + found.deletions
    return Edits(found.substitutions, found.deletions, found.insertions, n_reference)


def bleu(
    references: Sequence[str], hypotheses: Sequence[str], language: str = "en", *, lowercase: bool = False
) -> float:
    """Return the BLEU of the whole corpus, 0-100, one reference for each hypothesis.

    Tokenised by 13a; by characters in CHARACTER_LANGUAGES, where 13a would find one word in each sentence.
    """
    tokenizer = "char" if language in CHARACTER_LANGUAGES else "13a"
    return float(BLEU(lowercase=lowercase, tokenize=tokenizer).corpus_score(hypotheses, [references]).score)


def chrf(references: Sequence[str], hypotheses: Sequence[str], *, lowercase: bool = False) -> float:
    """Return the chrF2 of the whole corpus, 0-100, one reference for each hypothesis."""
    return float(CHRF(lowercase=lowercase).corpus_score(hypotheses, [references]).score)


def laal_s(delays_s: Sequence[float], source_length_s: float, n_reference_words: int) -> float:
    """Return the length-adaptive average lagging (2206.05807): seconds behind a speaker of even pace.

    delays_s: for each word, one at least, the audio heard when it came (or, computation-aware, the time passed);
    source_length_s: of the whole recording. Words after the first that waited for all of it are not counted.
    """
    assert delays_s, "there is no lagging without words"
    ideal_step_s = source_length_s / max(len(delays_s), n_reference_words)
    n_counted = next((i for i, delay_s in enumerate(delays_s, 1) if delay_s >= source_length_s), len(delays_s))
    return sum(delays_s[i] - i * ideal_step_s for i in range(n_counted)) / n_counted


def first_word_s(delays_s: Sequence[float]) -> float | None:
    """Return the audio heard (or the time passed) when the first word came; None when none did."""
    return delays_s[0] if delays_s else None
