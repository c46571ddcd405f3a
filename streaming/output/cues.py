"""Words to captions as captioners make them: cues that can be read, broken where the language breaks.

A cue holds what fits on the screen. A full one is cut, and long lines are broken, where it costs least: best after
punctuation, worst after a short word, which in most languages belongs to what follows ("the", "of", "und", "de"). It
knows words and times, and nothing of how cues are written.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simul_whisper import ConfigError, Word, check_options, option
from streaming.output.breaks import continues_number_after_space, continues_word, ends_sentence

_MAX_PAUSE_MS = 800
_SHORT_LETTERS = 3
# What a break costs, in columns by which lines may rather be uneven; a cue may rather leave three times as many unused.
_UNUSED_PER_COST = 3
_COST_AFTER_PUNCTUATION = 0
_COST_BEFORE_SHORT_WORD = 6
_COST_ELSEWHERE = 10
_COST_AFTER_SHORT_WORD = 20


@dataclass(frozen=True)
class CaptionOptions:
    """How captions are cut. Raises ConfigError for impossible values."""

    max_line: int = option(42, "columns of a line of a caption; East Asian characters take two", low=10, high=200)
    max_lines: int = option(2, "lines of a caption", low=1, high=4)
    max_cue_s: float = option(7.0, "seconds that a caption is shown at most", low=1, high=60)
    min_cue_s: float = option(
        1.0, "seconds that a caption is shown at least, if the next one leaves room", low=0, high=10
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.min_cue_s > self.max_cue_s:
            raise ConfigError(f"got min_cue_s {self.min_cue_s:g}, expected at most max_cue_s, {self.max_cue_s:g}")


@dataclass(frozen=True)
class Cue:
    """A caption: its lines are shown from start_ms until end_ms."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """A word with the punctuation that came after it, or a number with its unit: what no line and no cue parts.

    text: as words have it.
    """

    text: str
    start_ms: int
    end_ms: int


class CueBuilder:
    """Groups words into cues: closed at the end of a sentence, at a pause, and before they grow too long.

    Cues come in order and never overlap, whatever the times of the words. One that would only flash goes on into the
    next sentence, or is shown longer where silence follows.
    """

    def __init__(self, options: CaptionOptions | None = None) -> None:
        self._options = options or CaptionOptions()
        self._max_ms = _milliseconds(self._options.max_cue_s)
        self._min_ms = _milliseconds(self._options.min_cue_s)
        self._open: list[_Piece] = []
        self._last_end_ms = 0

    def feed(self, words: Iterable[Word]) -> list[Cue]:
        """Return the cues that are closed now."""
        cues = list[Cue]()
        for word in words:
            if not word.text.strip():
                continue
            piece = _Piece(word.text, _milliseconds(word.start_s), _milliseconds(word.end_s))
            has_paused = bool(self._open) and piece.start_ms - self._open[-1].end_ms > _MAX_PAUSE_MS
            if self._open and _is_of_one(self._open[-1], piece, has_paused=has_paused):
                last = self._open.pop()
                piece = _Piece(last.text + piece.text, last.start_ms, max(last.end_ms, piece.end_ms))
            elif has_paused:
                cues.append(self._close(len(self._open), piece.start_ms))
            self._open.append(piece)
            while len(self._open) > 1 and not self._fits():
                n_first = self._best_cut()
                cues.append(self._close(n_first, self._open[n_first].start_ms))
            if ends_sentence(piece.text, word.language) and _duration_ms(self._open) >= self._min_ms:
                cues += self.end()
        return cues

    def end(self) -> list[Cue]:
        """Return the open cue, if there is one; silence follows, or nobody knows yet what does."""
        return [self._close(len(self._open), None)] if self._open else []

    def _close(self, n_pieces: int, next_start_ms: int | None) -> Cue:
        """Close a cue of the first pieces. next_start_ms: where the word after them begins, None if it is not known."""
        pieces, self._open = self._open[:n_pieces], self._open[n_pieces:]
        start_ms = max(pieces[0].start_ms, self._last_end_ms)
        shown_until_ms = start_ms + self._min_ms
        if next_start_ms is not None:
            shown_until_ms = min(shown_until_ms, next_start_ms)
        end_ms = max(*(piece.end_ms for piece in pieces), shown_until_ms, start_ms + 1)
        self._last_end_ms = min(end_ms, start_ms + self._max_ms)
        return Cue(start_ms, self._last_end_ms, tuple(self._lines(pieces)))

    def _fits(self) -> bool:
        is_short = self._open[-1].end_ms - self._open[0].start_ms <= self._max_ms
        return is_short and self._n_lines(self._open) <= self._options.max_lines

    def _best_cut(self) -> int:
        """Return how many pieces of a cue that is too long to give to a first one, which must not flash."""
        n_most = len(self._open) - 1
        full = _columns(_joined(self._open[:n_most]))

        def cost(n: int) -> int:
            unused = full - _columns(_joined(self._open[:n]))
            return unused // _UNUSED_PER_COST + _break_cost(self._open[n - 1], self._open[n])

        steady = [n for n in range(1, n_most) if _duration_ms(self._open[:n]) >= self._min_ms]
        return min([n_most, *reversed(steady)], key=cost)

    def _n_lines(self, pieces: Sequence[_Piece]) -> int:
        """Return how many lines hold the pieces, if each takes as much as it can."""
        n_lines, n_columns = 0, 0
        for piece in pieces:
            n_more = _columns(piece.text)
            if not n_lines or n_columns + n_more > self._options.max_line:
                n_lines, n_columns = n_lines + 1, _columns(piece.text.strip())
            else:
                n_columns += n_more
        return n_lines

    def _lines(self, pieces: Sequence[_Piece]) -> list[str]:
        """Return as few lines as hold the pieces, of much the same length, broken where it costs least."""
        lines, n_left = list[str](), self._n_lines(pieces)
        while n_left > 1:
            n = self._best_break(pieces, n_left)
            lines.append(_joined(pieces[:n]))
            pieces, n_left = pieces[n:], n_left - 1
        return [*lines, _joined(pieces)]

    def _best_break(self, pieces: Sequence[_Piece], n_lines: int) -> int:
        """Return how many pieces to put in the first of `n_lines` lines."""
        goal = _columns(_joined(pieces)) // n_lines

        def is_possible(n: int) -> bool:
            return self._n_lines(pieces[:n]) == 1 and self._n_lines(pieces[n:]) <= n_lines - 1

        def cost(n: int) -> int:
            uneven = abs(_columns(_joined(pieces[:n])) - goal)
            return uneven + _break_cost(pieces[n - 1], pieces[n])

        return min((n for n in range(1, len(pieces)) if is_possible(n)), key=cost)


def _is_of_one(before: _Piece, after: _Piece, *, has_paused: bool) -> bool:
    return continues_word(after.text, before.text) or (
        not has_paused and continues_number_after_space(after.text, before.text)
    )


def _break_cost(before: _Piece, after: _Piece) -> int:
    if unicodedata.category(before.text.rstrip()[-1]).startswith("P"):
        return _COST_AFTER_PUNCTUATION
    if not after.text[0].isspace():
        # Written without spaces, so that the number of letters tells nothing.
        return _COST_ELSEWHERE
    if len(before.text.strip()) <= _SHORT_LETTERS:
        return _COST_AFTER_SHORT_WORD
    return _COST_BEFORE_SHORT_WORD if len(after.text.strip()) <= _SHORT_LETTERS else _COST_ELSEWHERE


def _duration_ms(pieces: Sequence[_Piece]) -> int:
    return pieces[-1].end_ms - pieces[0].start_ms


def _joined(pieces: Iterable[_Piece]) -> str:
    return " ".join("".join(piece.text for piece in pieces).split())


def _columns(text: str) -> int:
    """The width on a screen, where East Asian characters take two columns and combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
