"""Streams a recording with references through a session, and keeps what came of it and when, also in other languages.

Delays are measured on the audio's own clock; the computation-aware ones add the time that computing took, as if the
audio had come in real time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    Model,
    PaddedAlignAttWhisper,
    Timing,
    TranslationConfig,
    Translator,
    Word,
)
from streaming.audio.files import chunked, read_audio
from streaming.evaluation.drafts import Shown, shown
from streaming.evaluation.foresight import ForeseenWord, foreseen
from streaming.evaluation.manifest import Clip, Segment
from streaming.evaluation.replay import Emission, chunk_samples, replay
from streaming.evaluation.scoring import unit_delays
from streaming.events import Event, Language, Translation, TranslationSkipped, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from streaming.stages.translation import TranslationStage

_WHOLE_WINDOW_S = 30.0
# What stands in manifests for no language and for several.
NOT_ONE_LANGUAGE = ("none", "multi")


@dataclass(frozen=True)
class Translating:
    """How to translate beside the transcript. translator: of text, None where no target needs one."""

    config: TranslationConfig = field(default_factory=TranslationConfig)
    translator: Translator | None = None

    def by(self, target: str) -> str:
        """Return what translates into a target, for people."""
        if self.config.by_whisper([target]):
            return "Whisper"
        return self.translator.description if self.translator else "nothing"

    def stages(self, targets: Sequence[str]) -> tuple[TranslationStage, ...]:
        """Return what translates the text, if anything does. It never leaves out what is late: the delays show that."""
        by_translator = self.config.by_translator(targets)
        if not by_translator:
            return ()
        assert self.translator, "a translator was opened for what Whisper does not translate"
        config = replace(self.config, max_behind=math.inf)
        return (TranslationStage(self.translator, config, by_translator, drafts=False, waits=True),)


BY_WHISPER = Translating()
"""English by Whisper, and nothing else."""


@dataclass(frozen=True)
class Listener:
    """What stands between the engine and who reads along: which audio is decoded, and whether the language has to be
    found out and text that may still change is told, too.
    """

    voice: VoiceConfig
    detects: bool
    drafts: bool


ENGINE_ALONE = Listener(VoiceConfig(vad=False), detects=False, drafts=False)
"""Every sample is decoded, in a language that is known."""


class Bound(Protocol):
    """What decodes a recording whole, besides our engine."""

    def text(self, samples: NDArray[np.float32], language: str) -> str:
        """samples: float32 (n,) mono 16 kHz. language: "auto" to detect it."""
        ...


@dataclass(frozen=True)
class ClipResult:
    """One clip, streamed and, in `offline`, decoded as a whole (None when that was not asked for).

    bound: what another decoder hears of the whole; None when that was not asked for. has_drafts: whether it tells them.
    text_lang: what is written, which differs from `lang` in translations. given_language: what the settings name; None
    when the engine had to find it out. is_detected: whether that can be right or wrong. segments: of the reference,
    where they are known. foreseen: how soon each word could have been told; None when that was not asked for, or the
    clip is too long. translations: by target, each told as if its words were the transcript's.
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
    bound: str | None = None
    has_drafts: bool = False
    given_language: str | None = None
    foreseen: tuple[ForeseenWord, ...] | None = None
    translations: Mapping[str, "ClipResult"] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return _text_of(word for emission in self.emissions for word in emission.words)

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

    @cached_property
    def shown(self) -> Shown | None:
        """What a reader saw, drafts included, and when; None where no drafts were told."""
        return shown(self.emissions, self.text_lang) if self.has_drafts else None

    @property
    def skipped(self) -> tuple[TranslationSkipped, ...]:
        """What was left out of a translation."""
        events = [event for emission in self.emissions for event in emission.events]
        return tuple(event for event in events if isinstance(event, TranslationSkipped))

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
    bound: Bound | None = None,
    foresight: bool = False,
    listener: Listener = ENGINE_ALONE,
    translating: Translating = BY_WHISPER,
) -> ClipResult:
    """Stream a clip in chunks of `segment_length`, or, with voice activity, in small blocks.

    Where the config names no language, the clip's own is used, unless it is to be detected; what is decoded whole is
    always told it. The clip is translated, on the way, into the targets of the config but for its own language.
    """
    samples = read_audio(clip.path)
    config = replace(config, targets=tuple(target for target in config.targets if target != clip.lang))
    told = _told_language(config, clip)
    text, texts = _known_whole(samples, model, told, translating) if offline else (None, {})
    config = config if listener.detects else told
    is_english, is_auto = config.task == "translate", config.language == "auto"
    result = ClipResult(
        id=clip.id,
        lang=clip.lang,
        kind=clip.kind,
        duration_s=len(samples) / SAMPLE_RATE,
        reference=clip.translations.get("en") if is_english else clip.transcript,
        segments=_segments_in(clip, "en") if is_english else clip.segments,
        text_lang="en" if is_english else clip.lang,
        offline=text,
        bound=bound.text(samples, told.language) if bound else None,
        has_drafts=listener.drafts,
        is_detected=is_auto and clip.lang not in NOT_ONE_LANGUAGE and len(model.info.languages) > 1,
        emissions=_streamed(samples, model, config, listener, translating),
        given_language=None if is_auto else config.language,
        foreseen=foreseen(samples, model, replace(config, targets=())) if foresight else None,
    )
    return replace(result, translations=_by_target(result, clip, config, translating, texts))


