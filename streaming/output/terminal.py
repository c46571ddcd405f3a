"""Captions for people: a session's events on a terminal while somebody speaks, or as plain lines in a pipe.

Committed text is firm and draft text dim. Lines that are full, and utterances that are over, scroll away above; only
what is being said now is drawn again. It knows events and screens, and nothing of devices, sessions or files.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, Word
from streaming.events import (
    Draft,
    Ended,
    Event,
    Failed,
    Language,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    Words,
)
from streaming.output.breaks import with_unbroken_numbers
from streaming.output.durable import Writable
from streaming.output.formats import Format
from streaming.output.notices import notice_of, shown_time
from streaming.output.texts import TRANSCRIPT, Lines, joined

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text
except ImportError as error:
    raise BackendError("captions need rich; install it with: pip install 'simul-whisper[live]'") from error

_REFRESH_S = 0.1
_METER_CELLS = 12
_QUIETEST_DB = -60.0
# So fast the level falls after a loud sound, so that it can be seen.
_FALL_DB = 3.0
# As wide as a space, and of no script: Rich breaks lines at no-break spaces too.
_NO_SPACE = "\ue000"


class Captions(Protocol):
    """What shows a listener's events."""

    def show(self, event: Event) -> None: ...

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take note of audio, float32 (n,) mono 16 kHz, on its way to the session."""

    def say(self, notice: str) -> None:
        """Show a line that is not a caption: a device is lost, a disk is full."""


class PlainCaptions:
    """What a format makes of the events, at once, as on a pipe; notices go to another stream."""

    def __init__(self, written: Format, out: Writable, notices: TextIO) -> None:
        self._format, self._out, self._notices = written, out, notices
        self._n_samples = 0

    def show(self, event: Event) -> None:
        # A server's client hears nothing itself, so that only the event says how much was heard.
        text = self._format.feed(event, self._n_samples / SAMPLE_RATE if self._n_samples else None)
        if text:
            self._out.write(text)
            self._out.flush()
        notice = notice_of(event)
        if notice:
            self.say(notice)

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._n_samples += len(samples)

    def say(self, notice: str) -> None:
        print(f"simul-whisper: {notice}", file=self._notices)


class _FlowingText:
    """The transcript alone: full lines scroll away, and the last one with the end of the utterance."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._firm, self._draft = "", ""

    def show(self, event: Event) -> None:
        match event:
            case Words():
                self._firm = self._scrolled((self._firm + event.text).lstrip())
            case Draft():
                self._draft = event.text
            case SpeechEnded() | Recognised() | Ended() | Failed():
                self._draft = ""
                self.end()

    def end(self) -> None:
        """Let what was said scroll away; what follows begins a new line."""
        if self._firm:
            self._console.print(Text(self._firm, "bold"))
            self._firm = ""

    def drawn(self) -> Text:
        return _broken(self._console, _drawn("", self._firm, self._draft))

    def _scrolled(self, text: str) -> str:
        """Print the lines of `text` that are full; return the last one."""
        *full, last = _wrapped(self._console, Text(text, "bold")) or [Text("")]
        for line in full:
            self._console.print(line)
        return last.plain


class _TextOfLines:
    """One of several texts, with its language in front: whole sentences scroll away, so that each can be read."""

    def __init__(self, console: Console, text: str) -> None:
        self._console, self._text = console, text
        self._label = "" if text == TRANSCRIPT else f"{text}: "
        self._lines, self._draft = Lines(text), ""

    def show(self, event: Event) -> None:
        for words in self._lines.feed(event):
            self._print(words)
        is_translation = self._text != TRANSCRIPT
        match event:
            case Draft() if not is_translation:
                self._draft = event.text
            case TranslationDraft() if event.target == self._text:
                self._draft = event.text
            case SpeechEnded() | Recognised() if not is_translation:
                self._draft = ""
            case Ended() | Failed():
                self._draft = ""

    def end(self) -> None:
        for words in self._lines.end():
            self._print(words)

    def drawn(self) -> Text:
        return _broken(self._console, _drawn(self._label, joined(self._lines.open), self._draft))

    def _print(self, words: Sequence[Word]) -> None:
        self._console.print(_broken(self._console, _drawn(self._label, joined(words), "")))


