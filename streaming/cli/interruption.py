"""Ctrl-C for commands that finish what they have begun."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

_Item = TypeVar("_Item")


class Interruption:
    """Ctrl-C ends the audio, and what waits for it; what is decoded and written goes on, unless it comes again."""

    def __init__(self) -> None:
        self.is_wanted = self._is_waiting = False

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        # Elsewhere Ctrl-C is ignored, or somebody else's.
        if self._before is signal.default_int_handler and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, self._before)

    def until(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Yield the items, of which none is None, until Ctrl-C."""
        while not self.is_wanted:
            item = self._waiting(lambda: next(items, None))
            if item is None:
                return
            yield item

    def sleep(self, seconds: float) -> None:
        self._waiting(lambda: time.sleep(0 if self.is_wanted else seconds))

    def _waiting(self, wait: Callable[[], Any]) -> Any:
        """Return what `wait` does, or None after Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self._is_waiting = True
            result = wait()
            self._is_waiting = False
            return result
        return None

    def _note(self, *_: object) -> None:
        self.is_wanted = True
        signal.signal(signal.SIGINT, self._before)
        if self._is_waiting:
            self._is_waiting = False
            raise KeyboardInterrupt