def _told_language(config: AlignAttConfig, clip: Clip) -> AlignAttConfig:
    """Return the settings with the clip's language, where they name none and it has one."""
    is_open = config.language == "auto" and clip.lang not in NOT_ONE_LANGUAGE
    return replace(config, language=clip.lang) if is_open else config


def _by_target(
    result: ClipResult, clip: Clip, config: AlignAttConfig, translating: Translating, whole: Mapping[str, str]
) -> dict[str, ClipResult]:
    """Return a result for each target. whole: the clip's translations with everything known."""
    by_translator = translating.config.by_translator(config.targets)
    return {
        target: translation_of(result, clip, target, by_translator=target in by_translator, offline=whole.get(target))
        for target in config.targets
    }


def _streamed(
    samples: NDArray[np.float32],
    model: Model,
    config: AlignAttConfig,
    listener: Listener,
    translating: Translating,
) -> tuple[Emission, ...]:
    of_session = replace(config, targets=translating.config.by_whisper(config.targets))
    session = Session(of_session, model, listener.voice, drafts=listener.drafts)
    chunks = chunked([samples], chunk_samples(config, listener.voice))
    return tuple(replay(session, chunks, coalesce=not listener.voice.vad, stages=translating.stages(config.targets)))


def translation_of(
    result: ClipResult, clip: Clip, target: str, *, by_translator: bool, offline: str | None = None
) -> ClipResult:
    """Return what a clip became in another language, and when, as if that were its transcript.

    by_translator: from the text, by a stage that works beside the session. offline: its translation as a whole.
    """
    return replace(
        result,
        reference=clip.translations.get(target),
        segments=_segments_in(clip, target),
        text_lang=target,
        offline=offline,
        bound=None,
        has_drafts=False,
        is_detected=False,
        emissions=tuple(_told(emission, target, by_translator=by_translator) for emission in result.emissions),
        foreseen=None,
    )


def _segments_in(clip: Clip, language: str) -> tuple[Segment, ...]:
    """Return the segments with their translations for texts; none where one has no translation."""
    if not all(language in segment.translations for segment in clip.segments):
        return ()
    return tuple(replace(segment, text=segment.translations[language]) for segment in clip.segments)


def _told(emission: Emission, target: str, *, by_translator: bool) -> Emission:
    """Return an emission with nothing but what it told in one target, and its computation up to there."""
    words = tuple(word for event in _translations(emission.events, target) for word in event.words)
    skipped = [each for each in emission.events if isinstance(each, TranslationSkipped) and each.target == target]
    events: tuple[Event, ...] = (Words(words, emission.audio_s), *skipped)
    if not by_translator:
        return Emission(events, emission.audio_s, emission.ready_s, emission.compute_s)
    return Emission(events, emission.audio_s, emission.stages_ready_s, emission.compute_s + emission.stage_s)


def _translations(events: Iterable[Event], target: str) -> list[Translation]:
    return [event for event in events if isinstance(event, Translation) and event.target == target]


def _known_whole(
    samples: NDArray[np.float32], model: Model, config: AlignAttConfig, translating: Translating
) -> tuple[str, dict[str, str]]:
    """Return the text and its translations, each made with everything known from the start: the bounds of streaming.

    What Whisper translates it hears whole; a translator of text gets the text that was heard whole.
    """
    words = decoded_whole(samples, model, config)
    # As while streaming: a prompt is in the language spoken.
    english = replace(config, task="translate", init_prompt="", static_init_prompt="")
    by_whisper = translating.config.by_whisper(config.targets)
    texts = {target: _text_of(decoded_whole(samples, model, english)) for target in by_whisper}
    for stage in translating.stages(config.targets):
        events = [*stage.feed([Words(words, len(samples) / SAMPLE_RATE)]), *stage.flush()]
        for target in translating.config.by_translator(config.targets):
            told = _translations(events, target)
            texts[target] = _text_of(word for event in told for word in event.words)
    return _text_of(words), texts


def decoded_whole(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> tuple[Word, ...]:
    whole = replace(config, padding_len=_WHOLE_WINDOW_S, audio_max_len=_WHOLE_WINDOW_S, targets=())
    whisper = PaddedAlignAttWhisper(whole, model)
    whisper.insert_audio(samples)
    return whisper.infer(is_last=True).words


def _text_of(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words).strip()


def timing_of(results: Iterable[ClipResult]) -> Timing:
    """Return where the time went that streaming these clips took."""
    return Timing.sum_of(emission.timing for result in results for emission in result.emissions)
