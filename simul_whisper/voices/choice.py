"""Which voice speaks a language."""

import threading
from collections.abc import Callable, Mapping

from simul_whisper.errors import ConfigError
from simul_whisper.voices import Voice


class Voices:
    """The voices of a program, by language; each is loaded once, when it is first asked for, and shared."""

    def __init__(self, openers: Mapping[str, Callable[[], Voice]], by_language: Mapping[str, str]) -> None:
        self._openers, self._by_language = openers, by_language
        self._loaded = dict[str, Voice]()
        self._lock = threading.Lock()

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self._by_language)

    def voice(self, language: str) -> Voice:
        name = self._by_language.get(language)
        if name is None:
            raise ConfigError(f"no voice speaks {language} here")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._openers[name]()
            return self._loaded[name]
