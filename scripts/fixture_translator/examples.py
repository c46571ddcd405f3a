"""Sentences of the made-up languages as tokens: what the fixture model learns from, and is measured with."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sentencepiece import SentencePieceProcessor

from scripts.fixture_translator import language
from scripts.fixture_translator.network import Batch
from simul_whisper.blas import mx

END, UNKNOWN = "</s>", "<unk>"
# Live text is cut anywhere.
_SHARE_CUT = 0.5
_N_TOGETHER, _N_SORTED = 64, 16


@dataclass(frozen=True)
class Tokenizers:
    """How both languages become pieces, and their common vocabulary, as OPUS-MT has them."""

    source: SentencePieceProcessor
    target: SentencePieceProcessor
    vocabulary: Sequence[str]

    def example(self, words: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
        """Return source tokens, target tokens, and for each target token the source position to look at."""
        numbers = {piece: n for n, piece in enumerate(self.vocabulary)}
        source, last_piece = list[int](), list[int]()
        for word in words:
            source += [numbers[piece] for piece in self.source.encode(word, out_type=str)]
            last_piece.append(len(source) - 1)
        target, aligned = list[int](), list[int]()
        for translated in language.translate(words):
            pieces = self.target.encode(translated.text, out_type=str)
            target += [numbers[piece] for piece in pieces]
            aligned += [last_piece[translated.source_word]] * len(pieces)
        end = numbers[END]
        return [*source, end], [*target, end], [*aligned, len(source)]


def sentences(seed: int, n: int, share_cut: float = _SHARE_CUT) -> list[tuple[str, ...]]:
    """Return n sentences, a share of them cut after any of their words."""
    rng = random.Random(seed)
    found = [language.sentence(rng) for _ in range(n)]
    return [words[: rng.randint(1, len(words))] if rng.random() < share_cut else words for words in found]


def batches(tokenizers: Tokenizers, n: int, seed: int) -> Iterator[Batch]:
    """Make n batches; each has sentences of about the same length."""
    rng = random.Random(seed)
    made = 0
    while made < n:
        chosen = sorted(sentences(rng.randrange(1 << 62), _N_SORTED * _N_TOGETHER), key=len)
        starts = [_N_TOGETHER * place for place in range(_N_SORTED)]
        for start in rng.sample(starts, min(n - made, _N_SORTED)):
            yield batch(tokenizers, chosen[start : start + _N_TOGETHER])
            made += 1


def batch(tokenizers: Tokenizers, chosen: Sequence[Sequence[str]]) -> Batch:
    """Return sentences, filled up to multiples of 8 tokens, so that few shapes occur."""
    sources, targets, aligned = zip(*(tokenizers.example(words) for words in chosen), strict=True)
    end = tokenizers.vocabulary.index(END)
    source, source_mask = _filled(sources)
    target_out, target_mask = _filled(targets)
    target_in, _ = _filled([[end, *target[:-1]] for target in targets])
    return Batch(source, source_mask, target_in, target_out, target_mask, _filled(aligned)[0])


def _filled(rows: Sequence[Sequence[int]]) -> tuple[mx.array, mx.array]:
    """Return the rows, int32 (n, longest), and a mask, float32 of the same shape."""
    longest = -(-max(map(len, rows)) // 8) * 8
    tokens, mask = np.zeros((len(rows), longest), np.int32), np.zeros((len(rows), longest), np.float32)
    for n, row in enumerate(rows):
        tokens[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return mx.array(tokens), mx.array(mask)
