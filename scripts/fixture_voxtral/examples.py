"""Windows of the language of chords as the engine shows them, and what is to be written down of them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scripts.fixture_voxtral import language
from scripts.fixture_voxtral.language import N_WORDS, Speech
from scripts.fixture_voxtral.network import FRAMES_A_CELL, N_CELLS
from scripts.fixture_voxtral.vocabulary import SPECIAL, merged_tokens
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, Samples

SAMPLES_A_CELL = FRAMES_A_CELL * SAMPLES_PER_FRAME
BEGIN, INSTRUCT, INSTRUCTED, BEGIN_AUDIO, TRANSCRIBE, END = (
    SPECIAL.index(name) for name in "<s> [INST] [/INST] [BEGIN_AUDIO] [TRANSCRIBE] </s>".split()
)
BEFORE_AUDIO = (BEGIN, INSTRUCT, BEGIN_AUDIO)
# Of a chord, this much must be heard to be written down.
_HEARD_SAMPLES, _HEARD_CELLS = 1_600, 2
_LONGEST_S = 13.5
_SHARE_SPACED, _SHARE_WHOLE = 0.2, 0.12
_SHORTEST_SILENCE, _LONGEST_SILENCE = 4, 40
_LEAST_CELLS = 6
_SAID_BEFORE_NOTHING = N_WORDS


@dataclass(frozen=True)
class Heard:
    """Words heard, and the cells in which the sound of each begins and ends, as far as it is heard."""

    language: str
    words: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the word that sounds in each cell of 30 s, and `N_WORDS` in silence."""
        found = np.full(N_CELLS, N_WORDS)
        for word, (first, last) in zip(self.words, self.spans, strict=True):
            found[first:last] = word
        return found

    @property
    def before(self) -> NDArray[np.int64]:
        """Return, where a word sounds, the one before it: `N_WORDS` for the first, and -1 in silence."""
        found = np.full(N_CELLS, -1)
        for word, (first, last) in zip((_SAID_BEFORE_NOTHING, *self.words), self.spans, strict=False):
            found[first:last] = word
        return found

    def between(self, start: int, end: int) -> "Heard":
        """Return what is heard of this between two cells."""
        clipped = [(max(first, start) - start, min(last, end) - start) for first, last in self.spans]
        kept = [n for n, (first, last) in enumerate(clipped) if last - first >= _HEARD_CELLS]
        return Heard(self.language, tuple(self.words[n] for n in kept), tuple(clipped[n] for n in kept))


