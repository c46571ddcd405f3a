"""Interpret recordings in real time, for as long as is wanted, and tell each minute what that costs and how late it is.

python -m scripts.interpreting DIR_OR_MANIFEST --to en [--only-lang de,es,fr] [--minutes 60] [flags of interpret]

The recordings follow each other as one stream, again and again, with a second of silence after each. What is spoken
goes nowhere. Of each minute:

memory, voice, cpu  MB of the process; seconds of speech; seconds of computation for each second of the stream, of all
                    cores together
spoken              sentences
heard               from the event with the last letter or mark of a sentence's first phrase until it is heard, by who
                    plays all as it comes: the median, what 95 of 100 are within, and the worst
alone               the same of sentences that wait for no speech before them
load                the machine's, over a minute: others may be at work on it
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, SimulWhisperError
from streaming.audio.capture import Heard
from streaming.audio.files import chunked, read_audio
from streaming.audio.paced import PacedRecording
from streaming.cli.bench import add_selection, selected_clips
from streaming.cli.live import running_worker
from streaming.cli.options import (
    add_settings,
    add_translation_settings,
    add_voice_settings,
    configs_from,
)
from streaming.cli.speech import add_speech_settings, opened_voices, speech_from, spoken_language, spoken_text
from streaming.cli.translation import opened_translator, stages_from
from streaming.events import Event, Failed, SpeechSkipped, Spoken, Translation, Words
from streaming.sessions.event_log import EventFilter
from streaming.sessions.pool import SessionHandle
from streaming.stages.speech import SpeechStage
from streaming.stages.stage import run_stage

_CHUNK_SAMPLES = SAMPLE_RATE // 10
_TURN_S = 0.1
_MINUTE_S = 60.0
_BAD_INPUT = 2
_TITLES = f"{'minute':>6}" + "".join(
    f"{title:>8}" for title in "memory voice cpu spoken heard 95% worst alone 95% worst load".split()
)


@dataclass
class Delays:
    """Of what is spoken, from when its last letter or mark was told. All times on one clock.

    target: "" for the transcript.
    """

    target: str
    heard_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    sound_s: float = 0.0
    n_skipped: int = 0
    # Letters and marks that were told and not yet spoken, with when each was.
    _known: deque[tuple[str, float]] = field(default_factory=deque)
    # When all that was told will have been heard.
    _until_s: float = 0.0
    _begins: bool = True

    def take(self, event: Event, now_s: float) -> None:
        """Take an event that was told just now."""
        is_own = event.target == self.target if isinstance(event, Translation) else not self.target
        if isinstance(event, Words | Translation) and is_own:
            self._tell(event.text, now_s)
        elif isinstance(event, Spoken) and event.target == self.target:
            self._speak(event, now_s)
        elif isinstance(event, SpeechSkipped) and event.target == self.target:
            self._pass(event.text)
            self.n_skipped, self._begins = self.n_skipped + 1, True

    def _tell(self, text: str, now_s: float) -> None:
        self._known.extend((letter, now_s) for letter in text if not letter.isspace())

    def _speak(self, event: Spoken, now_s: float) -> None:
        known_s = self._pass(event.text)
        if event.text and known_s is not None and self._begins:
            self.heard_s.append(max(now_s, self._until_s) - known_s)
            if known_s >= self._until_s:
                self.alone_s.append(now_s - known_s)
        if event.pcm:
            self._until_s = max(now_s, self._until_s) + event.duration_s
            self.sound_s += event.duration_s
        self._begins = event.is_last

    def _pass(self, text: str) -> float | None:
        """Pass over a text; return when the last letter or mark of it was told, None without either."""
        known_s = None
        for letter in "".join(text.split()):
            while self._known:
                each, known_s = self._known.popleft()
                if each == letter:
                    break
        return known_s


@dataclass(frozen=True)
class _Used:
    """What had been used until when."""

    at_s: float
    cpu_s: float
    sound_s: float
    n_heard: int
    n_alone: int

    @classmethod
    def now(cls, delays: Delays) -> "_Used":
        # Programs that it calls, such as espeak-ng, are counted as well.
        times = os.times()
        cpu_s = times.user + times.system + times.children_user + times.children_system
        return cls(time.monotonic(), cpu_s, delays.sound_s, len(delays.heard_s), len(delays.alone_s))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _interpret(options)
    except SimulWhisperError as error:
        print(f"interpreting: {error}", file=sys.stderr)
        return _BAD_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.interpreting", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_selection(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the stream (default: 60)")
    add_speech_settings(parser)
    add_voice_settings(parser)
    add_translation_settings(parser)
    add_settings(parser)
    return parser


def _interpret(options: argparse.Namespace) -> None:
    configs, clips = configs_from(options), selected_clips(options)
    speech = speech_from(options, configs)
    voices, translator = opened_voices(speech), opened_translator(configs, options)
    if language := spoken_language(configs.engine):
        voices.voice(language)
    target = spoken_text(configs)
    with running_worker(configs.session) as worker:
        while not (health := worker.wait_ready(_TURN_S)).is_ready:
            if health.message:
                raise BackendError(health.message)
        handle = worker.open(voice=configs.voice)
        for stage in stages_from(configs, translator, drafts=False, is_live=True):
            run_stage(handle.log, stage)
        run_stage(handle.log, SpeechStage(voices, speech, (target,)))
        run = _Run(handle, Delays(target))
        samples = _stream([clip.path for clip in clips], round(options.minutes * 60 * SAMPLE_RATE))
        run.play(PacedRecording("stream", chunked(samples, _CHUNK_SAMPLES)))


class _Run:
    """A session that is listened to, and what is told of it each minute."""

    def __init__(self, handle: SessionHandle, delays: Delays) -> None:
        self._handle, self._delays = handle, delays
        self._cursor = handle.log.cursor(EventFilter(drafts=False, speech=True))
        self._started_s = time.monotonic()
        self._since = _Used.now(delays)
        self._first = self._since

    def play(self, recording: PacedRecording) -> None:
        print(_TITLES, flush=True)
        while not recording.is_over:
            for heard in recording.read(_TURN_S):
                if isinstance(heard, Heard):
                    self._handle.submit(heard.samples)
            self._listen()
            if time.monotonic() - self._since.at_s >= _MINUTE_S:
                print(self._row(f"{(time.monotonic() - self._started_s) / _MINUTE_S:.0f}", self._since), flush=True)
                self._since = _Used.now(self._delays)
        self._handle.end()
        while not self._handle.log.is_over:
            self._listen(_TURN_S)
        self._listen()
        print(self._row("all", self._first))
        print(f"{self._delays.n_skipped} sentences were not spoken")
        if isinstance(self._handle.log.last, Failed):
            raise BackendError(self._handle.log.last.message)

    def _listen(self, timeout_s: float = 0.0) -> None:
        for event in self._cursor.read(timeout_s):
            self._delays.take(event, time.monotonic())

    def _row(self, name: str, since: "_Used") -> str:
        now, delays = _Used.now(self._delays), self._delays
        passed_s = now.at_s - since.at_s
        heard, alone = delays.heard_s[since.n_heard :], delays.alone_s[since.n_alone :]
        cells = [
            f"{_memory_mb():.0f}",
            f"{now.sound_s - since.sound_s:.0f}",
            f"{(now.cpu_s - since.cpu_s) / passed_s:.2f}",
            str(len(heard)),
            *(f"{value:.2f}" for each in (heard, alone) for value in _spread(each)),
            f"{os.getloadavg()[0]:.1f}",
        ]
        return f"{name:>6}" + "".join(f"{cell:>8}" for cell in cells)


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    """Return the median, what 95 of 100 are within, and the worst."""
    if not values:
        return (math.nan,) * 3
    ordered = sorted(values)
    return statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1]


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _stream(paths: Sequence[Path], n_samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield the recordings, float32 (n,), again and again, with silence after each: so many samples."""
    for path in cycle(paths):
        for samples in (read_audio(path), np.zeros(SAMPLE_RATE, np.float32)):
            if n_samples <= 0:
                return
            yield samples[:n_samples]
            n_samples -= len(samples)


if __name__ == "__main__":
    sys.exit(main())
