"""A language of tones, and a model that never mishears it, so that every error in a transcript is the engine's.

A word is a tone; its frequency says which word. The encoder hears, frame by frame, which tone sounds. The decoder
writes the words of the window in order, after those it is given as a prefix: when the engine drops audio without its
words, or words without their audio, the transcript shows it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from simul_whisper.audio import SAMPLE_RATE, Samples
from simul_whisper.decoders import Step, TextDecoder
from simul_whisper.decoders.fallback import FallbackDecoder
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel, log_mel
from simul_whisper.model import Model
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.weights import Dims
from simul_whisper.whisper_tokenizer import WhisperTokenizer
from tests.fakes import UNLIKELY, tokenizer_of

N_MELS = 80
# Words of one, two and four tokens.
WORDS = tuple(
    f" {word}"
    for word in "one four five seven nine red blue green house water river stone light garden window paper music bird "
    "supercalifragilistic untranslatable 🙂 naïve,".split()
)
# In the middle of every third mel band, where neighbours are far enough apart.
FREQUENCIES_HZ = tuple(700 * 10 ** (n / 25) for n in range(len(WORDS)))
TONE_SAMPLES, GAP_SAMPLES = 4_800, 3_200
_FADE_SAMPLES = 480
_SHORTEST_FRAMES = 3


@dataclass(frozen=True)
class Speech:
    """samples: float32 (n,); words: indices into WORDS; starts: the sample where each begins."""

    samples: Samples
    words: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def text(self) -> str:
        return "".join(WORDS[word] for word in self.words)


def speech_of(words: Iterable[int], pauses: Sequence[int] = (GAP_SAMPLES,), lead_samples: int = 0) -> Speech:
    """Speak words; the pauses after them, in samples, are repeated in turn."""
    pieces, starts, at = [np.zeros(lead_samples, np.float32)], [], lead_samples
    spoken = tuple(words)
    for n, word in enumerate(spoken):
        starts.append(at)
        pieces += [_tone(word), np.zeros(pauses[n % len(pauses)], np.float32)]
        at += TONE_SAMPLES + pauses[n % len(pauses)]
    return Speech(np.concatenate(pieces), spoken, tuple(starts))


def random_words(n: int, seed: int = 0) -> list[int]:
    """Words in no order, none twice in a row, so that no loop is seen where none is."""
    steps = np.random.default_rng(seed).integers(1, len(WORDS), n)
    return [int(word) for word in np.cumsum(steps) % len(WORDS)]


def _tone(word: int) -> Samples:
    time_s = np.arange(TONE_SAMPLES) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(np.arange(TONE_SAMPLES), np.arange(TONE_SAMPLES)[::-1]) / _FADE_SAMPLES)
    return np.asarray(0.3 * fade * np.sin(2 * np.pi * FREQUENCIES_HZ[word] * time_s), np.float32)


class ToneEncoder:
    """Hears, in each frame, the loudest mel band, or -1 in silence. Features: float32 (n_frames, 1)."""

    description = "tones"

    def encode(self, mel: Mel) -> Features:
        columns = mel.columns[:, ::2]
        bands = np.where(columns.max(axis=0) > 0.1, columns.argmax(axis=0), -1)
        return np.asarray(bands[:, None], np.float32)


def _band_of_words() -> dict[int, int]:
    tones = [ToneEncoder().encode(log_mel(_tone(word), N_MELS, 0)) for word in range(len(WORDS))]
    return {int(np.median(bands)): word for word, bands in enumerate(tones)}


_WORD_OF_BAND = _band_of_words()
assert len(_WORD_OF_BAND) == len(WORDS)


def heard(features: Features) -> Iterator[tuple[int, int]]:
    """Word and middle frame of every tone that is long enough to tell."""
    frame = 0
    for band, run in groupby(features[:, 0].astype(int).tolist()):
        n = len(list(run))
        if band in _WORD_OF_BAND and n >= _SHORTEST_FRAMES:
            yield _WORD_OF_BAND[band], frame + n // 2
        frame += n


@dataclass
class ToneState:
    """What is said in a window, token by token with the frame it is read from, and the text of every beam.

    translated: the same in English.
    """

    said: list[tuple[int, int]]
    translated: list[tuple[int, int]]
    n_frames: int
    beams: list[list[int]]


def in_english(word: int) -> int:
    """The translation of a word."""
    return len(WORDS) - 1 - word


def english(speech: Speech) -> Speech:
    """The same speech, as its translation is to be read."""
    return replace(speech, words=tuple(in_english(word) for word in speech.words))


class ToneDecoder:
    """A `TextDecoder` that writes what was said, or its translation.

    `prompts` keeps the text in front of each window's new tokens. stutter: a word after which it writes nothing but
    that word again, as Whisper does in a repeat loop.
    """

    def __init__(self, tokenizer: Tokenizer, language: str, stutter: int | None = None) -> None:
        assert isinstance(tokenizer, WhisperTokenizer)
        self._tokenizer, self._language = tokenizer, language
        self._stuck = None if stutter is None else tokenizer.encode(WORDS[stutter])[-1]
        self._tokens = [tokenizer.encode(word) for word in WORDS]
        self.prompts: list[list[int]] = []

    def begin(self, features: Features) -> ToneState:
        words = list(heard(features))
        translated = self._written((in_english(word), middle) for word, middle in words)
        return ToneState(self._written(words), translated, len(features), [])

    def _written(self, words: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(token, middle + n) for word, middle in words for n, token in enumerate(self._tokens[word])]

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        if not state.beams:
            self.prompts.append(list(tokens[0]))
            state.beams = [[] for _ in tokens]
        logits, attention = [], []
        for beam, new in zip(state.beams, tokens, strict=True):
            predictions = []
            for token in new:
                beam.append(token)
                predictions.append(self._prediction(state, beam))
            logits.append([self._logits(*predictions[position][0]) for position in logits_at])
            first = len(beam) - len(new)
            rows = [_row(frame, first + n, state.n_frames) for n, (_, frame) in enumerate(predictions)]
            attention.append([rows])
        return Step(np.array(logits, np.float32), np.array(attention, np.float32))

    def select(self, state: ToneState, beams: Sequence[int], length: int | None = None) -> None:
        state.beams = [state.beams[beam][:length] for beam in beams]

    def _prediction(self, state: ToneState, text: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """The likely next tokens, best first, and the frame that tells."""
        sot = self._tokenizer.sot
        if sot not in text:
            return (), 0
        n_new = len(text) - text.index(sot) - len(self._tokenizer.sot_sequence(self._language, "transcribe"))
        if text[-1] == sot:
            language = self._tokenizer.languages.index(self._language)
            return (self._tokenizer.language_tokens[language],) if state.said else (self._tokenizer.no_speech,), 0
        if n_new < 0:
            return (), 0
        if text[-1] == self._stuck:
            return (self._stuck,), state.said[0][1]
        said = state.translated if self._tokenizer.translate in text else state.said
        token, frame = said[n_new] if n_new < len(said) else (self._tokenizer.eot, state.n_frames - 1)
        return (token, self._tokens[n_new % len(WORDS)][0]), frame

    def _logits(self, *likely: int) -> NDArray[np.float32]:
        logits = np.full(self._tokenizer.n_vocab, UNLIKELY, np.float32)
        for n, token in reversed([*enumerate(likely)]):
            logits[token] = -5.0 * n
        return logits


class MirrorDecoder(ToneDecoder):
    """Writes the translation for what was said, and the other way round: it can be told which decoder has listened."""

    def begin(self, features: Features) -> ToneState:
        state = super().begin(features)
        return replace(state, said=state.translated, translated=state.said)


def _row(frame: int, position: int, n_frames: int) -> NDArray[np.float32]:
    """A smooth peak, wider than the median filter, on a ground that is not the same in all rows."""
    return _peak(frame, n_frames) + np.float32(0.05 * (position % 2))


@cache
def _peak(frame: int, n_frames: int) -> NDArray[np.float32]:
    return np.exp(-np.square((np.arange(n_frames) - frame) / 6.0)).astype(np.float32)


class ToneBatches(ToneDecoder):
    """One that reads several texts together; `sizes` keeps of how many listeners."""

    most_together = 4

    def __init__(self, tokenizer: Tokenizer, language: str) -> None:
        super().__init__(tokenizer, language)
        self.sizes: list[int] = []

    def step_together(
        self,
        states: Sequence[ToneState],
        tokens: Sequence[Sequence[Sequence[int]]],
        logits_at: Sequence[Sequence[int]],
    ) -> list[Step] | None:
        self.sizes.append(len(states))
        return [self.step(*each) for each in zip(states, tokens, logits_at, strict=True)]


def tone_model(language: str = "en", name: str = "base", decoder: TextDecoder | None = None) -> Model:
    tokenizer = tokenizer_of(name)
    dims = Dims(N_MELS, 1500, 1, 1, 1, tokenizer.n_vocab, 448, 1, 1, 1)
    encoder = FallbackEncoder(BackendStatus("tones"), ToneEncoder)
    spoken = decoder or ToneDecoder(tokenizer, language)
    return Model("tones", dims, tokenizer, encoder, FallbackDecoder(BackendStatus("tones"), lambda: spoken), 0.0)


def mirror_model() -> Model:
    """Return another model than the usual one, by whose words it can be told which of the two has listened."""
    return tone_model(decoder=MirrorDecoder(tokenizer_of("base"), "en"))
