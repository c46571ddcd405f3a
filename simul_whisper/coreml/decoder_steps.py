"""A decoder beside another one, token by token: how near logits and attention are when both read the same text.

The text is what the other decoder says, so that no difference can grow by way of the tokens.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.parity import Parity, parity
from simul_whisper.decoders import TextDecoder
from simul_whisper.encoders import Features

_STEPS = 50


@dataclass(frozen=True)
class StepsParity:
    logits: Parity
    attention: Parity


def steps_parity(
    decoder: TextDecoder, reference: TextDecoder, features: Features, prompt: list[int], n_words: int
) -> StepsParity:
    """Read the prompt and then a token at a time, and compare all that both decoders answered.

    features: of one window. n_words: how many tokens, from the first on, are pieces of text; only these are read. A
    decoder that gives one row of attention for all alignment heads is compared with their mean.
    """
    decoders = decoder, reference
    states = [each.begin(features) for each in decoders]
    logits: tuple[list[NDArray[np.float32]], ...] = [], []
    attention: tuple[list[NDArray[np.float32]], ...] = [], []
    tokens = prompt
    for _ in range(1 + _STEPS):
        answers = [each.step(state, [tokens]) for each, state in zip(decoders, states, strict=True)]
        rows = [answer.attention for answer in answers]
        if rows[0].shape[1] == 1:
            rows[1] = rows[1].mean(axis=1, keepdims=True)
        for which, answer in enumerate(answers):
            logits[which].append(answer.logits[0, -1])
            attention[which].append(rows[which][0].reshape(-1))
        tokens = [int(answers[1].logits[0, -1, :n_words].argmax())]
    return StepsParity(
        parity(np.concatenate(logits[0]), np.concatenate(logits[1])),
        parity(np.concatenate(attention[0]), np.concatenate(attention[1])),
    )
