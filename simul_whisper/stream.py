"""One listener: windows of audio in, committed tokens out, of one text or, with its English translation, of two.

Holds what belongs to one stream and nothing that is shared. The caller keeps the audio, from `keep_from_sample` on. The
model is only used; each window is encoded once, whatever is read from it.
"""

import logging
import math
from dataclasses import dataclass, replace

from simul_whisper.agreement import quietest
from simul_whisper.alignatt import StopReason
from simul_whisper.audio import MAX_WINDOW_SAMPLES, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk
from simul_whisper.config import AlignAttConfig
from simul_whisper.decoders import Limits, limits_of
from simul_whisper.decoding import Decoding, TextUpdate
from simul_whisper.encoders import Features
from simul_whisper.errors import ConfigError
from simul_whisper.language_detection import LanguageDetector
from simul_whisper.mel import Mel, log_mel
from simul_whisper.model import Model
from simul_whisper.pieces import Encode, Pieces
from simul_whisper.reading import EncodedWindow, begun
from simul_whisper.timing import Stopwatch, Timing

logger = logging.getLogger(__name__)

# The sound of a token goes on after where it was read.
_SAMPLES_AFTER_DECIDED = 10 * SAMPLES_PER_FRAME
# Where the language changes, the last word may go on for this long, and of what follows at least so much is heard.
_SAMPLES_OF_LAST_WORD, _SAMPLES_AFTER_CHANGE = 25 * SAMPLES_PER_FRAME, SAMPLE_RATE
# A pause of which no more is new: of the last word, next to nothing is.
_SAMPLES_OF_PAUSE = SAMPLE_RATE // 4
# After a shorter pause, the translation waits for what is said next, on which it may depend.
_PAUSE_SAMPLES = 2 * SAMPLE_RATE
_GLIMPSE_PADDING_SAMPLES = SAMPLE_RATE
_AT_THE_END = (StopReason.END_OF_TEXT, StopReason.NO_SPEECH)
_WAITING = TextUpdate((), StopReason.WAITING)


@dataclass(frozen=True)
class PassUpdate:
    """What one pass decided.

    text: of the transcript, or of what else the task is; translation: of the English one beside it, None when none is
    wanted. keep_from_sample: where the next window may start. draft_language: of the draft of the text, which may be
    read before the language is known. ends_text: what follows is another text, in another language.
    """

    text: TextUpdate
    translation: TextUpdate | None
    keep_from_sample: int
    timing: Timing
    draft_language: str | None = None
    ends_text: bool = False


@dataclass(frozen=True)
class _Before:
    """The window of the pass before, and what was encoded of it for a decoder of these limits."""

    start_sample: int
    end_sample: int
    features: Features
    content_frames: int
    limits: Limits


