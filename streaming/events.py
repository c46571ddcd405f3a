"""What a listener is told: frozen records, with times in seconds since the start of the stream."""

from dataclasses import dataclass

from simul_whisper import Word


@dataclass(frozen=True)
class Words:
    """Committed words, never to change. heard_s: how much of the stream had been decoded when they were decided."""

    words: tuple[Word, ...]
    heard_s: float

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class Draft:
    """Text after the committed words that may still change; it replaces the draft before, and may be empty."""

    text: str


@dataclass(frozen=True)
class SpeechStarted:
    at_s: float


@dataclass(frozen=True)
class SpeechEnded:
    """All words of the utterance have been committed."""

    at_s: float


@dataclass(frozen=True)
class Language:
    """The language that is decoded from here on: a Whisper code."""

    language: str


@dataclass(frozen=True)
class AudioDropped:
    """The audio between these times was never heard: it came faster than it could be taken."""

    from_s: float
    to_s: float


@dataclass(frozen=True)
class BackendChanged:
    """From now on another encoder runs: the backends before and after, and why."""

    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Flushed:
    """A flush was asked for here, and all words before it have been committed."""

    at_s: float


@dataclass(frozen=True)
class Failed:
    """The session is over, by an error.

    code: `audio_format`, `config`, `engine`, `internal`, `stopped` or `slow_reader`.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Ended:
    """The session is over, and everything was heard. audio_s: how long the stream was."""

    audio_s: float


Event = (
    Words | Draft | SpeechStarted | SpeechEnded | Language | AudioDropped | BackendChanged | Flushed | Failed | Ended
)
