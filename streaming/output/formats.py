"""Where words go: what was committed in, text on a stream out, at once and never taken back.

`open_sink` chooses among text, jsonl, srt and vtt; `EventSink` feeds one with a session's events. It knows nothing of
audio and models.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from simul_whisper import ConfigError, Word
from streaming.events import Ended, Event, Failed, Language, SpeechEnded, Words

MAX_LINE_COLUMNS = 42
MAX_CUE_LINES = 2
MAX_CUE_MS = 6000
MAX_PAUSE_MS = 800

FORMATS = ("text", "jsonl", "srt", "vtt")

_SENTENCE_ENDS = tuple(".?!…。？！।؟")
_CLOSING_MARKS = "\"'”’»)]}」』）】"


class Writable(Protocol):
    """What text is written to: any text stream, or a `DurableText`."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Said(Protocol):
    """Words committed together; an `Update` is that. audio_end_s: how much had been heard when they were decided."""

    @property
    def words(self) -> tuple[Word, ...]: ...

    @property
    def language(self) -> str | None: ...

    @property
    def audio_end_s(self) -> float: ...


class Sink(Protocol):
    """Takes what is said in one stream, in order."""

    def feed(self, said: Said, emitted_s: float | None = None) -> None:
        """Write the words; emitted_s: when they came, None for as soon as their audio had been heard."""

    def end(self) -> None:
        """Write what is still open, because nothing follows for now. The stream is left open, and more may follow."""


def open_sink(name: str, stream: Writable, *, with_times: bool = False) -> Sink:
    """Return the sink called `name`, one of FORMATS; with_times: text has a line with its times for each passage.

    Raises ConfigError for another name.
    """
    match name:
        case "text":
            return TimedTextSink(stream) if with_times else TextSink(stream)
        case "jsonl":
            return JsonlSink(stream)
        case "srt":
            return CaptionSink(stream, _srt)
        case "vtt":
            return CaptionSink(stream, _vtt, header="WEBVTT\n\n")
    raise ConfigError(f"got the format {name!r}, expected one of {', '.join(FORMATS)}")


@dataclass(frozen=True)
class _Passage:
    """A `Said` of a session."""

    words: tuple[Word, ...]
    language: str | None
    audio_end_s: float


class EventSink:
    """Feeds a sink with the events of a session. language: what is decoded from the start, None when it is detected."""

    def __init__(self, sink: Sink, language: str | None = None) -> None:
        self._sink, self._language = sink, language

    def feed(self, event: Event, emitted_s: float | None = None) -> None:
        """Write what `event` says, which may be nothing; the end of speech closes lines and captions."""
        if isinstance(event, Language):
            self._language = event.language
        elif isinstance(event, Words):
            self._sink.feed(_Passage(event.words, self._language, event.heard_s), emitted_s)
        elif isinstance(event, SpeechEnded | Ended | Failed):
            self._sink.end()


def _text_of(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words)


class _Line:
    """A line that stays open, because more may come to it."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self.is_empty = True

    def write(self, text: str) -> None:
        self.is_empty = self.is_empty and not text
        self._stream.write(text)
        self._stream.flush()

    def end(self) -> None:
        if not self.is_empty:
            self.write("\n")
            self.is_empty = True


class TextSink:
    """The words as they come, in one flowing line."""

    def __init__(self, stream: Writable) -> None:
        self._line = _Line(stream)

    def feed(self, said: Said, emitted_s: float | None = None) -> None:  # noqa: ARG002
        text = _text_of(said.words)
        self._line.write(text.lstrip() if self._line.is_empty else text)

    def end(self) -> None:
        self._line.end()


class TimedTextSink:
    """A line `[start - end] words` for each passage that has words, in seconds.

    A line ends where the next one begins: its punctuation may come later.
    """

    def __init__(self, stream: Writable) -> None:
        self._line = _Line(stream)

    def feed(self, said: Said, emitted_s: float | None = None) -> None:  # noqa: ARG002
        late = [] if self._line.is_empty else list(takewhile(_continues, said.words))
        self._line.write(_text_of(late))
        words = said.words[len(late) :]
        if words:
            self._line.end()
            self._line.write(f"[{words[0].start_s:7.2f} - {words[-1].end_s:7.2f}] {_text_of(words).strip()}")

    def end(self) -> None:
        self._line.end()


class JsonlSink:
    """A JSON object a line for each passage that has words; times in seconds."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream

    def feed(self, said: Said, emitted_s: float | None = None) -> None:
        if not said.words:
            return
        row = {
            "emitted": _rounded(said.audio_end_s if emitted_s is None else emitted_s),
            "language": said.language,
            "text": _text_of(said.words),
            "words": [
                {
                    "word": word.text,
                    "start": _rounded(word.start_s),
                    "end": _rounded(word.end_s),
                    "probability": _rounded(word.probability),
                    "language": word.language,
                }
                for word in said.words
            ],
        }
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()

    def end(self) -> None: ...


