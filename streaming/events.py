"""What every stage reports: frozen records, with times in seconds since the start of the stream.

Utterances are numbered from 1; without voice activity there is one, and another after each flush.
"""

from dataclasses import dataclass, field
from enum import Enum

from simul_whisper import Word


class Reason(Enum):
    """Why a session, a connection or a request is refused or over: the one vocabulary of all protocols."""

    # What was asked for cannot be had.
    AUDIO_FORMAT = "audio_format"
    CONFIG = "config"
    UNAUTHORIZED = "unauthorized"
    HOST = "host"
    ORIGIN = "origin"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_SESSIONS = "too_many_sessions"
    NOT_READY = "not_ready"
    # A message that the protocol does not allow.
    BAD_JSON = "bad_json"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_KEY = "unknown_key"
    BAD_VALUE = "bad_value"
    UNSUPPORTED_VERSION = "unsupported_version"
    HELLO_EXPECTED = "hello_expected"
    HELLO_TWICE = "hello_twice"
    AFTER_END = "after_end"
    MESSAGE_TOO_BIG = "message_too_big"
    # The session goes on elsewhere, or is not known any more.
    REPLACED = "replaced"
    UNKNOWN_SESSION = "unknown_session"
    RESUME_GAP = "resume_gap"
    # Somebody was too slow or too long.
    IDLE = "idle"
    TOO_LONG = "too_long"
    OVERLOADED = "overloaded"
    SLOW_READER = "slow_reader"
    # The server ends, or has made a mistake.
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENGINE = "engine"
    INTERNAL = "internal"
    # Told by a newer server than this client.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Words:
    """Committed words, never to change. heard_s: how much of the stream had been decoded when they were decided."""

    words: tuple[Word, ...]
    heard_s: float
    utterance: int = 1

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class Draft:
    """What follows the committed words and may still change; it replaces the draft before, and may be empty."""

    words: tuple[Word, ...]
    utterance: int = 1

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class Translation:
    """Words in another language, never to change: of the speech between two times. target: its language code."""

    target: str
    words: tuple[Word, ...]
    source_start_s: float
    source_end_s: float
    utterance: int = 1

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class TranslationDraft:
    """What follows the translation and may still change; it replaces the draft before, and may be empty."""

    target: str
    words: tuple[Word, ...]
    utterance: int = 1

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class TranslationSkipped:
    """The speech between these times was not translated: the translator was too slow, or has failed, as `why` says."""

    target: str
    from_s: float
    to_s: float
    why: str


@dataclass(frozen=True)
class Spoken:
    """Sound in place of text. target: the language of a translation; empty: it is the transcript that is spoken.

    pcm: s16le, mono, at `rate`. A sentence may come in several; the last `is_last`, and may have no sound, so that none
    waits for the next. text: stands in the first of those in which it is said. source_start_s, source_end_s: of the
    speech that it is said for.
    """

    target: str
    text: str
    pcm: bytes = field(repr=False)
    rate: int
    source_start_s: float
    source_end_s: float
    is_last: bool = True
    utterance: int = 1

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / 2 / self.rate


@dataclass(frozen=True)
class SpeechSkipped:
    """Text of the speech between these times is not spoken, as `why` says: it stays readable."""

    target: str
    text: str
    from_s: float
    to_s: float
    why: str


@dataclass(frozen=True)
class SpeechStarted:
    at_s: float
    utterance: int = 1


@dataclass(frozen=True)
class SpeechEnded:
    """All words of the utterance have been committed."""

    at_s: float
    utterance: int = 1


@dataclass(frozen=True)
class Language:
    """The language that is decoded from here on: a Whisper code."""

    language: str
    utterance: int = 1


@dataclass(frozen=True)
class AudioDropped:
    """The audio between these times was never heard: it came faster than it could be taken."""

    from_s: float
    to_s: float


@dataclass(frozen=True)
class CutShort:
    """What was heard up to here took too long to decode, which was ended early; words before it may be missing."""

    at_s: float
    utterance: int = 1


@dataclass(frozen=True)
class BackendChanged:
    """From now on another encoder, decoder or vocoder runs: the backends before and after, why, and which it is."""

    before: str
    after: str
    reason: str
    part: str = "encoder"


@dataclass(frozen=True)
class Flushed:
    """A flush was asked for here, and all words before it have been committed."""

    at_s: float


@dataclass(frozen=True)
class Cleared:
    """A clear was asked for here; audio before it that was not decoded yet never will be."""

    at_s: float


@dataclass(frozen=True)
class Recognised:
    """Everything was recognised; other stages may still have something to say. audio_s: how long the stream was."""

    audio_s: float


@dataclass(frozen=True)
class Failed:
    """The session is over, by an error."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Ended:
    """The session is over, and all stages are done. audio_s: how long the stream was."""

    audio_s: float


Event = (
    Words
    | Draft
    | Translation
    | TranslationDraft
    | TranslationSkipped
    | Spoken
    | SpeechSkipped
    | SpeechStarted
    | SpeechEnded
    | Language
    | AudioDropped
    | CutShort
    | BackendChanged
    | Flushed
    | Cleared
    | Recognised
    | Failed
    | Ended
)
