"""Times calls of somebody else's decoder."""

import time
from collections.abc import Callable
from typing import Any

from scripts.peers.job import Decoding


class Meter:
    def __init__(self) -> None:
        self._seconds, self._n_tokens = 0.0, 0

    def around(self, call: Callable[..., Any], count: Callable[[Any], int]) -> Callable[..., Any]:
        """Return `call`, timed; `count` tells from its result how many tokens it decoded."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = call(*arguments, **options)
            self._seconds += time.perf_counter() - started
            self._n_tokens += count(result)
            return result

        return timed

    def taken(self) -> Decoding:
        """Return what was decoded since the last time."""
        decoding = Decoding(self._seconds, self._n_tokens)
        self._seconds, self._n_tokens = 0.0, 0
        return decoding


def metered(model: Any) -> Meter:
    """Time the decoder of a `faster_whisper.WhisperModel`; the pass that aligns words with the audio is left out."""
    meter = Meter()
    model.generate_with_fallback = meter.around(
        model.generate_with_fallback, lambda result: len(result[0].sequences_ids[0])
    )
    return meter
