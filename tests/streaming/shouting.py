"""A translator for tests, of a language pair that everybody understands."""

import threading
from dataclasses import dataclass, field

from simul_whisper import ConfigError, Sentence, TargetToken

TARGETS = ("de", "es", "ar")
SOURCE = "en"


@dataclass
class Shouting:
    """Translates English into German, Spanish and Arabic, by shouting it. It waits while it may not go on."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    @property
    def description(self) -> str:
        return "somebody who shouts"

    def check_pair(self, source: str, target: str) -> None:
        if source != SOURCE or target not in TARGETS:
            raise ConfigError(f"nobody shouts from {source} into {target}")

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.is_asked.set()
        self.may_go_on.wait()
        at, tokens = -len(sentence.told.strip()), list[TargetToken]()
        for n, word in enumerate(sentence.words):
            text = word.upper() if n else word.upper().lstrip()
            at += len(text)
            if at > 0:
                tokens.append(TargetToken(word.upper(), n))
        return tuple(tokens)
