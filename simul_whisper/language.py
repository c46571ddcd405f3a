"""Which language is spoken, from the decoder's own prediction of the language token."""

import numpy as np

from simul_whisper.decoders import TextDecoder
from simul_whisper.encoders import Features
from simul_whisper.search import log_softmax
from simul_whisper.tokenizer import Tokenizer


def detect_language(decoder: TextDecoder, tokenizer: Tokenizer, features: Features) -> tuple[str, float]:
    """Return the likeliest language of a window and its probability among all languages."""
    step = decoder.step(decoder.begin(features), [[tokenizer.sot]])
    logits = step.logits[0, -1, tokenizer.language_tokens.start : tokenizer.language_tokens.stop]
    probabilities = np.exp(log_softmax(logits))
    best = int(probabilities.argmax())
    return tokenizer.languages[best], float(probabilities[best])
