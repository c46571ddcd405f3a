"""What there is to tell about how a recording was read, as data and in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streaming.audio.timeline import Jump
from streaming.audio.tracks import Track, listed

# What is shorter than that is no loss that anybody would look for.
_MIN_TOLD_SILENCE_S = 1.0
_MIN_TOLD_OPPOSITE_S = 0.5
_MOST_SPANS = 5


@dataclass(frozen=True)
class Span:
    """From start_s to end_s, in seconds from the recording's start."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Report:
    """What was read so far. duration_s: how long the recording is, what could not be decoded included.

    undecoded: damage, for which silence stands in. without_audio: where the recording itself has none, late starts
    included. jumps: timestamps that were not followed. opposite_s: how long channels were in opposite phase.
    broke_off: why it could not be read to its end; empty when it could.
    """

    tracks: tuple[Track, ...]
    track: Track
    duration_s: float = 0.0
    undecoded: tuple[Span, ...] = ()
    without_audio: tuple[Span, ...] = ()
    jumps: tuple[Jump, ...] = ()
    opposite_s: float = 0.0
    broke_off: str = ""


def add_span(spans: list[Span], start_s: float, end_s: float) -> None:
    """Append a span, or lengthen the last one if that ends where it starts."""
    if spans and start_s - spans[-1].end_s < 0.001:
        start_s = spans.pop().start_s
    spans.append(Span(start_s, end_s))


def notices_before(report: Report) -> list[str]:
    """Return what is known as soon as the recording is open."""
    if len(report.tracks) == 1:
        return []
    return [f"audio track {report.track.number} is heard, of {listed(report.tracks)}"]


def notices_after(report: Report) -> list[str]:
    """Return what is known when the recording was read."""
    notices = []
    if report.undecoded:
        lost_s = sum(span.duration_s for span in report.undecoded)
        notices.append(f"could not decode {lost_s:.1f} of {report.duration_s:.1f} s: {_places(report.undecoded)}")
    if report.broke_off:
        notices.append(f"could not be read beyond {report.duration_s:.1f} s: {report.broke_off}")
    silent = [span for span in report.without_audio if span.start_s > 0 and span.duration_s >= _MIN_TOLD_SILENCE_S]
    if silent:
        notices.append(f"no audio in the file, so silence, at {_places(silent)}")
    if report.jumps:
        jumps = [f"{jump.by_s:+.1f} s at {jump.at_s:.1f} s" for jump in report.jumps]
        notices.append(f"the timestamps jump, which is not followed: {_some(jumps)}; later times count on from there")
    if report.opposite_s >= _MIN_TOLD_OPPOSITE_S:
        notices.append(
            f"channels were in opposite phase for {report.opposite_s:.1f} s; they were turned around, "
            "so that they do not cancel"
        )
    return notices


def _places(spans: Iterable[Span]) -> str:
    return _some([f"{span.start_s:.1f}-{span.end_s:.1f} s" for span in spans])


def _some(parts: Sequence[str]) -> str:
    more = len(parts) - _MOST_SPANS
    return ", ".join(parts[:_MOST_SPANS]) + (f" and {more} more" if more > 0 else "")
