"""A call of a translator, on a thread that nobody has to wait for."""

import threading
import time

from simul_whisper import Sentence, TargetToken, Translator

_MOST_UNANSWERED = 16
# All calls of this process that run.
_running = set["TranslatorCall"]()


class TranslatorCall:
    """Runs from when it is made. woken: set when it is done. timeout_s: after which it `is_late`."""

    def __init__(self, translator: Translator, sentence: Sentence, timeout_s: float, woken: threading.Event) -> None:
        self._translator, self._sentence, self._woken = translator, sentence, woken
        self._started_s = time.monotonic()
        self._late_s = self._started_s + timeout_s
        self._tokens: tuple[TargetToken, ...] = ()
        self._error: Exception | None = None
        self.took_s = 0.0
        self.is_done = False
        _running.add(self)
        try:
            threading.Thread(target=self._run, name="translator", daemon=True).start()
        except RuntimeError as error:
            # The system has no thread left.
            self._end(error)

    @property
    def remaining_s(self) -> float:
        """How long it may still take."""
        return max(0.0, self._late_s - time.monotonic())

    @property
    def is_late(self) -> bool:
        return not self.is_done and self.remaining_s == 0.0

    def result(self) -> tuple[TargetToken, ...]:
        """Return the answer, when it is done. Raises what the translator raised: ConfigError for an unknown pair."""
        assert self.is_done
        if self._error:
            raise self._error
        return self._tokens

    def _run(self) -> None:
        try:
            self._translator.check_pair(self._sentence.source, self._sentence.target)
            self._tokens = self._translator.translate(self._sentence)
        except Exception as error:
            self._end(error)
        else:
            self._end()

    def _end(self, error: Exception | None = None) -> None:
        self._error, self.took_s = error, time.monotonic() - self._started_s
        self.is_done = True
        _running.discard(self)
        self._woken.set()


def too_many_unanswered() -> bool:
    """Whether so many calls of this process are late, each with its thread, that no more should be made."""
    return sum(call.is_late for call in list(_running)) >= _MOST_UNANSWERED