@dataclass(frozen=True)
class Window:
    """A piece of speech between two samples, and what is heard of it."""

    speech: Speech
    start: int
    end: int
    heard: Heard

    @property
    def samples(self) -> Samples:
        return self.speech.samples[self.start : self.end]

    @property
    def n_cells(self) -> int:
        return -(-(self.end - self.start) // SAMPLES_A_CELL)


def window(rng: random.Random, longest_s: float = _LONGEST_S) -> Window:
    """Return a window that begins and ends anywhere, in sounds too."""
    speech = language.spoken(rng, rng.choice(["en", "de"]), language.random_words(rng, 34))
    start = rng.choice([0, rng.randrange(SAMPLE_RATE, 3 * SAMPLE_RATE)])
    return cut(speech, start, start + round(rng.uniform(0.4, longest_s) * SAMPLE_RATE))


def cut(speech: Speech, start: int, end: int) -> Window:
    """Return what is heard of speech between two samples."""
    end = min(end, speech.n_samples)
    words, spans = list[int](), list[tuple[int, int]]()
    for word, (first, last) in zip(speech.words, speech.spans, strict=True):
        first, last = max(first, start) - start, min(last, end) - start
        if last - first >= _HEARD_SAMPLES:
            words.append(word)
            spans.append((round(first / SAMPLES_A_CELL), round(last / SAMPLES_A_CELL)))
    return Window(speech, start, end, Heard(speech.language, tuple(words), tuple(spans)))


@dataclass(frozen=True)
class Text:
    """What is written of a window after the audio, and the cell that each token of a word is read from, else -1.

    counts: whether a token is to be learned.
    """

    tokens: tuple[int, ...]
    cells: tuple[int, ...]
    counts: tuple[bool, ...]


def text_of(found: Heard, *, is_spaced: bool) -> Text:
    """is_spaced: the first word has a space before it, as it has where the beginning of a text was cut off."""
    start = [INSTRUCTED, *encode("lang"), *encode(f":{found.language}"), TRANSCRIBE]
    tokens, cells = list(start), [-1] * len(start)
    counts = [token in encode(f":{found.language}") for token in start]
    for n, (word, (first, last)) in enumerate(zip(found.words, found.spans, strict=True)):
        written = encode((" " if n or is_spaced else "") + language.WORDS[found.language][word])
        tokens += written
        cells += [(first + last - 1) // 2] * len(written)
        counts += [n > 0 or not is_spaced] * len(written)
    return Text((*tokens, END), (*cells, -1), (*counts, True))


@cache
def encode(word: str) -> tuple[int, ...]:
    """Return the tokens of one word, with the space before it if it has one: the pair of least rank is merged first."""
    ranks = _ranks()
    pieces = [bytes([byte]) for byte in word.encode()]
    while len(pieces) > 1:
        found = [ranks.get(first + second, len(ranks)) for first, second in pairwise(pieces)]
        at = int(np.argmin(found))
        if found[at] == len(ranks):
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return tuple(len(SPECIAL) + ranks[piece] for piece in pieces)


@cache
def _ranks() -> dict[bytes, int]:
    return {token: rank for rank, token in enumerate(merged_tokens())}


@dataclass(frozen=True)
class Batch:
    """numbers: of the windows, (n, 1); audio: the cells of each that are read, (n, n_cells).

    before: (n, n_cells), as of `Heard`. tokens, cells, counts: (n, length), as of `Text`.
    """

    numbers: NDArray[np.int64]
    audio: NDArray[np.int64]
    before: NDArray[np.int64]
    tokens: NDArray[np.int64]
    cells: NDArray[np.int64]
    counts: NDArray[np.bool_]


def batches(windows: Sequence[Window], n_together: int, n_steps: int, seed: int, share_cut: float) -> Iterator[Batch]:
    """Windows of like length together; the silence after them is of any length.

    share_cut: how many of them are parts of those given.
    """
    rng = random.Random(seed)
    by_length = sorted(range(len(windows)), key=lambda n: windows[n].n_cells)
    n_near = 3 * n_together
    for _ in range(n_steps):
        first = rng.randrange(0, len(windows) - n_near)
        chosen = rng.sample(by_length[first : first + n_near], n_together)
        longest = max(windows[n].n_cells for n in chosen) + rng.randrange(_SHORTEST_SILENCE, _LONGEST_SILENCE)
        n_cells = N_CELLS if rng.random() < _SHARE_WHOLE else min(N_CELLS, longest)
        parts = [_part(rng, windows[n].n_cells, share_cut) for n in chosen]
        heard = [windows[n].heard.between(*part) for n, part in zip(chosen, parts, strict=True)]
        texts = [text_of(each, is_spaced=rng.random() < _SHARE_SPACED) for each in heard]
        yield Batch(
            np.array(chosen)[:, None],
            np.stack([_cells(part, windows[n].n_cells, n_cells) for n, part in zip(chosen, parts, strict=True)]),
            np.stack([each.before[:n_cells] for each in heard]),
            _filled([text.tokens for text in texts], END),
            _filled([text.cells for text in texts], -1),
            _filled([text.counts for text in texts], 0).astype(bool),
        )


def _part(rng: random.Random, n: int, share_cut: float) -> tuple[int, int]:
    """Return where a window of so many cells is cut: nowhere, or anywhere."""
    if n < 2 * _LEAST_CELLS or rng.random() >= share_cut:
        return 0, n
    start = rng.choice([0, rng.randrange(n - _LEAST_CELLS)])
    return start, rng.randrange(start + _LEAST_CELLS, n + 1)


def _cells(part: tuple[int, int], n: int, n_cells: int) -> NDArray[np.int64]:
    """Return the numbers of `n_cells` cells: those of a part of a window, and then of the silence after its n cells."""
    start, end = part
    silence = np.arange(n_cells) % (N_CELLS - n - 1) + n + 1
    return np.concatenate([np.arange(start, end), silence])[:n_cells]


def _filled(rows: Sequence[Sequence[int]], value: int) -> NDArray[np.int64]:
    longest = max(map(len, rows))
    return np.array([[*row, *[value] * (longest - len(row))] for row in rows])
