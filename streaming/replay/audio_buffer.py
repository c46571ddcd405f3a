"""Audio that was given to a client and may have to be sent, or sent again. Pure."""


class AudioBuffer:
    """Bytes by their position since the start; those from `start` on are kept, those from `cursor` on are unsent."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.start = self.cursor = 0

    @property
    def end(self) -> int:
        return self.start + len(self._kept)

    @property
    def n_unsent(self) -> int:
        return self.end - self.cursor

    @property
    def n_kept(self) -> int:
        return len(self._kept)

    def write(self, data: bytes) -> None:
        self._kept += data

    def play(self, most_bytes: int, until: int | None = None) -> bytes:
        """Return the next bytes, at most so many and none from `until` on, and step over them."""
        stop = min(self.end, self.cursor + most_bytes, self.end if until is None else max(until, self.cursor))
        data = bytes(self._kept[self.cursor - self.start : stop - self.start])
        self.cursor = stop
        return data

    def rewind(self, position: int) -> None:
        """Go to a position that is kept."""
        assert self.start <= position <= self.end
        self.cursor = position

    def forget(self, before: int) -> None:
        """Keep nothing before that, but all that is unsent."""
        self._drop(min(before, self.cursor))

    def shorten(self, most_bytes: int) -> None:
        """Give up the oldest audio, also if it is unsent, so that at most so much is kept."""
        self._drop(self.end - most_bytes)
        self.cursor = max(self.cursor, self.start)

    def _drop(self, before: int) -> None:
        n_gone = before - self.start
        if n_gone > 0:
            del self._kept[:n_gone]
            self.start += n_gone
