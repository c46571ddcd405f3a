"""Which of a translator's heads tell where it reads: measured on text of the source language, without a translation.

What matters is what the policy does with it. Each sentence is translated whole and cut after each of its words; of each
cut one the tokens are kept that were read, by the heads in question, from before its last words, as the policy would
tell them. The best heads let most be told early that also begins the translation of the whole sentence, and hardly
anything that does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from simul_whisper.translators import Sentence, TargetToken
from simul_whisper.translators.alignment import Alignment, decoder_size
from simul_whisper.translators.ctranslate2 import load_model
from simul_whisper.translators.model_files import MODEL_FILE

# A wrong word stays, so it costs as much as so many that were told early gain.
_COST_OF_ERROR = 20
# Heads that look at the last word, whatever they read, never err, and tell nothing early.
_LEAST_TOLD_EARLY = 0.1
_N_HELD_BACK = 1


@dataclass(frozen=True)
class _Text:
    """Sentences of one language as words with their leading spaces, and what they are translated into."""

    sentences: Sequence[Sequence[str]]
    source: str
    target: str

    def cut(self, words: Sequence[str], n: int) -> Sentence:
        return Sentence(self.source, self.target, tuple(words[:n]), is_whole=n == len(words))


def calibrate(
    directory: Path, name: str, sentences: Sequence[Sequence[str]], source: str, target: str
) -> tuple[Alignment, ...]:
    """Return what was measured of each layer, with its first head and with all, the best first.

    sentences: of the source language, some dozens, as words with their leading spaces. The first of the result is what
    `write_alignment` takes. Raises ModelError.
    """
    text = _Text(sentences, source, target)
    n_layers, n_heads = decoder_size(directory / MODEL_FILE)
    layers = [*range(n_layers - 1), -1]
    choices = [Alignment(layer, heads) for layer in layers for heads in dict.fromkeys((1, n_heads))]
    found = [_measured(directory, name, text, choice) for choice in choices]
    return tuple(sorted(found, key=lambda each: (each.is_believed, _worth(each)), reverse=True))


def _measured(directory: Path, name: str, text: _Text, choice: Alignment) -> Alignment:
    model = load_model(directory, name, choice)
    n_told = n_right = n_possible = 0
    for words in text.sentences:
        whole = [token.text for token in model.translate(text.cut(words, len(words)))]
        for n in range(1, len(words)):
            told = _told(model.translate(text.cut(words, n)), n)
            n_told += len(told)
            n_right += _n_equal(told, whole)
            n_possible += len(whole)
    agreement, told_early = n_right / max(n_told, 1), n_told / max(n_possible, 1)
    measured = replace(choice, agreement=agreement, told_early=told_early)
    return replace(measured, is_believed=_worth(measured) > 0 and told_early >= _LEAST_TOLD_EARLY)


def _worth(measured: Alignment) -> float:
    return (measured.told_early or 0) * (1 - _COST_OF_ERROR * (1 - (measured.agreement or 0)))


def _told(tokens: Sequence[TargetToken], n_words: int) -> list[str]:
    """Return what the policy would tell of the translation of so many words."""
    before_edge = takewhile(lambda token: (token.source_word or 0) < n_words - _N_HELD_BACK, tokens)
    return [token.text for token in before_edge]


def _n_equal(told: Sequence[str], whole: Sequence[str]) -> int:
    """Return how many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(told, whole, strict=False)))
