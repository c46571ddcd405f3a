"""From committed tokens to words with times, and what a listener is told after each call."""

import unicodedata
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from simul_whisper.alignatt import StopReason
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from simul_whisper.committed_tokens import CommittedToken
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.numbers import continues_number
from simul_whisper.timing import Timing
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.word import Word

_LONGEST_TOKEN_SAMPLES = SAMPLE_RATE // 2
# A year is one token of four digits, which takes more than a second to say.
_SAMPLES_PER_DIGIT = SAMPLE_RATE * 35 // 100
# Punctuation by their Unicode category, but read aloud.
_SPOKEN_MARKS = frozenset("%‰&@#§*/\\")


@dataclass(frozen=True)
class BackendChange:
    """From now on another encoder, or decoder, runs: the backends before and after, and why."""

    before: str
    after: str
    reason: str


EncoderChange = BackendChange
"""Its older name."""


@dataclass(frozen=True)
class Update:
    """What one call of `infer` found out.

    words: committed now, never to change. draft_words: what follows them and may still change, draft: its text.
    stop: why the last pass ended.
    audio_end_s: audio up to here has been decoded. keep_from_sample: audio before it will not be needed again.
    encoder_change, decoder_change: None as long as the same encoder, or decoder, runs.
    translation, draft_translation: the same of the English translation, where it is a target.
    """

    words: tuple[Word, ...]
    draft: str
    stop: StopReason
    language: str | None
    audio_end_s: float
    keep_from_sample: int
    is_last: bool
    encoder_change: BackendChange | None = None
    timing: Timing = field(default_factory=Timing)
    draft_words: tuple[Word, ...] = ()
    translation: tuple[Word, ...] = ()
    draft_translation: tuple[Word, ...] = ()
    decoder_change: BackendChange | None = None

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


class Transcript:
    """Collects committed tokens into words of whole characters; the size of the pieces never changes the text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._open: list[CommittedToken] = []
        self._language: str | None = None
        self._end_s = 0.0

    def feed(self, tokens: Sequence[CommittedToken], language: str | None, word_end_sample: int | None) -> list[Word]:
        """Return the words that are complete. `word_end_sample`: where the last one ends; None while it is open."""
        words = []
        for token in tokens:
            if self._open and self._starts_word(token, language):
                words += self.end(token.sample)
            self._language = language if not self._open else self._language
            self._open.append(token)
        ended = word_end_sample is not None or language in LANGUAGES_WITHOUT_SPACES
        if ended and "\ufffd" not in self._text():
            words += self.end(word_end_sample)
        return words

    def preview(self, draft: Sequence[CommittedToken], language: str | None) -> list[Word]:
        """Return the words that would follow if the draft were committed and nothing came after it."""
        trial = copy(self)
        trial._open = list(self._open)
        return [*trial.feed(draft, language, None), *trial.end()]

    def end(self, word_end_sample: int | None = None) -> list[Word]:
        """Return the last word, if one is open; half a character at its end is left out."""
        entries, text = self._open, self._text().rstrip("\ufffd")
        if entries and entries[0].begins_text and text and self._language not in LANGUAGES_WITHOUT_SPACES:
            text = f" {text.lstrip(' ')}"
        self._open = []
        if not text:
            return []
        start_s, self._end_s = self._span_s(entries, word_end_sample)
        probability = float(np.exp(np.mean([entry.logprob for entry in entries])))
        return [Word(text, start_s, self._end_s, probability, self._language)]

    def _span_s(self, entries: list[CommittedToken], word_end_sample: int | None) -> tuple[float, float]:
        """Return when the sound of a word begins and ends, never before the words that came before it."""
        sounding = entries[: self._n_sounding(entries)]
        if not sounding and self._end_s and not self._tokenizer.starts_word(entries[0].token):
            # The mark after a word that has been told is read from anywhere in the silence behind it.
            return self._end_s, self._end_s
        # A token is read from where its sound begins, so a word lasts until the next one, or until a pause.
        token = (sounding or entries)[-1]
        last, latest = token.sample, token.sample + self._longest_samples(token)
        end = latest if word_end_sample is None else word_end_sample
        end = min(max(end, last + SAMPLES_PER_FRAME), latest)
        start_s = max(self._end_s, entries[0].sample / SAMPLE_RATE)
        return start_s, max(start_s, end / SAMPLE_RATE)

    def _longest_samples(self, token: CommittedToken) -> int:
        n_digits = sum(map(str.isdigit, self._tokenizer.decode([token.token])))
        return max(_LONGEST_TOKEN_SAMPLES, n_digits * _SAMPLES_PER_DIGIT)

    def _n_sounding(self, entries: list[CommittedToken]) -> int:
        """Return how many tokens there are up to the last one that is more than punctuation."""
        text = self._tokenizer.decode([entry.token for entry in entries])
        n, n_silent_bytes = len(entries), len(text.encode()) - len(_without_end_marks(text).encode())
        while n and n_silent_bytes >= len(self._tokenizer.bytes_of(entries[n - 1].token)):
            n -= 1
            n_silent_bytes -= len(self._tokenizer.bytes_of(entries[n].token))
        return n

    def _text(self) -> str:
        return self._tokenizer.decode([entry.token for entry in self._open])

    def _starts_word(self, token: CommittedToken, language: str | None) -> bool:
        """Whether `token` begins a word after the open one; never in the middle of a character."""
        if token.begins_text:
            return True
        if language not in LANGUAGES_WITHOUT_SPACES:
            return self._tokenizer.starts_word(token.token)
        text, before = self._tokenizer.decode([token.token]), self._text()
        if "\ufffd" in before:
            return False
        # Letters of another script, as in a name, are one word; punctuation belongs to the word before it.
        continues = text.isascii() and before[-1:].isascii() and text[:1].isalnum() and before[-1:].isalnum()
        continues = continues or continues_number(before, text)
        return not continues and (text[:1].isalnum() or "\ufffd" in text)


def _without_end_marks(text: str) -> str:
    """Return the text without the punctuation at its end, unless that is read aloud."""
    n = len(text)
    while n and _is_silent(text[n - 1]):
        n -= 1
    return text[:n]


def _is_silent(character: str) -> bool:
    is_mark = character == " " or unicodedata.category(character).startswith("P")
    return is_mark and character not in _SPOKEN_MARKS
