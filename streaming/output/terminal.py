"""Captions for people: a session's events on a terminal while somebody speaks, or as plain lines in a pipe.

Committed text is firm and draft text dim. Lines that are full, and utterances that are over, scroll away above; only
what is being said now is drawn again. It knows events and screens, and nothing of devices, sessions or files.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError
from streaming.events import (
    AudioDropped,
    BackendChanged,
    CutShort,
    Draft,
    Ended,
    Event,
    Failed,
    Language,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Words,
)
from streaming.output.durable import Writable
from streaming.output.formats import Format

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


class Captions(Protocol):
    """What shows a listener's events."""

    def show(self, event: Event) -> None: ...

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take note of audio, float32 (n,) mono 16 kHz, on its way to the session."""

    def say(self, notice: str) -> None:
        """Show a line that is not a caption: a device is lost, a disk is full."""


def notice_of(event: Event) -> str | None:
    """Return what an event means to somebody who reads along; None when the captions say it themselves."""
    match event:
        case AudioDropped(from_s, to_s):
            return f"{to_s - from_s:.1f} s of audio were dropped at {_clock(from_s)}: this machine is too slow"
        case CutShort(at_s):
            return f"words may be missing before {_clock(at_s)}: decoding took too long, and was ended early"
        case BackendChanged(before, after, reason):
            return f"encoder {after} in place of {before}: {reason}"
        case Failed(_, message):
            return message
    return None


class PlainCaptions:
    """What a format makes of the events, at once, as on a pipe; notices go to another stream."""

    def __init__(self, written: Format, out: Writable, notices: TextIO) -> None:
        self._format, self._out, self._notices = written, out, notices
        self._n_samples = 0

    def show(self, event: Event) -> None:
        text = self._format.feed(event, self._n_samples / SAMPLE_RATE)
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


class ScreenCaptions:
    """What is being said now, over a line of state: level, latency, language and elapsed time.

    Use `open_screen`. clock: monotonic seconds.
    """

    def __init__(self, live: Live, clock: Callable[[], float], language: str | None = None) -> None:
        self._live, self._clock, self._language = live, clock, language
        self._firm, self._draft = "", ""
        self._n_samples = 0
        self._level_db = _QUIETEST_DB
        self._latency_s: float | None = None
        self._is_speech = False
        self._drawn_at = -math.inf

    def show(self, event: Event) -> None:
        match event:
            case Words():
                ends_s = [word.end_s for word in event.words if word.is_spoken]
                if ends_s:
                    self._latency_s = max(0.0, self._n_samples / SAMPLE_RATE - ends_s[-1])
                self._firm = self._scrolled((self._firm + event.text).lstrip())
            case Draft():
                self._draft = event.text
            case Language(language):
                self._language = language
            case SpeechStarted():
                self._is_speech = True
            case SpeechEnded() | Recognised() | Ended() | Failed():
                self._is_speech, self._draft = False, ""
                self.break_line()
        notice = notice_of(event)
        if notice:
            self.say(notice)
        # Words come with the draft that follows them; drawn before it, they would stand beside the draft they replace.
        if not isinstance(event, Words):
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

    def break_line(self) -> None:
        """Let what was said scroll away; what follows begins a new line."""
        if self._firm:
            self._live.console.print(Text(self._firm, "bold"))
            self._firm = ""

    def draw(self) -> None:
        self._drawn_at = self._clock()
        text = Text(self._firm, "bold")
        text.append(self._draft if self._firm else self._draft.lstrip(), "dim not bold")
        self._live.update(Group(text, self._state()), refresh=True)

    def _scrolled(self, text: str) -> str:
        """Print the lines of `text` that are full; return the last one."""
        console = self._live.console
        *full, last = Text(text, "bold").wrap(console, console.width) or [Text("")]
        for line in full:
            console.print(line)
        return last.plain

    def _state(self) -> Text:
        n_lit = round(_METER_CELLS * (1 - self._level_db / _QUIETEST_DB))
        state = Text(no_wrap=True)
        state.append("● " if self._is_speech else "○ ", "red" if self._is_speech else "dim")
        state.append("▮" * n_lit, "green")
        state.append("▯" * (_METER_CELLS - n_lit), "dim")
        latency = "" if self._latency_s is None else f"  {self._latency_s:.1f} s behind"
        state.append(f"  {_clock(self._n_samples / SAMPLE_RATE)}{latency}  {self._language or ''}", "dim")
        return state


def is_screen() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def open_screen(
    console: Console | None = None, language: str | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[ScreenCaptions]:
    """Show captions on a terminal; what was said stays there afterwards."""
    with Live(console=console or Console(), auto_refresh=False, transient=True, vertical_overflow="visible") as live:
        screen = ScreenCaptions(live, clock, language)
        screen.draw()
        try:
            yield screen
        finally:
            screen.break_line()


def _clock(seconds: float) -> str:
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes:02}:{whole_s:02}"
