"""What a second of speech costs a model: measured before anybody speaks, in about a second."""

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, Timing

_SPENT_S, _MOST_PASSES, _LEAST_PASSES = 1.0, 8, 2
_FIRST_S = 4.0
# Of speech with its pauses, measured with voice activity: passes for each segment, others a second at pauses, and steps
# of the decoder a second.
_PASSES_PER_SEGMENT, _PASSES_AT_PAUSES_PER_S, _STEPS_PER_S = 0.8, 0.33, 4.8
_PITCH_HZ, _FORMANTS_HZ = 120.0, (600.0, 1_500.0, 2_500.0)


def cost_of_speech(model: Model, config: AlignAttConfig) -> float:
    """Return how many seconds of computation a second of speech will take, drafts not counted.

    No sound is decoded as real speech is: how long a pass and a step take is measured, how many there will be is known.
    """
    whisper, timings = PaddedAlignAttWhisper(config, model, drafts=False), list[Timing]()
    sound, start = babble(_FIRST_S + _MOST_PASSES * config.segment_length), 0
    segment, n_first = round(config.segment_length * SAMPLE_RATE), round(_FIRST_S * SAMPLE_RATE)
    while len(timings) < _MOST_PASSES:
        end = start + segment if timings else n_first
        whisper.insert_audio(sound[start:end])
        timings.append(whisper.infer().timing)
        start = end
        if len(timings) >= _LEAST_PASSES and Timing.sum_of(timings).total_s >= _SPENT_S:
            break
    return _cost(timings, config.segment_length)


def _cost(timings: list[Timing], segment_s: float) -> float:
    """The median keeps what somebody else's program took of the machine out of it."""
    passes_s = [each.total_s - each.language_s - sum(each.step_s) for each in timings if each.windows]
    steps_s = [step_s for each in timings for step_s in each.step_s]
    pass_s = float(np.median(passes_s)) if passes_s else 0.0
    step_s = float(np.median(steps_s)) if steps_s else 0.0
    return (_PASSES_PER_SEGMENT / segment_s + _PASSES_AT_PAUSES_PER_S) * pass_s + _STEPS_PER_S * step_s


def babble(duration_s: float) -> NDArray[np.float32]:
    """Return sound like that of a voice without words, so that something is decoded of it: float32 (n,)."""
    at_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * _PITCH_HZ * (at_s - 0.02 * np.cos(2 * np.pi * 2.1 * at_s) / 2.1)
    sound = 0.2 * np.random.default_rng(0).standard_normal(len(at_s))
    for number in range(1, 26):
        away_hz = [number * _PITCH_HZ - each * (1 + 0.25 * np.sin(2 * np.pi * 3.1 * at_s)) for each in _FORMANTS_HZ]
        loudness = sum(np.exp(-((each / 150) ** 2)) for each in away_hz)
        sound += loudness * np.sin(number * phase)
    syllables = np.clip(np.sin(2 * np.pi * 4.1 * at_s) + 0.3, 0.05, 1)
    loud = sound * syllables
    return np.asarray(0.3 * loud / np.abs(loud).max(), np.float32)
