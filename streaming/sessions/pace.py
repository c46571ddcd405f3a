"""Where passes over an utterance are due, and glimpses between them. It counts samples and knows nothing else."""

from dataclasses import dataclass

from simul_whisper import SAMPLE_RATE

# With voice activity, the first passes of an utterance are so many seconds apart, in which first words may be read.
_FIRST_PASSES_S = (1.6, 0.9)
# While an utterance is short, reading a draft costs little: so often it is done, but not right before a pass.
_FIRST_GLIMPSE_S, _GLIMPSE_S, _BEFORE_PASS_S = 0.8, 0.5, 0.4
_GLIMPSES_UNTIL_S = 4.0


@dataclass(frozen=True)
class Due:
    """What is to be read up to a sample: a pass, or only a draft."""

    sample: int
    is_glimpse: bool


class Pace:
    """The pace of one listener. is_gated: with voice activity. drafts: whether there are glimpses, then."""

    def __init__(self, segment_samples: int, *, is_gated: bool, drafts: bool) -> None:
        self._segment_samples, self._is_gated, self._drafts = segment_samples, is_gated, drafts
        self._n_passes = 0
        self._start_sample = self._passed_sample = self._counted_sample = 0

    @property
    def passed_sample(self) -> int:
        """Where the last pass ends, or the utterance begins."""
        return self._passed_sample

    def begin(self, start_sample: int) -> None:
        """An utterance begins."""
        self._n_passes = 0
        self._start_sample = self._passed_sample = self._counted_sample = start_sample

    def leave_out(self, n_samples: int) -> None:
        """So much of what follows the last pass does not count: silence alone is nothing to decode."""
        self._counted_sample = self._passed_sample + n_samples

    def pass_to(self, sample: int) -> None:
        """A pass is planned that ends there."""
        self._n_passes += 1
        self._passed_sample = self._counted_sample = sample

    def due(self, planned_sample: int) -> Due:
        """Return what is due next; everything up to `planned_sample` is planned already."""
        pass_sample = self._counted_sample + self._distance()
        glimpse_s = _GLIMPSE_S if planned_sample > self._start_sample else _FIRST_GLIMPSE_S
        sample = max(planned_sample, self._counted_sample) + round(glimpse_s * SAMPLE_RATE)
        is_short = sample - self._start_sample <= _GLIMPSES_UNTIL_S * SAMPLE_RATE
        is_apart = pass_sample - sample >= _BEFORE_PASS_S * SAMPLE_RATE
        is_glimpse = self._drafts and self._is_gated and is_short and is_apart
        return Due(sample if is_glimpse else pass_sample, is_glimpse)

    def _distance(self) -> int:
        if self._is_gated and self._n_passes < len(_FIRST_PASSES_S):
            return round(_FIRST_PASSES_S[self._n_passes] * SAMPLE_RATE)
        return self._segment_samples
