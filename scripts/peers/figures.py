"""From what the systems heard to figures, and from figures to the table and its ratios."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from math import nan
from typing import Any

from scripts.peers.job import Outcome, Piece, Report
from scripts.peers.systems import BOUND, OURS
from simul_whisper import AlignAttConfig, Word
from streaming.evaluation.figures import report
from streaming.evaluation.manifest import Clip
from streaming.evaluation.replay import Emission
from streaming.evaluation.results import ClipResult
from streaming.events import Words


@dataclass(frozen=True)
class Figures:
    """A line of the table; None: does not apply, or cannot be had."""

    wer: float | None
    cer: float | None
    cpu: float
    compute: float
    laal_s: float | None
    laal_ca_s: float | None
    first_word_s: float | None
    memory_mb: float
    decode_ms: float | None


@dataclass(frozen=True)
class Measured:
    """figures, and in `details` all of bench's report but the settings."""

    figures: Figures
    details: Mapping[str, Any]


def measured(heard: Report, clips: Mapping[str, Clip]) -> Measured:
    """Score what a system heard of these clips, by id."""
    results = [_result(clips[each.id], each) for each in heard.outcomes]
    details = {name: value for name, value in report(results, AlignAttConfig()).items() if name != "settings"}
    overall = details["overall"]
    audio_s = sum(each.duration_s for each in results)
    figures = Figures(
        wer=overall["wer"],
        cer=overall["cer"],
        cpu=sum(each.cpu_s for each in heard.outcomes) / audio_s,
        compute=sum(each.heard.compute_s for each in heard.outcomes) / audio_s,
        laal_s=overall["laal_s"],
        laal_ca_s=overall["laal_ca_s"],
        first_word_s=overall["first_word_s"],
        memory_mb=heard.peak_memory_mb,
        decode_ms=_decode_ms(heard),
    )
    # Those of the process that scores.
    for group in (overall, *details["groups"].values()):
        del group["peak_memory_mb"], group["stages"], group["decode_step_ms"]
    return Measured(figures, details)


def _result(clip: Clip, outcome: Outcome) -> ClipResult:
    return ClipResult(
        id=clip.id,
        lang=clip.lang,
        kind=clip.kind,
        duration_s=clip.duration_s,
        reference=clip.transcript,
        segments=clip.segments,
        text_lang=clip.lang,
        offline=None,
        is_detected=False,
        emissions=tuple(_emissions(outcome.heard.pieces)),
    )


def _emissions(pieces: Iterable[Piece]) -> Iterator[Emission]:
    """Yield the pieces as if each chunk had come when it was spoken."""
    ready_s = 0.0
    for piece in pieces:
        ready_s = max(piece.audio_s, ready_s) + piece.compute_s
        # Not every peer tells the times and probabilities of words, and no figure needs them.
        words = (Word(piece.text, nan, nan, nan),)
        yield Emission((Words(words, piece.audio_s),), piece.audio_s, ready_s, piece.compute_s)


def _decode_ms(heard: Report) -> float | None:
    decodings = [each.heard.decoding for each in heard.outcomes]
    n_tokens = sum(each.n_tokens for each in decodings)
    return 1000 * sum(each.seconds for each in decodings) / n_tokens if n_tokens else None


_TITLES = ("WER", "CER", "CPU s", "compute s", "LAAL s", "LAAL ca s", "1st word s", "MB", "ms/token")
_DECIMALS = (2, 2, 3, 3, 2, 2, 2, 0, 1)
NOTES = """\
WER: in per cent; CER: the same of characters, where a language writes no spaces between words. CPU s: CPU seconds of
all threads for a second of audio; compute s: seconds on the clock while computing, for a second of audio; neither
counts loading. LAAL: on the audio's clock; ca: with computing added, as if speech had come in real time; what hears
recordings whole has its first word at their end. MB: most that was resident. ms/token: of the decoder, its prompts
included."""


def table(systems: Mapping[str, Figures]) -> str:
    """Return the figures as text, and below them those of each system divided by ours, and ours by the bound's."""
    lines = [_line("", _TITLES), *(_line(name, _cells(each, _DECIMALS)) for name, each in systems.items())]
    if len(systems) > 1 and OURS in systems:
        lines += ["", _line("ratio", _TITLES)]
        pairs = [(name, OURS) for name in systems if name != OURS]
        pairs += [(OURS, BOUND)] if BOUND in systems else []
        lines += [_line(f"{one} / {other}", _ratios(systems[one], systems[other])) for one, other in pairs]
    return "\n".join([*lines, "", NOTES])


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:28}" + "".join(f"{cell:>12}" for cell in cells)


def _cells(figures: Figures, decimals: Sequence[int]) -> list[str]:
    pairs = zip(astuple(figures), decimals, strict=True)
    return ["-" if value is None else f"{value:.{places}f}" for value, places in pairs]


def _ratios(one: Figures, other: Figures) -> list[str]:
    pairs = zip(astuple(one), astuple(other), strict=True)
    return ["-" if value is None or not of else f"{value / of:.2f}" for value, of in pairs]
