"""What a microphone picks up while a voice sounds."""

import math

import numpy as np

from simul_whisper import SAMPLE_RATE
from streaming.audio.half_duplex import HalfDuplex, PassedOver

PIECE = np.ones(SAMPLE_RATE // 10, np.float32)


def listened(until_s: float, sounds: dict[int, float], n_pieces: int) -> tuple[list[bool], list[PassedOver]]:
    """Pieces of 0.1 s; sounds: from which of them on the voice sounds until when."""
    half_duplex, heard, passed = HalfDuplex(after_s=until_s), list[bool](), list[PassedOver]()
    sounds_until_s = -math.inf
    for n in range(n_pieces):
        sounds_until_s = sounds.get(n, sounds_until_s)
        samples, over = half_duplex.feed(PIECE, (n + 1) / 10, sounds_until_s)
        assert len(samples) == len(PIECE)
        heard.append(bool(samples.any()))
        passed += [over] if over else []
    last = half_duplex.end()
    return heard, passed + ([last] if last else [])


def test_nothing_is_listened_to_until_a_little_after_the_voice() -> None:
    # It sounds from 0.25 s, in the third piece, to 0.45 s.
    heard, passed = listened(0.2, {2: 0.45}, 10)
    assert heard == [True] * 2 + [False] * 5 + [True] * 3
    assert passed == [PassedOver(0.2, 0.7)]


def test_what_was_passed_over_at_the_end_is_told_too() -> None:
    assert listened(0.2, {1: 9.0}, 3) == ([True, False, False], [PassedOver(0.1, 0.3)])


def test_without_a_voice_everything_is_heard() -> None:
    assert listened(0.5, {}, 3) == ([True] * 3, [])


def test_a_piece_that_comes_late_is_passed_over_as_a_whole() -> None:
    """The program was busy for 3 s: in the audio that has come meanwhile, the voice sounded for a while."""
    samples, _ = HalfDuplex(0.2).feed(np.ones(3 * SAMPLE_RATE, np.float32), 3.0, 0.5)
    assert not samples.any()
