"""Any bytes in any format of PCM are sound or an AudioFormatError, and little of them is held back."""

from contextlib import suppress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.pcm import PcmDecoder
from streaming.settings import Encoding, PcmFormat
from tests.properties import examples

formats = st.builds(
    PcmFormat, st.sampled_from([each.value for each in Encoding]), st.integers(8000, 192_000), st.integers(1, 8)
)
# Floats that are at the edge of what they can be, among any bytes.
floats = st.sampled_from([0.0, 1.0, -16.0, 16.1, 1e-45, 3e38, -3e38, np.inf, np.nan])
extremes = st.lists(floats, max_size=200).map(lambda values: np.array(values, "<f4").tobytes())
pieces = st.lists(st.binary(max_size=3000) | extremes | st.integers(0, 100_000).map(bytes), max_size=6)
HELD_S = 0.3


@examples(300)
@given(pcm_format=formats, pieces=pieces)
def test_any_bytes_are_finite_sound_or_refused(pcm_format: PcmFormat, pieces: list[bytes]) -> None:
    decoder = PcmDecoder(pcm_format)
    n_bytes = n_samples = 0
    for piece in pieces:
        n_bytes += len(piece)
        with suppress(AudioFormatError):
            samples = decoder.feed(piece)
            assert np.isfinite(samples).all()
            n_samples += len(samples)
    samples = decoder.end()
    assert np.isfinite(samples).all()
    assert len(samples) <= HELD_S * SAMPLE_RATE
    duration_s = n_bytes / pcm_format.bytes_per_frame / pcm_format.rate
    assert n_samples + len(samples) <= (duration_s + HELD_S) * SAMPLE_RATE