class Stream:
    """A stream of speech. Raises ConfigError when the model lacks the language or task, or the prompt is too long."""

    def __init__(self, model: Model, config: AlignAttConfig) -> None:
        self._model, self._config, self._tokenizer = model, config, model.tokenizer
        languages = _spoken(model, config)
        self._detector = LanguageDetector(model.tokenizer, languages, config.language_min_len)
        self._text = Decoding(model, config)
        # Kept while it is not wanted, so that nothing is translated twice.
        self._translation: Decoding | None = None
        self._is_translating = False
        # Whether text was written down that has not been read to its end for the translation.
        self._is_behind = False
        # Where the window ended that the last pass, at a pause, has read to its end; None if it has not.
        self._read_until: int | None = None
        self._before: _Before | None = None
        self._longest_samples = config.max_samples - round(config.segment_length * SAMPLE_RATE)
        self._written_language: str | None = None
        self._silence_frames = math.ceil(config.padding_len * SAMPLE_RATE / SAMPLES_PER_FRAME)

    def process(
        self, window: AudioChunk, *, final: bool, at_pause: bool = False, drafts: bool = False
    ) -> Pieces[PassUpdate]:
        """Decode a window, contiguous audio of at most `audio_max_len` from at most the last `keep_from_sample` on.

        `final`: nothing follows, so everything is committed. `at_pause`: the last word has ended, but more may follow.
        `drafts`: also read what may not be committed yet, in the likeliest language before that is decided.
        """
        if final and window.end_sample == self._read_until and not self._is_translating:
            return (yield from self._concluded(window))
        watch = Stopwatch()
        heard, encoded, timing = yield from self._heard(window, watch, at_pause=at_pause and not final)
        may_write = yield from watch.timed(self._hears_language(encoded, heard, final=final))
        has_changed = False
        if may_write and not final:
            has_changed = yield from watch.timed(self._detector.has_changed(encoded, heard.samples))
        timing = replace(timing, language_s=watch.lap())
        # Before it is known, a draft is read in the likeliest.
        language = self.language if may_write else self._detector.likeliest
        text, translation = _WAITING, _WAITING if self._is_translating else None
        if has_changed:
            update = yield from watch.timed(self._begun_anew(heard, encoded))
            return _timed(replace(update, timing=replace(timing, translation_s=watch.lap())), watch)
        if language is not None and (may_write or drafts):
            reading = (
                self._text.run(heard, encoded, language, final=final, at_pause=at_pause, drafts=drafts)
                if may_write
                else self._text.glimpse(heard, encoded, language)
            )
            text = yield from watch.timed(reading)
            timing = replace(timing, prefill_s=text.prefill_s, step_s=text.step_s)
            watch.lap()
        if may_write and self._translation and self._is_translating:
            translating = self._translated(self._translation, text, heard, encoded, final=final)
            translation = yield from watch.timed(translating)
            timing = replace(timing, translation_s=watch.lap())
        self._read_until = window.end_sample if at_pause and text.stop in _AT_THE_END else None
        draft_language = self._text.language_of(language)
        return _timed(PassUpdate(text, translation, self._keep_from(window), timing, draft_language), watch)

    def glimpse(self, window: AudioChunk) -> Pieces[PassUpdate]:
        """Read a draft of a window, as of `process`, with little silence after it. Nothing is decided by it.

        Decoders that take whole windows only would take as long as for a pass, and are not asked.
        """
        if limits_of(self._model.decoder).whole_windows:
            return PassUpdate(_WAITING, None, window.start_sample, Timing())
        watch = Stopwatch()
        encoded, timing = yield from self._encoded(window, watch, _GLIMPSE_PADDING_SAMPLES)
        language = self._detector.written
        if language is None:
            language = yield from watch.timed(self._detector.glimpse(encoded, window.samples))
        timing = replace(timing, language_s=watch.lap())
        text = yield from watch.timed(self._text.glimpse(window, encoded, language))
        timing = replace(timing, prefill_s=text.prefill_s, step_s=text.step_s)
        watch.lap()
        update = PassUpdate(text, None, window.start_sample, timing, self._text.language_of(language))
        return _timed(update, watch)

    @property
    def language(self) -> str | None:
        """The language spoken; None until it is known."""
        return self._detector.language

    @property
    def text_language(self) -> str | None:
        """The language of the text, which decides where words part; None until it is known."""
        return self._text.language_of(self.language)

    def translate(self, *, wanted: bool) -> None:
        """Read the English translation beside the text, from the present window on; or no longer.

        Raises ConfigError for a model that writes none.
        """
        if wanted and not self._tokenizer.translates:
            raise ConfigError("this model writes no English translation; use a translator of text, or Whisper")
        if wanted and not self._translation:
            self._translation = Decoding(self._model, _of_translation(self._config))
        self._is_translating = wanted

    def restart(self) -> None:
        """Begin a new utterance: the text of the window becomes context, and the language may prove to be another."""
        for decoding in self._decodings:
            decoding.restart()
        self._detector.restart()
        self._read_until = self._before = None

    @property
    def _decodings(self) -> list[Decoding]:
        return [self._text, *([self._translation] if self._translation else [])]

    def _heard(
        self, window: AudioChunk, watch: Stopwatch, *, at_pause: bool
    ) -> Pieces[tuple[AudioChunk, EncodedWindow, Timing]]:
        """Encode a window and return it; at a pause right after a pass, what that has encoded, and no more audio."""
        before = self._before
        if at_pause and before and before.limits == limits_of(self._model.decoder):
            n_new = window.end_sample - before.end_sample
            if window.start_sample == before.start_sample and n_new <= _SAMPLES_OF_PAUSE:
                again = yield from watch.timed(begun(before.features, before.content_frames, before.limits))
                if again:
                    heard = AudioChunk(window.samples[: len(window.samples) - n_new], window.start_sample)
                    return heard, again, Timing(encode_s=watch.lap(), windows=1)
        encoded, timing = yield from self._encoded(window, watch, self._padding_samples(len(window.samples)))
        self._before = _Before(
            window.start_sample, window.end_sample, encoded.features, encoded.content_frames, encoded.limits
        )
        return window, encoded, timing

    def _encoded(self, window: AudioChunk, watch: Stopwatch, padding: int) -> Pieces[tuple[EncodedWindow, Timing]]:
        """Encode a window with at least so many samples of silence after it."""
        mel_s, encode_s = 0.0, 0.0
        while True:
            limits = limits_of(self._model.decoder)
            mel = self._mel(window, padding, limits)
            mel_s += watch.lap()
            encoded = yield from watch.timed(self._begun(mel, limits))
            encode_s += watch.lap()
            if encoded:
                return encoded, Timing(mel_s=mel_s, encode_s=encode_s, windows=1)

    def _mel(self, window: AudioChunk, padding: int, limits: Limits) -> Mel:
        # To whole seconds, because encoders keep memory for each length they meet.
        more = -(len(window.samples) + padding) % SAMPLE_RATE
        silence = MAX_WINDOW_SAMPLES if limits.whole_windows else padding + more
        return log_mel(window.samples, self._model.dims.n_mels, silence)

    def _begun(self, mel: Mel, limits: Limits) -> Pieces[EncodedWindow | None]:
        """Encode a window, and begin to read it; None when the decoder has other limits by then."""
        features: Features = (yield Encode(mel)).value
        # The encoder is at its best in windows as long as those it was trained on; the decoder needs less silence.
        n_frames = mel.n_frames if limits.whole_windows else mel.content_frames + self._silence_frames
        return (yield from begun(features[:n_frames], mel.content_frames, limits))

    def _padding_samples(self, n_samples: int) -> int:
        """Return how much silence follows at least."""
        shortest = round(self._config.window_min_len * SAMPLE_RATE)
        return max(round(self._config.padding_len * SAMPLE_RATE), shortest - n_samples)

    def _hears_language(self, encoded: EncodedWindow, window: AudioChunk, *, final: bool) -> Pieces[bool]:
        """Detect the language unless it is known; False while there is too little audio to tell."""
        is_full = self._is_full(window)
        may_write = yield from self._detector.decides(encoded, window.samples, is_full=is_full, final=final)
        if may_write:
            if self._written_language not in (None, self.language):
                for decoding in self._decodings:
                    decoding.forget_context()
            self._written_language = self.language
        return may_write

    def _begun_anew(self, window: AudioChunk, encoded: EncodedWindow) -> Pieces[PassUpdate]:
        """Let go of the text in another language, and of its audio; what of it is not translated yet is, before."""
        decided, held = self._text.last_sample or window.start_sample, self._text.held_sample
        # What was held back is read again.
        word_end = decided + _SAMPLES_OF_LAST_WORD if held is None else max(decided, (decided + held) // 2)
        latest = min(decided + _SAMPLES_OF_LAST_WORD, window.end_sample - _SAMPLES_AFTER_CHANGE)
        keep_from = max(window.start_sample, min(word_end, latest))
        translation = _WAITING if self._is_translating else None
        if self._translation and self._is_translating and self._written_language not in (None, "en"):
            reading = self._translation.run(window, encoded, self._written_language, keep_from, final=True)
            translation = yield from reading
        for decoding in self._decodings:
            decoding.restart()
            decoding.forget_context()
        self._written_language, self._is_behind = self.language, False
        return PassUpdate(_WAITING, translation, keep_from, Timing(), ends_text=True)

    def _concluded(self, window: AudioChunk) -> Pieces[PassUpdate]:
        """End an utterance after which nothing was said since the last pass: another would read the same.

        Its language may be decided yet, which the next utterance begins with.
        """
        watch, timing = Stopwatch(), Timing()
        if self._detector.is_unsure:
            encoded, timing = yield from self._encoded(window, watch, self._padding_samples(len(window.samples)))
            yield from watch.timed(self._hears_language(encoded, window, final=True))
            timing = replace(timing, language_s=watch.lap())
        return _timed(PassUpdate(self._text.conclude(), None, window.start_sample, timing), watch)

    def _translated(
        self, translation: Decoding, text: TextUpdate, window: AudioChunk, encoded: EncodedWindow, *, final: bool
    ) -> Pieces[TextUpdate]:
        """Read the English translation on, as far as the text is decided; of English, it is the text itself."""
        assert self.language is not None
        if self.language == "en":
            translation.adopt(text)
            return text
        self._is_behind = self._is_behind or bool(text.tokens)
        decided = self._text.last_sample or window.start_sample
        has_paused = (
            text.stop is StopReason.END_OF_TEXT and not text.n_held and window.end_sample > decided + _PAUSE_SAMPLES
        )
        if not (text.tokens or final or (self._is_behind and (has_paused or self._is_full(window)))):
            return TextUpdate((), StopReason.WAITING, translation.draft)
        until_sample = decided + _SAMPLES_AFTER_DECIDED if text.tokens and not final else None
        update = yield from translation.run(window, encoded, self.language, until_sample, final=final)
        self._is_behind = until_sample is not None or update.stop not in _AT_THE_END or update.n_held > 0
        return update

    def _is_full(self, window: AudioChunk) -> bool:
        """Whether the next window would be too long."""
        return len(window.samples) > self._longest_samples

    def _keep_from(self, window: AudioChunk) -> int:
        """Let go of the oldest audio and its words once window or text is full; return what to keep from."""
        crowded = [each.crowded for each in self._decodings if each.crowded]
        if not (self._is_full(window) or crowded):
            return window.start_sample
        # Half a window is kept: after less, words are misheard, in languages that Whisper knows less above all.
        earliest, latest = window.end_sample - self._longest_samples, window.end_sample - self._config.max_samples // 2
        earliest, latest = (max(samples) for samples in zip((earliest, latest), *crowded, strict=True))
        untranslated = None
        if self._translation and self._is_translating:
            # What was written down and not translated yet is heard again.
            untranslated = self._translation.last_sample or window.start_sample
        keep_from = self._text.best_cut(earliest, latest, untranslated)
        if not limits_of(self._model.decoder).is_aligned:
            keep_from = min(max(quietest(window, keep_from), earliest), latest)
        for decoding in self._decodings:
            decoding.cut(keep_from)
        return keep_from


def _spoken(model: Model, config: AlignAttConfig) -> tuple[str, ...]:
    """Return the languages that may be spoken. Raises ConfigError for one that the model cannot write down."""
    asked = config.languages if config.language == "auto" else (config.language,)
    languages = tuple(asked) or model.info.languages
    for language in languages:
        model.tokenizer.sot_sequence(language, config.task)
    return languages


def _of_translation(config: AlignAttConfig) -> AlignAttConfig:
    """Return the settings of the English translation beside a text with these."""
    return replace(
        config,
        task="translate",
        decoder_type="greedy" if config.english_beam_size == 1 else "beam",
        beam_size=config.english_beam_size,
        # In the language spoken, in which the decoder would go on. Terms are not: names are the same in English.
        init_prompt="",
        static_init_prompt="",
    )


def _timed(update: PassUpdate, watch: Stopwatch) -> PassUpdate:
    """Return the update of a pass that is over, with what it took, and log that."""
    timing = replace(update.timing, commit_s=watch.lap(), total_s=watch.total())
    if logger.isEnabledFor(logging.DEBUG):
        for stage, stage_s in timing.stages():
            logger.debug("%s %.3f ms", stage, 1000 * stage_s)
    return replace(update, timing=timing)
