"""Streams a recording with a reference through the engine, or through a session, and keeps what came of it and when.

Delays are measured on the audio's own clock; the computation-aware ones add the time that computing took, as if the
audio had come in real time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, Timing, Word
from streaming.audio.files import chunked, read_audio
from streaming.evaluation.foresight import ForeseenWord, foreseen
from streaming.evaluation.manifest import Clip, Segment
from streaming.evaluation.replay import replay, replay_session
from streaming.evaluation.scoring import unit_delays
from streaming.events import Language, Words

if TYPE_CHECKING:
    # Needs the extra `live`, which the engine itself does not.
    from streaming.settings import VoiceConfig

_WHOLE_WINDOW_S = 30.0
# What a device hands over at a time.
_BLOCK_SAMPLES = SAMPLE_RATE // 10
_NOT_ONE_LANGUAGE = ("none", "multi")


@dataclass(frozen=True)
class Telling:
    """What a chunk of audio brought: how much audio had been given, when its words were there, and what it cost."""

    words: tuple[Word, ...]
    audio_s: float
    ready_s: float
    compute_s: float
    timing: Timing
    language: str | None


@dataclass(frozen=True)
class ClipResult:
    """One clip, streamed and, in `offline`, decoded as a whole (None when that was not asked for).

    text_lang: what is written, which differs from `lang` in translations. is_detected: whether the engine had to find
    the language out; `language` is the one it found. segments: of the reference, where they are known. foreseen: how
    soon each word could have been told; None when that was not asked for, or the clip is too long.
    """

    id: str
    lang: str
    kind: str
    duration_s: float
    reference: str | None
    segments: tuple[Segment, ...]
    text_lang: str
    offline: str | None
    is_detected: bool
    tellings: tuple[Telling, ...]
    foreseen: tuple[ForeseenWord, ...] | None = None

    @property
    def text(self) -> str:
        return "".join(word.text for telling in self.tellings for word in telling.words).strip()

    @property
    def language(self) -> str | None:
        return next((telling.language for telling in reversed(self.tellings) if telling.language), None)

    @property
    def delays_s(self) -> list[float]:
        """How much audio had been heard when each word (or character) came."""
        pieces = [(word.text, telling.audio_s) for telling in self.tellings for word in telling.words]
        return unit_delays(pieces, self.text_lang)

    @property
    def delays_ca_s(self) -> list[float]:
        """The time that had passed when each word (or character) came."""
        pieces = [(word.text, telling.ready_s) for telling in self.tellings for word in telling.words]
        return unit_delays(pieces, self.text_lang)

    @property
    def finish_s(self) -> float:
        """From the last sample until everything was decoded."""
        return self.tellings[-1].ready_s - self.duration_s

    @property
    def final_word_s(self) -> float | None:
        """From the last sample to the last word; 0 when it came before, None without words."""
        delays_s = self.delays_ca_s
        return max(0.0, delays_s[-1] - self.duration_s) if delays_s else None


def evaluate_clip(
    clip: Clip,
    model: Model,
    config: AlignAttConfig,
    *,
    offline: bool,
    detect: bool = False,
    foresight: bool = False,
    voice: "VoiceConfig | None" = None,
) -> ClipResult:
    """Stream a clip in chunks of `segment_length`, or with `voice` through a session, in small blocks.

    Where the config names no language, the clip's own is used, unless it is to be detected.
    """
    samples = read_audio(clip.path)
    if config.language == "auto" and clip.lang not in _NOT_ONE_LANGUAGE and not detect:
        config = replace(config, language=clip.lang)
    tellings = (
        _engine_tells(samples, model, config) if voice is None else _listener_hears(samples, model, config, voice)
    )
    is_translation = config.task == "translate"
    return ClipResult(
        id=clip.id,
        lang=clip.lang,
        kind=clip.kind,
        duration_s=len(samples) / SAMPLE_RATE,
        reference=clip.translation_en if is_translation else clip.transcript,
        segments=() if is_translation else clip.segments,
        text_lang="en" if is_translation else clip.lang,
        offline=_decoded_whole(samples, model, config) if offline else None,
        is_detected=config.language == "auto" and clip.lang not in _NOT_ONE_LANGUAGE,
        tellings=tuple(tellings),
        foreseen=foreseen(samples, model, config) if foresight else None,
    )


def _engine_tells(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> Iterator[Telling]:
    whisper = PaddedAlignAttWhisper(config, model)
    for each in replay(whisper, chunked([samples], round(config.segment_length * SAMPLE_RATE))):
        update = each.update
        yield Telling(update.words, each.audio_s, each.ready_s, each.compute_s, update.timing, update.language)


def _listener_hears(
    samples: NDArray[np.float32], model: Model, config: AlignAttConfig, voice: "VoiceConfig"
) -> Iterator[Telling]:
    from streaming.sessions.session import Session

    language = None if config.language == "auto" else config.language
    for each in replay_session(Session(config, model, voice, drafts=False), chunked([samples], _BLOCK_SAMPLES)):
        language = next((event.language for event in reversed(each.events) if isinstance(event, Language)), language)
        words = tuple(word for event in each.events if isinstance(event, Words) for word in event.words)
        timing = Timing.sum_of(turn.timing for turn in each.turns)
        yield Telling(words, each.audio_s, each.ready_s, each.compute_s, timing, language)


def _decoded_whole(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> str:
    """Decode with everything known from the start: the bound that streaming is compared with."""
    whole = replace(config, padding_len=_WHOLE_WINDOW_S, audio_max_len=_WHOLE_WINDOW_S)
    whisper = PaddedAlignAttWhisper(whole, model)
    whisper.insert_audio(samples)
    return whisper.infer(is_last=True).text.strip()


def timing_of(results: Iterable[ClipResult]) -> Timing:
    """Return where the time went that streaming these clips took."""
    return Timing.sum_of(telling.timing for result in results for telling in result.tellings)