def _rounded(value: float) -> float:
    return round(value, 3)


@dataclass(frozen=True)
class Cue:
    """A caption: its lines are shown from start_ms until end_ms."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


class CueBuilder:
    """Groups words into cues: closed at the end of a sentence, at a pause, and before they grow too long.

    Cues come in order, last a millisecond or longer and never overlap, whatever the times of the words.
    """

    def __init__(self) -> None:
        self._open: list[Word] = []
        self._last_end_ms = 0

    def feed(self, words: Iterable[Word]) -> list[Cue]:
        """Return the cues that are closed now."""
        cues = []
        for word in words:
            if not word.text.strip():
                continue
            if self._open and not self._fits(word):
                cues += self.end()
            self._open.append(word)
            if word.text.rstrip(_CLOSING_MARKS).endswith(_SENTENCE_ENDS):
                cues += self.end()
        return cues

    def end(self) -> list[Cue]:
        """Return the open cue, if there is one."""
        if not self._open:
            return []
        start_ms = max(_milliseconds(self._open[0].start_s), self._last_end_ms)
        end_ms = max(*(_milliseconds(word.end_s) for word in self._open), start_ms + 1)
        cue = Cue(start_ms, end_ms, tuple(_wrapped(self._open)))
        self._open, self._last_end_ms = [], end_ms
        return [cue]

    def _fits(self, word: Word) -> bool:
        return _continues(word) or (
            _milliseconds(word.start_s - self._open[-1].end_s) <= MAX_PAUSE_MS
            and _milliseconds(word.end_s - self._open[0].start_s) <= MAX_CUE_MS
            and len(_wrapped([*self._open, word])) <= MAX_CUE_LINES
        )


def _wrapped(words: Iterable[Word]) -> list[str]:
    """Return the words in lines of at most MAX_LINE_COLUMNS, but for a word that is longer itself."""
    lines = [""]
    for word in words:
        if lines[-1] and not _continues(word) and _columns(lines[-1] + word.text) > MAX_LINE_COLUMNS:
            lines.append("")
        lines[-1] = " ".join((lines[-1] + word.text).split())
    return lines


def _continues(word: Word) -> bool:
    """Whether it is punctuation that belongs to the word before, so that no line may begin with it."""
    category = unicodedata.category(word.text[0])
    return category.startswith("P") and category not in ("Ps", "Pi")


def _columns(text: str) -> int:
    """The width on a screen, where East Asian characters take two columns and combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


class CaptionSink:
    """Captions, each written as soon as it is closed; written: a cue and its number, from 1, as text."""

    def __init__(self, stream: Writable, written: Callable[[Cue, int], str], header: str = "") -> None:
        self._stream = stream
        self._written = written
        self._cues = CueBuilder()
        self._n_cues = 0
        self._stream.write(header)

    def feed(self, said: Said, emitted_s: float | None = None) -> None:  # noqa: ARG002
        self._write(self._cues.feed(said.words))

    def end(self) -> None:
        self._write(self._cues.end())

    def _write(self, cues: list[Cue]) -> None:
        for cue in cues:
            self._n_cues += 1
            self._stream.write(self._written(cue, self._n_cues))
        self._stream.flush()


def _srt(cue: Cue, number: int) -> str:
    times = f"{_clock(cue.start_ms)} --> {_clock(cue.end_ms)}".replace(".", ",")
    return "\n".join([str(number), times, *cue.lines]) + "\n\n"


def _vtt(cue: Cue, number: int) -> str:
    text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{number}\n{_clock(cue.start_ms)} --> {_clock(cue.end_ms)}\n{text}\n\n"


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
