"""The events of a session as text: to be read, as captions, or as rows for programs.

`open_format` chooses among FORMATS. A format takes events and returns text, which is only ever added to; where that is
written is somebody else's. It knows nothing of audio and models.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol
from xml.sax.saxutils import escape, quoteattr

from simul_whisper import ConfigError, Word
from streaming.events import (
    Ended,
    Event,
    Failed,
    Language,
    Recognised,
    SpeechEnded,
    Translation,
    TranslationSkipped,
    Words,
)
from streaming.output.breaks import continues_word
from streaming.output.cues import CaptionOptions, Cue, CueBuilder
from streaming.output.texts import TRANSCRIPT, Lines, TextReader, labelled

# The names of the formats, and what the names of files in them end with.
SUFFIXES: Mapping[str, str] = {
    "text": ".txt",
    "jsonl": ".jsonl",
    "words-jsonl": ".words.jsonl",
    "srt": ".srt",
    "vtt": ".vtt",
    "ttml": ".ttml",
}
FORMATS = tuple(SUFFIXES)
# Times in these are those of one recording, so that two do not go into one file; nor do two texts.
CAPTION_FORMATS = ("srt", "vtt", "ttml")
WORDS_SCHEMA = "transcript.words.v1"


class Format(Protocol):
    """Takes the events of one session, in order."""

    def feed(self, event: Event, emitted_s: float | None = None) -> str:
        """Return what is to be written now; emitted_s: when `event` came, None for once its audio had been heard."""

    def end(self) -> str:
        """No event follows: return what is still open, as after the events that end a session."""

    @property
    def tail(self) -> str:
        """What a file needs to be whole, if it ends with the text so far; what is written next takes its place."""


def open_format(
    name: str,
    *,
    times: bool = False,
    captions: CaptionOptions | None = None,
    language: str | None = None,
    fields: Mapping[str, str] | None = None,
    texts: Sequence[str] = (TRANSCRIPT,),
) -> Format:
    """Return the format called `name`, one of FORMATS.

    times: text has a line with its times for each passage. language: what is decoded from the start, None when it is
    detected. fields: what every row says besides, where several recordings or channels share an output. texts: what is
    written, TRANSCRIPT and languages of translations; one, in CAPTION_FORMATS. Raises ConfigError for another name.
    """
    assert name not in CAPTION_FORMATS or len(texts) == 1
    match name:
        case "text":
            if list(texts) != [TRANSCRIPT]:
                return LinesFormat(texts, times=times)
            return TimedTextFormat() if times else TextFormat()
        case "jsonl":
            return RowsFormat(_passage_rows, language, fields, texts)
        case "words-jsonl":
            return RowsFormat(_word_rows, language, fields, texts)
        case "srt":
            return CaptionFormat(_srt, captions, text=texts[0])
        case "vtt":
            return CaptionFormat(_vtt, captions, header="WEBVTT\n\n", text=texts[0])
        case "ttml":
            return TtmlFormat(captions, language, text=texts[0])
    raise ConfigError(f"got the format {name!r}, expected one of {', '.join(FORMATS)}")


def _closes(event: Event) -> bool:
    """Whether lines and captions end here."""
    return isinstance(event, SpeechEnded | Recognised | Ended | Failed)


def _text_of(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words)


class TextFormat:
    """The words as they come, in one flowing line for each utterance."""

    tail = ""

    def __init__(self) -> None:
        self._is_open = False

    def feed(self, event: Event, emitted_s: float | None = None) -> str:  # noqa: ARG002
        if isinstance(event, Words):
            text = event.text if self._is_open else event.text.lstrip()
            self._is_open = self._is_open or bool(text)
            return text
        return self.end() if _closes(event) else ""

    def end(self) -> str:
        was_open, self._is_open = self._is_open, False
        return "\n" if was_open else ""


class TimedTextFormat:
    """A line `[start - end] words` for each passage that has words, in seconds.

    A line ends where the next one begins: its punctuation may come later.
    """

    tail = ""

    def __init__(self) -> None:
        self._is_open = False

    def feed(self, event: Event, emitted_s: float | None = None) -> str:  # noqa: ARG002
        if isinstance(event, Words):
            late = list(takewhile(lambda word: continues_word(word.text), event.words)) if self._is_open else []
            return _text_of(late) + self._line(event.words[len(late) :])
        return self.end() if _closes(event) else ""

    def end(self) -> str:
        was_open, self._is_open = self._is_open, False
        return "\n" if was_open else ""

    def _line(self, words: Sequence[Word]) -> str:
        if not words:
            return ""
        before, self._is_open = self.end(), True
        return f"{before}[{words[0].start_s:7.2f} - {words[-1].end_s:7.2f}] {_text_of(words).strip()}"


class LinesFormat:
    """Several texts in one place: a line for each sentence, and before that of a translation its language: `es: Hola.`.

    times: each line begins with its times, in seconds.
    """

    def __init__(self, texts: Iterable[str], *, times: bool = False) -> None:
        self._texts = {text: Lines(text) for text in texts}
        self._times = times

    def feed(self, event: Event, emitted_s: float | None = None) -> str:  # noqa: ARG002
        return "".join(self._line(text, words) for text, lines in self._texts.items() for words in lines.feed(event))

    def end(self) -> str:
        return "".join(self._line(text, words) for text, lines in self._texts.items() for words in lines.end())

    @property
    def tail(self) -> str:
        return "".join(self._line(text, lines.open) for text, lines in self._texts.items() if lines.open)

    def _line(self, text: str, words: Sequence[Word]) -> str:
        times = f"[{words[0].start_s:7.2f} - {words[-1].end_s:7.2f}] " if self._times else ""
        return f"{times}{labelled(text, words)}\n"


_Passage = Words | Translation | TranslationSkipped


class RowsFormat:
    """JSON objects, one a line, at once; `rows_of` makes them of a passage, the language spoken and when it came.

    Times are in seconds. fields: what every row says first, such as its recording.
    """

    tail = ""

    def __init__(
        self,
        rows_of: Callable[[_Passage, str | None, float], list[dict[str, Any]]],
        language: str | None = None,
        fields: Mapping[str, str] | None = None,
        texts: Sequence[str] = (TRANSCRIPT,),
    ) -> None:
        self._rows_of, self._language, self._fields = rows_of, language, dict(fields or {})
        self._texts = texts
        self._heard_s = 0.0

    def feed(self, event: Event, emitted_s: float | None = None) -> str:
        if isinstance(event, Language):
            self._language = event.language
        if not isinstance(event, _Passage):
            return ""
        # A translation does not say what had been heard when it came, but the words before it do.
        self._heard_s = event.heard_s if isinstance(event, Words) else max(self._heard_s, _heard_s(event))
        if (TRANSCRIPT if isinstance(event, Words) else event.target) not in self._texts:
            return ""
        rows = self._rows_of(event, self._language, self._heard_s if emitted_s is None else emitted_s)
        return "".join(json.dumps(self._fields | row, ensure_ascii=False) + "\n" for row in rows)

    def end(self) -> str:
        return ""


def _heard_s(passage: _Passage) -> float:
    """How much of the stream was heard at least when this was told."""
    match passage:
        case Words():
            return passage.heard_s
        case Translation():
            return passage.source_end_s
    return passage.to_s


def _passage_rows(passage: _Passage, language: str | None, emitted_s: float) -> list[dict[str, Any]]:
    """A row for the whole passage."""
    row: dict[str, Any] = {"emitted": _rounded(emitted_s), "language": language}
    if isinstance(passage, TranslationSkipped):
        source = {"source_start": _rounded(passage.from_s), "source_end": _rounded(passage.to_s)}
        return [row | {"target": passage.target} | source | {"text": "", "words": [], "skipped": passage.why}]
    if isinstance(passage, Translation):
        source = {"source_start": _rounded(passage.source_start_s), "source_end": _rounded(passage.source_end_s)}
        row |= {"target": passage.target, **source}
    words = [_word_row(word) for word in passage.words]
    return [row | {"text": passage.text, "words": words}] if words else []


def _word_rows(passage: _Passage, language: str | None, emitted_s: float) -> list[dict[str, Any]]:
    """A row for each word, as docs/schemas/transcript.words.v1.json describes it."""
    if isinstance(passage, TranslationSkipped):
        return []
    target = {"target": passage.target} if isinstance(passage, Translation) else {}
    when = {"emitted": _rounded(emitted_s)}
    rows = [{"schema": WORDS_SCHEMA, **target, **_word_row(word), **when} for word in passage.words]
    return [row | {"language": row["language"] or target.get("target", language)} for row in rows]


def _word_row(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": _rounded(word.start_s),
        "end": _rounded(word.end_s),
        "probability": _rounded(word.probability),
        "language": word.language,
    }


def _rounded(value: float) -> float:
    return round(value, 3)


class CaptionFormat:
    """Captions of a text, each written as soon as it is closed; written: a cue and its number, from 1, as text."""

    tail = ""

    def __init__(
        self,
        written: Callable[[Cue, int], str],
        captions: CaptionOptions | None = None,
        header: str = "",
        *,
        text: str = TRANSCRIPT,
    ) -> None:
        self._written, self._header = written, header
        self._reader, self._cues = TextReader(text), CueBuilder(captions)
        self._n_cues = 0

    def feed(self, event: Event, emitted_s: float | None = None) -> str:  # noqa: ARG002
        passage = self._reader.read(event)
        cues = self._cues.end() if passage.is_apart else []
        cues += self._cues.feed(passage.words)
        return self._text([*cues, *self._cues.end()] if passage.is_last else cues)

    def end(self) -> str:
        return self._text(self._cues.end())

    def _text(self, cues: Iterable[Cue]) -> str:
        header, self._header = self._header, ""
        first = self._n_cues + 1
        texts = [self._written(cue, number) for number, cue in enumerate(cues, first)]
        self._n_cues += len(texts)
        return header + "".join(texts)


def _srt(cue: Cue, number: int) -> str:
    times = f"{_clock(cue.start_ms)} --> {_clock(cue.end_ms)}".replace(".", ",")
    return "\n".join([str(number), times, *cue.lines]) + "\n\n"


def _vtt(cue: Cue, number: int) -> str:
    text = escape("\n".join(cue.lines))
    return f"{number}\n{_clock(cue.start_ms)} --> {_clock(cue.end_ms)}\n{text}\n\n"


_TTML_HEADER = """\
<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" \
xmlns:tts="http://www.w3.org/ns/ttml#styling" xml:lang={language} \
ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text">
  <head>
    <styling>
      <style xml:id="caption" tts:fontFamily="proportionalSansSerif" tts:fontSize="100%" tts:lineHeight="125%" \
