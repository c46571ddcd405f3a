"""The engine as apps embed it: audio in, committed words out."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Event

import numpy as np

from simul_whisper.alignatt import StopReason
from simul_whisper.audio import SAMPLE_RATE, AudioChunk, Samples, as_samples
from simul_whisper.config import AlignAttConfig
from simul_whisper.errors import AudioFormatError, ConfigError
from simul_whisper.fallback import BackendStatus
from simul_whisper.model import Model, ModelInfo, load_model
from simul_whisper.pieces import Pieces, finished
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.stream import PassUpdate, Stream
from simul_whisper.timing import Timing
from simul_whisper.transcript import BackendChange, Transcript, Update
from simul_whisper.word import Word


class PaddedAlignAttWhisper:
    """One listener. Insert audio as it comes, call `infer` when words are wanted; one thread at a time.

    config: a snapshot is kept. model: share one among listeners by passing `load_model(config)` or another
    listener's `.model`; loaded when not given, with `progress`. drafts: also read what may not be committed yet, for
    `Update.draft`, which costs some steps of the decoder; without, only what was held back stands there.
    Raises ConfigError, ModelError or BackendError.
    """

    def __init__(
        self,
        config: AlignAttConfig | None = None,
        model: Model | None = None,
        progress: ProgressHandler = silent,
        *,
        drafts: bool = True,
    ) -> None:
        self._drafts = drafts
        self._config = (config or AlignAttConfig()).validated()
        self.model = model or load_model(self._config, progress)
        self._stream = Stream(self.model, self._config)
        self._transcript = Transcript(self.model.tokenizer)
        self._translation = Transcript(self.model.tokenizer)
        self._last_translated: list[Word] = []
        self.choose_targets(self._config.targets)
        self._window = AudioChunk(np.zeros(0, np.float32), 0)
        self._pending: list[Samples] = []
        self._ended = True
        self._statuses = self.model.encoder.status, self.model.decoder.status

    @property
    def info(self) -> ModelInfo:
        """What runs where."""
        return self.model.info

    @property
    def language(self) -> str | None:
        """The language spoken; None until it has been detected."""
        return self._stream.language

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Translate, from the next pass on, into these languages: English or none; the others need a translator.

        Raises ConfigError.
        """
        targets = replace(self._config, targets=targets).validated().targets
        others = [target for target in targets if target != "en"]
        if others:
            raise ConfigError(
                f"got the target {others[0]}, but Whisper itself translates into English only; "
                "other languages need a translator of text"
            )
        self._stream.translate(wanted=bool(targets))

    def warmup(self, cancelled: Event | None = None) -> ModelInfo:
        """Get the model ready for the first window, as `Model.warmup` says; the session can be used at any time."""
        return self.model.warmup(cancelled)

    def insert_audio(self, samples: Samples) -> None:
        """Take mono samples at 16 kHz, float32 (n,) in [-1, 1], any n. Raises AudioFormatError."""
        piece = as_samples(samples)
        if len(piece):
            self._pending.append(piece.copy())
            self._ended = False

    def infer(self, is_last: bool = False, at_pause: bool = False) -> Update:
        """Decode what has been inserted and return what may be committed now; with `is_last`, all of it.

        at_pause: the speaker has paused at the end of this audio, so the last word has ended; more may follow.
        More audio than a window holds is decoded in several windows.
        """
        return finished(self.inference(is_last, at_pause), self.model.answer)

    def inference(self, is_last: bool = False, at_pause: bool = False) -> Pieces[Update]:
        """Do what `infer` does, in pieces: runs of the encoder, steps of the decoder. The result is the same.

        Each is asked for, and `Model.answer` answers. Between them other listeners may have their turn; here nothing
        may be called but, to give it up, `refresh_segment`. Cut short, a pass ends with what it has read, and its
        reason is CUT_SHORT.
        """
        passes: list[PassUpdate] = []
        words, translation = list[Word](), list[Word]()
        while self._has_work(is_last=is_last):
            self._fill_window()
            self._ended = is_last and not self._pending
            ends_at_pause = at_pause and not self._pending
            found = yield from self._stream.process(
                self._window, final=self._ended, at_pause=ends_at_pause, drafts=self._drafts
            )
            words += self._transcript.feed(found.text.tokens, self._stream.text_language, found.text.word_end_sample)
            if found.translation:
                told = found.translation
                translation += self._translation.feed(told.tokens, "en", told.word_end_sample)
            if found.ends_text:
                words += self._transcript.end()
                translation += self._translation.end()
            self._let_go(found.keep_from_sample)
            passes.append(found)
        if is_last:
            words += self._transcript.end()
            translation += self._translation.end()
        translation, self._last_translated = [*self._last_translated, *translation], []
        return self._update(words, translation, passes, is_last=is_last)

    def glimpse(self) -> Pieces[Update]:
        """Read a draft of what has been inserted, in a window with little silence, which costs less than `inference`.

        Nothing is committed, and what comes later is as without it.
        """
        room = self._config.max_samples
        samples = np.concatenate([self._window.samples, *self._pending])[:room]
        found = yield from self._stream.glimpse(AudioChunk(samples, self._window.start_sample))
        return self._update([], [], [found], is_last=False)

    def refresh_segment(self, start_sample: int | None = None) -> tuple[Word, ...]:
        """Begin the next utterance: the text so far becomes context, the clock goes on.

        start_sample: where on the clock the next audio stands, when audio between is left out; by default it follows
        the audio inserted so far. Audio that `infer(is_last=True)` has not decoded is given up. A language detected
        without certainty, because the utterance was short, is detected anew; one that was certain may still change.
        Returns the last word, if it was committed and `infer` has not returned it, because it might have gone on.
        Raises AudioFormatError for a position before the end of the audio inserted so far.
        """
        end_sample = self._window.end_sample + self._n_pending
        if start_sample is not None and start_sample < end_sample:
            raise AudioFormatError(
                f"got start_sample {start_sample}, expected at least {end_sample}, where the audio inserted so far ends"
            )
        self._stream.restart()
        # It is told with the next translation.
        self._last_translated += self._translation.end()
        self._window = AudioChunk(np.zeros(0, np.float32), end_sample if start_sample is None else start_sample)
        self._pending.clear()
        self._ended = True
        return tuple(self._transcript.end())

    @property
    def _n_pending(self) -> int:
        return sum(len(piece) for piece in self._pending)

    def _has_work(self, *, is_last: bool) -> bool:
        if is_last:
            return not self._ended
        available = len(self._window.samples) + self._n_pending
        return bool(self._pending) and available >= self._config.audio_min_len * SAMPLE_RATE

    def _fill_window(self) -> None:
        """Move pending audio into the window, as much as it holds."""
        pending = np.concatenate([np.zeros(0, np.float32), *self._pending])
        room = self._config.max_samples - len(self._window.samples)
        samples = np.concatenate([self._window.samples, pending[:room]])
        self._window = AudioChunk(samples, self._window.start_sample)
        self._pending = [pending[room:]] if len(pending) > room else []

    def _let_go(self, keep_from_sample: int) -> None:
        """Drop the audio before `keep_from_sample`."""
        n_dropped = keep_from_sample - self._window.start_sample
        self._window = AudioChunk(self._window.samples[n_dropped:], keep_from_sample)

    def _update(self, words: list[Word], translation: list[Word], passes: list[PassUpdate], *, is_last: bool) -> Update:
        draft, draft_translation = list[Word](), list[Word]()
        if passes:
            last = passes[-1]
            draft = self._transcript.preview(last.text.draft, last.draft_language)
            draft_translation = self._translation.preview(last.translation.draft, "en") if last.translation else []
        encoder_change, decoder_change = self._changes()
        return Update(
            words=tuple(words),
            draft="".join(word.text for word in draft),
            draft_words=tuple(draft),
            translation=tuple(translation),
            draft_translation=tuple(draft_translation),
            stop=_stop(passes),
            language=self.language,
            audio_end_s=self._window.end_sample / SAMPLE_RATE,
            keep_from_sample=self._window.start_sample,
            is_last=is_last,
            encoder_change=encoder_change,
            decoder_change=decoder_change,
            timing=Timing.sum_of(each.timing for each in passes),
        )

    def _changes(self) -> tuple[BackendChange | None, BackendChange | None]:
        """Return how encoder and decoder have changed since this was last called."""
        before = self._statuses
        self._statuses = self.model.encoder.status, self.model.decoder.status
        encoder, decoder = (_change(*each) for each in zip(before, self._statuses, strict=True))
        return encoder, decoder


def _change(before: BackendStatus, now: BackendStatus) -> BackendChange | None:
    return None if before.backend == now.backend else BackendChange(before.backend, now.backend, now.reason)


def _stop(passes: Sequence[PassUpdate]) -> StopReason:
    """Return why the last pass ended, or that one of them was cut short, in either text."""
    texts = [text for each in passes for text in (each.text, each.translation) if text]
    if any(text.stop is StopReason.CUT_SHORT for text in texts):
        return StopReason.CUT_SHORT
    return passes[-1].text.stop if passes else StopReason.WAITING
