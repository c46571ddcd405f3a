"""A cursor for an event loop: it is told of events, and waits for them without a thread."""

import asyncio
from contextlib import suppress

from streaming.sessions.event_log import ALL_EVENTS, EventFilter, EventLog


class LogReader:
    """Reads a log. `news` is set when there is, or may be, something new; whoever waits clears it before reading.

    holds: as for `EventLog.cursor`.
    """

    def __init__(self, log: EventLog, wanted: EventFilter = ALL_EVENTS, *, holds: bool = False) -> None:
        self.news = asyncio.Event()
        self.news.set()
        self.cursor = log.cursor(wanted, holds=holds)
        loop, news = asyncio.get_running_loop(), self.news

        def wake() -> None:
            # A loop that is closed has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(news.set)

        self._log, self._wake = log, wake
        log.add_waker(wake)

    def close(self) -> None:
        self._log.remove_waker(self._wake)
        self.cursor.close()
