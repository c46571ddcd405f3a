"""Voxtral writes about a recording: its transcript, or the answer to a question.

Where features come from does not matter: from MLX, or from Core ML, which makes it the hybrid. The text is written by
always taking the likeliest token.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from simul_whisper.audio import MAX_WINDOW_S, MAX_WINDOW_SAMPLES, SAMPLE_RATE, Samples, as_samples
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.errors import AudioFormatError
from simul_whisper.machine import available_memory
from simul_whisper.mel import log_mels
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voxtral.decoder import MOST_TOKENS_A_WINDOW
from simul_whisper.voxtral.language import MlxLanguage, Prompt
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer

MOST_TOKENS = 1000
"""Of an answer, unless told otherwise."""


class Ending(Enum):
    """Why a text ends: the model has ended it, or it may be no longer."""

    WHOLE = "whole"
    CUT = "cut"


@dataclass(frozen=True)
class Written:
    """The next characters of a text. ending: of the last piece, whose text is often empty; None: more will follow."""

    text: str
    ending: Ending | None = None


@dataclass(frozen=True)
class Generation:
    """A loaded Voxtral. encoder: gives (n_audio_tokens, n_text_state) of a window of 30 s."""

    encoder: AudioEncoder
    language: MlxLanguage
    tokenizer: VoxtralTokenizer

    def features(self, samples: Samples, progress: ProgressHandler = silent) -> Features:
        """Hear a recording: in windows of 30 s, one after the other, the last filled up with silence.

        samples: float32 (n,), mono, 16 kHz, in [-1, 1]. progress: is told of each window. Returns (n_audio,
        n_text_state). Raises AudioFormatError for what is no audio, none, or more than the model can read or there is
        memory for.
        """
        samples = as_samples(samples)
        if not len(samples):
            raise AudioFormatError("got no audio, expected at least one sample")
        self._check_room(len(samples))
        mels, found = log_mels(samples, self.language.dims.n_mels), list[Features]()
        for mel in mels:
            progress(Progress(Stage.HEARING, "", len(found), len(mels)))
            found.append(self.encoder.encode(mel))
        progress(Progress(Stage.HEARING, "", len(mels), len(mels)))
        return np.concatenate(found)

    def _check_room(self, n_samples: int) -> None:
        language, got = self.language, f"got a recording of {n_samples / SAMPLE_RATE:.0f} s"
        n_windows = -(-n_samples // MAX_WINDOW_SAMPLES)
        most = language.dims.n_text_ctx // language.dims.n_audio_tokens
        if n_windows > most:
            raise AudioFormatError(f"{got}, expected at most the {most * MAX_WINDOW_S} s that the model can read")
        n_bytes, free = n_windows * language.dims.n_audio_tokens * language.position_bytes, available_memory()
        if free is not None and n_bytes > free:
            raise AudioFormatError(
                f"{got}, for which the model needs {n_bytes / 1e9:.1f} GB of memory beside its weights, "
                f"and {free / 1e9:.1f} GB are free; give it a shorter one"
            )

    def transcript(self, features: Features, language: str | None = None) -> Iterator[Written]:
        """Write what was said, in the language of that code; None: in the one that the model hears.

        Raises ConfigError for a language that the model does not know.
        """
        n_windows = -(-len(features) // self.language.dims.n_audio_tokens)
        prompt = transcript_prompt(self.tokenizer, features, language)
        return self._written(prompt, n_windows * MOST_TOKENS_A_WINDOW)

    def answer(self, features: Features, question: str, most_tokens: int = MOST_TOKENS) -> Iterator[Written]:
        """Answer a question about what was said. Raises BackendError for one that is too long."""
        return self._written(question_prompt(self.tokenizer, features, question), most_tokens)

    def _written(self, prompt: Prompt, most_tokens: int) -> Iterator[Written]:
        characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        ending = Ending.CUT
        for token in generated(self.language, prompt, most_tokens):
            if token == self.tokenizer.eot:
                ending = Ending.WHOLE
                break
            if text := characters.decode(self.tokenizer.bytes_of(token)):
                yield Written(text)
        yield Written(characters.decode(b"", final=True), ending)


def transcript_prompt(tokenizer: VoxtralTokenizer, features: Features, language: str | None = None) -> Prompt:
    """Return what the model reads before it writes a transcript. language: a code such as `en`."""
    said = [tokenizer.transcribe] if language is None else tokenizer.sot_sequence(language, "transcribe")
    return Prompt(tokenizer.before_audio, features, [*tokenizer.after_audio, *said])


def question_prompt(tokenizer: VoxtralTokenizer, features: Features, question: str) -> Prompt:
    """Return what the model reads before it answers a question."""
    return Prompt(tokenizer.before_audio, features, [*tokenizer.encode(question), *tokenizer.after_audio])


def generated(language: MlxLanguage, prompt: Prompt, most_tokens: int) -> Iterator[int]:
    """Yield the tokens that follow, at most so many, and as many as the model can read."""
    text, newest = language.begin(replace(prompt, after=prompt.after[:-1])), prompt.after[-1]
    for _ in range(min(most_tokens, language.dims.n_text_ctx - len(prompt))):
        newest = int(language.step(text, [[newest]]).logits[0, 0].argmax())
        yield newest
