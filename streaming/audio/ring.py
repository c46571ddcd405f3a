"""Fixed memory between one who writes samples and one who reads them, by positions counted from the stream's start.

It knows positions and nothing of clocks, threads or what the samples mean.
"""

import numpy as np
from numpy.typing import NDArray


class RingBuffer:
    """Keeps at most `capacity_samples` samples; the oldest are overwritten, which is counted unless they were released.

    Kept are the samples from `start_sample` up to, not including, `end_sample`.
    """

    def __init__(self, capacity_samples: int, start_sample: int = 0) -> None:
        assert capacity_samples > 0
        self._store = np.zeros(capacity_samples, np.float32)
        self.start_sample = self.end_sample = start_sample
        self.n_lost = 0

    def __len__(self) -> int:
        return self.end_sample - self.start_sample

    @property
    def capacity_samples(self) -> int:
        return len(self._store)

    @property
    def room(self) -> int:
        """How many samples can be written before one is lost."""
        return self.capacity_samples - len(self)

    def write(self, samples: NDArray[np.float32]) -> int:
        """Append float32 (n,), any n. Return how many samples were lost for it, the oldest; `n_lost` sums them up."""
        n_lost = max(0, len(samples) - self.room)
        kept = samples[max(0, len(samples) - self.capacity_samples) :]
        self.end_sample += len(samples)
        self.start_sample += n_lost
        self.n_lost += n_lost
        at = (self.end_sample - len(kept)) % self.capacity_samples
        n_first = min(len(kept), self.capacity_samples - at)
        self._store[at : at + n_first] = kept[:n_first]
        self._store[: len(kept) - n_first] = kept[n_first:]
        return n_lost

    def read(self, start_sample: int, end_sample: int) -> NDArray[np.float32]:
        """Return a copy of the samples from `start_sample` up to `end_sample`, all of which must be kept."""
        assert self.start_sample <= start_sample <= end_sample <= self.end_sample
        at, n = start_sample % self.capacity_samples, end_sample - start_sample
        n_first = min(n, self.capacity_samples - at)
        return np.concatenate([self._store[at : at + n_first], self._store[: n - n_first]])

    def skip(self, n_samples: int) -> None:
        """Go on so many samples later; what is kept is let go of."""
        self.end_sample += n_samples
        self.start_sample = self.end_sample

    def release(self, until_sample: int) -> None:
        """Let go of the samples before `until_sample`: overwriting them is no loss. Going back does nothing."""
        assert until_sample <= self.end_sample
        self.start_sample = max(self.start_sample, until_sample)
