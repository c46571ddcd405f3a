"""Streams a recording with a reference through a session, and keeps what came of it and when.

Delays are measured on the audio's own clock; the computation-aware ones add the time that computing took, as if the
audio had come in real time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, Timing
from streaming.audio.files import chunked, read_audio
from streaming.evaluation.foresight import ForeseenWord, foreseen
from streaming.evaluation.manifest import Clip, Segment
from streaming.evaluation.replay import Emission, chunk_samples, replay
from streaming.evaluation.scoring import unit_delays
from streaming.events import Language
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig

_WHOLE_WINDOW_S = 30.0
_NOT_ONE_LANGUAGE = ("none", "multi")
_EVERYTHING = VoiceConfig(vad=False)


@dataclass(frozen=True)
class ClipResult:
    """One clip, streamed and, in `offline`, decoded as a whole (None when that was not asked for).

    text_lang: what is written, which differs from `lang` in translations. given_language: what the settings name; None
    when the engine had to find it out. is_detected: whether that can be right or wrong. segments: of the reference,
    where they are known. foreseen: how soon each word could have been told; None when that was not asked for, or the
    clip is too long.
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
    emissions: tuple[Emission, ...]
    given_language: str | None = None
    foreseen: tuple[ForeseenWord, ...] | None = None

    @property
    def text(self) -> str:
        return "".join(word.text for emission in self.emissions for word in emission.words).strip()

    @property
    def language(self) -> str | None:
        """The one that was given, or found last; None without either."""
        events = [event for emission in self.emissions for event in emission.events]
        found = [event.language for event in events if isinstance(event, Language)]
        return found[-1] if found else self.given_language

    @property
    def delays_s(self) -> list[float]:
        """How much audio had been heard when each word (or character) came."""
        pieces = [(word.text, emission.audio_s) for emission in self.emissions for word in emission.words]
        return unit_delays(pieces, self.text_lang)

    @property
    def delays_ca_s(self) -> list[float]:
        """The time that had passed when each word (or character) came."""
        pieces = [(word.text, emission.ready_s) for emission in self.emissions for word in emission.words]
        return unit_delays(pieces, self.text_lang)

    @property
    def finish_s(self) -> float:
        """From the last sample until everything was decoded."""
        return self.emissions[-1].ready_s - self.duration_s

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
    voice: VoiceConfig = _EVERYTHING,
) -> ClipResult:
    """Stream a clip in chunks of `segment_length`, or, with voice activity, in small blocks.

    Where the config names no language, the clip's own is used, unless it is to be detected.
    """
    samples = read_audio(clip.path)
    if config.language == "auto" and clip.lang not in _NOT_ONE_LANGUAGE and not detect:
        config = replace(config, language=clip.lang)
    session = Session(config, model, voice, drafts=False)
    emissions = tuple(replay(session, chunked([samples], chunk_samples(config, voice)), coalesce=not voice.vad))
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
        emissions=emissions,
        given_language=None if config.language == "auto" else config.language,
        foreseen=foreseen(samples, model, config) if foresight else None,
    )


def _decoded_whole(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> str:
    """Decode with everything known from the start: the bound that streaming is compared with."""
    whole = replace(config, padding_len=_WHOLE_WINDOW_S, audio_max_len=_WHOLE_WINDOW_S)
    whisper = PaddedAlignAttWhisper(whole, model)
    whisper.insert_audio(samples)
    return whisper.infer(is_last=True).text.strip()


def timing_of(results: Iterable[ClipResult]) -> Timing:
    """Return where the time went that streaming these clips took."""
    return Timing.sum_of(emission.timing for result in results for emission in result.emissions)