def _drawn(label: str, firm: str, draft: str) -> Text:
    """Return a line, empty where nothing is said."""
    if not firm and not draft:
        return Text()
    return Text.assemble((label, "cyan"), (firm, "bold"), (draft if firm else draft.lstrip(), "dim"))


def _broken(console: Console, text: Text) -> Text:
    return Text("\n").join(_wrapped(console, text))


def _wrapped(console: Console, text: Text) -> list[Text]:
    """Return the lines of a text on the screen, of which none ends inside a number."""
    text.plain = with_unbroken_numbers(text.plain, _NO_SPACE)
    lines = list(text.wrap(console, console.width))
    for line in lines:
        line.plain = line.plain.replace(_NO_SPACE, " ")
    return lines


class ScreenCaptions:
    """What is being said now, over a line of state: level, latency, language and elapsed time.

    Use `open_screen`. targets: the translations that are shown below the transcript. clock: monotonic seconds.
    """

    def __init__(
        self, live: Live, clock: Callable[[], float], language: str | None = None, targets: Sequence[str] = ()
    ) -> None:
        self._live, self._clock, self._language = live, clock, language
        self._texts: list[_FlowingText | _TextOfLines] = (
            [_TextOfLines(live.console, text) for text in (TRANSCRIPT, *targets)]
            if targets
            else [_FlowingText(live.console)]
        )
        self._n_samples = 0
        self._level_db = _QUIETEST_DB
        self._latency_s: float | None = None
        self._is_speech = False
        self._drawn_at = -math.inf

    def show(self, event: Event) -> None:
        for text in self._texts:
            text.show(event)
        match event:
            case Words():
                ends_s = [word.end_s for word in event.words if word.is_spoken]
                if ends_s:
                    self._latency_s = max(0.0, self._n_samples / SAMPLE_RATE - ends_s[-1])
            case Language(language):
                self._language = language
            case SpeechStarted():
                self._is_speech = True
            case SpeechEnded() | Recognised() | Ended() | Failed():
                self._is_speech = False
        notice = notice_of(event)
        if notice:
            self.say(notice)
        # Words come with the draft that follows them; drawn before it, they would stand beside the draft they replace.
        if not isinstance(event, Words | Translation):
            self.draw()

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._n_samples += len(samples)
        if len(samples):
            power = float(np.mean(np.square(samples)))
            level_db = 10 * math.log10(power) if power > 0 else _QUIETEST_DB
            self._level_db = max(level_db, self._level_db - _FALL_DB, _QUIETEST_DB)
        if self._clock() - self._drawn_at >= _REFRESH_S:
            self.draw()

    def say(self, notice: str) -> None:
        self._live.console.print(Text(notice, "yellow"))

    def end(self) -> None:
        """Let all that was said scroll away."""
        for text in self._texts:
            text.end()

    def draw(self) -> None:
        self._drawn_at = self._clock()
        drawn = [text.drawn() for text in self._texts]
        shown = [each for each in drawn if each] or drawn[:1]
        self._live.update(Group(*shown, self._state()), refresh=True)

    def _state(self) -> Text:
        n_lit = round(_METER_CELLS * (1 - self._level_db / _QUIETEST_DB))
        state = Text(no_wrap=True)
        state.append("● " if self._is_speech else "○ ", "red" if self._is_speech else "dim")
        state.append("▮" * n_lit, "green")
        state.append("▯" * (_METER_CELLS - n_lit), "dim")
        latency = "" if self._latency_s is None else f"  {self._latency_s:.1f} s behind"
        state.append(f"  {shown_time(self._n_samples / SAMPLE_RATE)}{latency}  {self._language or ''}", "dim")
        return state


def is_screen() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def open_screen(
    console: Console | None = None,
    language: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    targets: Sequence[str] = (),
) -> Iterator[ScreenCaptions]:
    """Show captions, and translations into the targets, on a terminal; what was said stays there afterwards."""
    with Live(console=console or Console(), auto_refresh=False, transient=True, vertical_overflow="visible") as live:
        screen = ScreenCaptions(live, clock, language, targets)
        screen.draw()
        try:
            yield screen
        finally:
            screen.end()
