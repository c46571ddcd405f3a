"""What the engine asks for is done here, and nowhere else: by an encoder and a decoder."""

import time
from typing import Any

from simul_whisper.decoders import TextDecoder, limits_of
from simul_whisper.encoders import AudioEncoder
from simul_whisper.pieces import Answer, Ask, Begin, Encode


def answer(encoder: AudioEncoder, decoder: TextDecoder, ask: Ask) -> Answer:
    """Do what is asked for. Raises what the backends raise."""
    started = time.perf_counter()
    value = _answered(encoder, decoder, ask)
    return Answer(value, time.perf_counter() - started)


def _answered(encoder: AudioEncoder, decoder: TextDecoder, ask: Ask) -> Any:
    if isinstance(ask, Encode):
        return encoder.encode(ask.mel)
    if isinstance(ask, Begin):
        return decoder.begin(ask.features) if limits_of(decoder) == ask.limits else None
    if ask.selection:
        decoder.select(ask.state, ask.selection.beams, ask.selection.length)
    return decoder.step(ask.state, ask.tokens, ask.logits_at)
