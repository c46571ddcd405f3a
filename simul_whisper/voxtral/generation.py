"""Voxtral writes about a recording: its transcript, or the answer to a question.

Where features come from does not matter: from MLX, or from Core ML, which makes it the hybrid. The text is written by
always taking the likeliest token.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from simul_whisper.audio import MAX_WINDOW_SAMPLES, Samples
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.mel import log_mel
from simul_whisper.voxtral.language import MlxLanguage, Prompt
from simul_whisper.voxtral.tekken import TekkenTokenizer

MOST_TOKENS = 1000
"""Of an answer, unless told otherwise."""
# As many as Whisper has: fast speech in a language with many tokens.
_MOST_TOKENS_A_WINDOW = 448


class Ending(Enum):
    """Why a text ends: the model has ended it, or it may be no longer."""

    WHOLE = "whole"
    CUT = "cut"


@dataclass(frozen=True)
class Piece:
    """The next characters of a text. ending: of the last piece, whose text is often empty; None: more will follow."""

    text: str
    ending: Ending | None = None


@dataclass(frozen=True)
class Generation:
    """A loaded Voxtral. encoder: gives (n_audio_tokens, n_text_state) of a window of 30 s."""

    encoder: AudioEncoder
    language: MlxLanguage
    tokenizer: TekkenTokenizer

    def features(self, samples: Samples) -> Features:
        """Hear a recording: in windows of 30 s, one after the other, the last filled up with silence.

        samples: float32 (n,), 16 kHz, not empty. Returns (n_audio, n_text_state).
        """
        starts = range(0, len(samples), MAX_WINDOW_SAMPLES)
        windows = (samples[start : start + MAX_WINDOW_SAMPLES] for start in starts)
        return np.concatenate([self.encoder.encode(log_mel(each, self.language.dims.n_mels)) for each in windows])

    def transcript(self, features: Features, language: str | None = None) -> Iterator[Piece]:
        """Write what was said, in the language of that code; None: in the one that the model hears.

        Raises BackendError for more audio than the model can read.
        """
        n_windows = -(-len(features) // self.language.dims.n_audio_tokens)
        prompt = transcript_prompt(self.tokenizer, features, language)
        return self._written(prompt, n_windows * _MOST_TOKENS_A_WINDOW)

    def answer(self, features: Features, question: str, most_tokens: int = MOST_TOKENS) -> Iterator[Piece]:
        """Answer a question about what was said. Raises as `transcript`."""
        return self._written(question_prompt(self.tokenizer, features, question), most_tokens)

    def _written(self, prompt: Prompt, most_tokens: int) -> Iterator[Piece]:
        characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        ending = Ending.CUT
        for token in generated(self.language, prompt, most_tokens):
            if token == self.tokenizer.special("</s>"):
                ending = Ending.WHOLE
                break
            if text := characters.decode(self.tokenizer.bytes_of(token)):
                yield Piece(text)
        yield Piece(characters.decode(b"", final=True), ending)


def transcript_prompt(tokenizer: TekkenTokenizer, features: Features, language: str | None = None) -> Prompt:
    """Return what the model reads before it writes a transcript. language: a code such as `en`."""
    said = [] if language is None else tokenizer.encode(f"lang:{language}")
    return _prompt(tokenizer, features, ["[/INST]", *said, "[TRANSCRIBE]"])


def question_prompt(tokenizer: TekkenTokenizer, features: Features, question: str) -> Prompt:
    """Return what the model reads before it answers a question."""
    return _prompt(tokenizer, features, [*tokenizer.encode(question), "[/INST]"])


def _prompt(tokenizer: TekkenTokenizer, features: Features, after: Sequence[int | str]) -> Prompt:
    before = [tokenizer.special(name) for name in ("<s>", "[INST]", "[BEGIN_AUDIO]")]
    return Prompt(before, features, [tokenizer.special(each) if isinstance(each, str) else each for each in after])


def generated(language: MlxLanguage, prompt: Prompt, most_tokens: int) -> Iterator[int]:
    """Yield the tokens that follow, at most so many, and as many as the model can read."""
    text, newest = language.begin(replace(prompt, after=prompt.after[:-1])), prompt.after[-1]
    for _ in range(min(most_tokens, language.dims.n_text_ctx - len(prompt))):
        newest = int(language.step(text, [[newest]]).logits[0, 0].argmax())
        yield newest
