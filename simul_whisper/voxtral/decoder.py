"""Voxtral's language model as a text decoder: the audio is a part of its text, and its heads look at it from there.

A window is read once, `<s>[INST][BEGIN_AUDIO]`, its audio and `[/INST]`; what the engine reads is behind that.
"""

from collections.abc import Sequence

import numpy as np

from simul_whisper.decoders import Limits, Step
from simul_whisper.encoders import Features
from simul_whisper.voxtral.language import MlxLanguage, Prompt, Text
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer

MOST_TOKENS_A_WINDOW = 448
"""As many as Whisper has: fast speech in a language with many tokens."""


class VoxtralDecoder:
    """A `TextDecoder`.

    n_heads: how many alignment heads the language model hands out; with none, nothing tells where it reads. A row of
    attention is what a head leaves for the audio, so its sum is less than 1: a head that looks at text tells nothing of
    the audio. Each of the 375 positions of the audio stands for `downsample` frames.
    """

    def __init__(self, language: MlxLanguage, tokenizer: VoxtralTokenizer, n_heads: int) -> None:
        self.language, self.tokenizer = language, tokenizer
        self._downsample = language.dims.downsample
        n_read = language.dims.n_audio_tokens + len(tokenizer.before_audio) + len(tokenizer.after_audio)
        n_positions = min(MOST_TOKENS_A_WINDOW, language.dims.n_text_ctx - n_read)
        self.limits = Limits(n_positions, whole_windows=True, is_aligned=n_heads > 0)
        heads = "1 head" if n_heads == 1 else f"{n_heads} heads"
        policy = f"AlignAtt over {heads}" if n_heads else "LocalAgreement, as no alignment heads are known"
        self.description = f"{language.description}; {policy}"

    def begin(self, features: Features) -> Text:
        """features: (375, n_text_state), of a window of 30 s."""
        return self.language.begin(Prompt(self.tokenizer.before_audio, features, self.tokenizer.after_audio))

    def step(self, state: Text, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = self.language.step(state, tokens, logits_at)
        frames = np.repeat(step.attention / np.float32(self._downsample), self._downsample, axis=-1)
        return Step(step.logits, frames)

    def select(self, state: Text, beams: Sequence[int], length: int | None = None) -> None:
        self.language.select(state, beams, length)