tts:color="white" tts:backgroundColor="black" tts:textAlign="center"/>
    </styling>
    <layout>
      <region xml:id="bottom" tts:origin="10% 70%" tts:extent="80% 25%" tts:displayAlign="after" \
tts:showBackground="whenActive"/>
    </layout>
  </head>
  <body region="bottom" style="caption">
    <div>
"""
_TTML_FOOTER = """\
    </div>
  </body>
</tt>
"""


class TtmlFormat:
    """Captions in TTML, of the text profile of IMSC 1.1: https://www.w3.org/TR/ttml-imsc1.1/."""

    def __init__(
        self, captions: CaptionOptions | None = None, language: str | None = None, *, text: str = TRANSCRIPT
    ) -> None:
        self._captions = CaptionFormat(_ttml, captions, text=text)
        self._text = text
        self._language = text or language
        self._is_begun = self._is_over = False

    def feed(self, event: Event, emitted_s: float | None = None) -> str:
        if self._text == TRANSCRIPT:
            self._note_language(event)
        text = self._begun(self._captions.feed(event, emitted_s))
        is_last = isinstance(event, Ended | Failed) or (isinstance(event, Recognised) and self._text == TRANSCRIPT)
        return text + self.end() if is_last else text

    def end(self) -> str:
        if self._is_over:
            return ""
        text = self._begun(self._captions.end()) or self._header()
        self._is_over = True
        return text + _TTML_FOOTER

    @property
    def tail(self) -> str:
        return _TTML_FOOTER if self._is_begun and not self._is_over else ""

    def _note_language(self, event: Event) -> None:
        if isinstance(event, Words) and event.words and event.words[0].language:
            # That of the text, which for task = translate is not what is spoken.
            self._language = event.words[0].language
        elif isinstance(event, Language) and self._language is None:
            self._language = event.language

    def _begun(self, cues: str) -> str:
        """The header waits for the first cue: it names the language."""
        return self._header() + cues if cues else ""

    def _header(self) -> str:
        was_begun, self._is_begun = self._is_begun, True
        return "" if was_begun else _TTML_HEADER.format(language=quoteattr(self._language or ""))


def _ttml(cue: Cue, number: int) -> str:
    text = "<br/>".join(escape(line) for line in cue.lines)
    times = f'begin="{_clock(cue.start_ms)}" end="{_clock(cue.end_ms)}"'
    return f'      <p xml:id="cue{number}" {times}>{text}</p>\n'


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
