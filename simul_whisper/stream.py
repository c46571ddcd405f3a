"""One listener: windows of audio in, committed tokens out.

Holds what belongs to one stream and nothing that is shared: the committed tokens read from the window, and the text
before it. The caller keeps the audio, from `keep_from_sample` on. The model is only used.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simul_whisper.alignatt import WANDERING_FRAMES, AlignAttPolicy, AlignedToken, StopReason
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk
from simul_whisper.commit import CommitRule
from simul_whisper.committed_tokens import CommittedToken, CommittedTokens
from simul_whisper.config import AlignAttConfig
from simul_whisper.encoders import Features
from simul_whisper.language_detection import LanguageDetector
from simul_whisper.loops import repeated_tail, said_before
from simul_whisper.mel import log_mel
from simul_whisper.model import Model
from simul_whisper.pieces import Pieces
from simul_whisper.prompt import Context
from simul_whisper.search import BeamSearch, Hypothesis, Prompt, SearchResult
from simul_whisper.timing import Stopwatch, Timing

logger = logging.getLogger(__name__)

# Positions of the decoder's 448 that are kept for new tokens, and then for text before the window.
_ROOM_FOR_NEW_TOKENS = 96
_LOOP_SLACK_TOKENS = 12
_LONGEST_GUESS = 24
_SAME_PLACE_FRAMES = 10
_LOOP_LOOKBACK_TOKENS = 96
_DISCARDING = (StopReason.NO_SPEECH, StopReason.REWIND, StopReason.LOOP)


@dataclass(frozen=True)
class TokenUpdate:
    """What one pass decided.

    tokens: committed now. draft: tokens that would be next, but are held back. word_end_sample: where the last word
    ends; None while a later token may extend it. keep_from_sample: where the next window may start.
    """

    tokens: tuple[CommittedToken, ...]
    stop: StopReason
    draft: tuple[CommittedToken, ...]
    word_end_sample: int | None
    keep_from_sample: int
    timing: Timing


@dataclass(frozen=True)
class _StopRule:
    """AlignAtt, and the guards against text that does not come from the audio."""

    policy: AlignAttPolicy
    earlier: Sequence[int]
    max_tokens: int

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        if len(tokens) >= self.max_tokens:
            return StopReason.LENGTH
        if repeated_tail([*self.earlier, *(each.token for each in tokens), token]):
            return StopReason.LOOP
        if tokens and self._says_again(tokens, token, frame):
            return StopReason.REWIND
        return self.policy.stop(tokens, frame)

    def _says_again(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> bool:
        """Whether the decoder, having said all, begins again. People who repeat themselves do so later in the audio."""
        n_back = tokens[-1].frame - frame
        if n_back > 2 * WANDERING_FRAMES:
            return said_before([*self.earlier, *(each.token for each in tokens)], token) > 0
        same_place = range(frame - _SAME_PLACE_FRAMES, frame + _SAME_PLACE_FRAMES + 1)
        return n_back > WANDERING_FRAMES and any(each.token == token and each.frame in same_place for each in tokens)


class Stream:
    """A stream of speech. Raises ConfigError when the model lacks the language or task, or the prompt is too long."""

    def __init__(self, model: Model, config: AlignAttConfig) -> None:
        self._model, self._config, self._tokenizer = model, config, model.tokenizer
        only_language = None if model.tokenizer.multilingual else "en"
        given = only_language if config.language == "auto" else config.language
        self._detector = LanguageDetector(model.decoder, model.tokenizer, given, config.language_min_len)
        self._tokenizer.sot_sequence(self.language or "en", config.task)
        self._committed = CommittedTokens(model.tokenizer)
        self._context = Context(
            model.tokenizer, config.static_init_prompt, config.init_prompt, config.max_context_tokens
        )
        self._search = BeamSearch(model.decoder, model.tokenizer, config.n_beams)
        self._longest_samples = config.max_samples - round(config.segment_length * SAMPLE_RATE)
        self._written_language: str | None = None
        self._silence_frames = math.ceil(config.padding_len * SAMPLE_RATE / SAMPLES_PER_FRAME)
        self._commit_rule = CommitRule(config, model.tokenizer, model.dims.n_audio_state)

    def process(self, window: AudioChunk, *, final: bool) -> Pieces[TokenUpdate]:
        """Decode a window, contiguous audio of at most `audio_max_len` from at most the last `keep_from_sample` on.

        `final`: nothing follows, so everything is committed.
        """
        watch = Stopwatch()
        mel = log_mel(window.samples, self._model.dims.n_mels, self._padding_samples(len(window.samples)))
        mel_s = watch.lap()
        # The encoder is at its best in windows as long as those it was trained on; the decoder needs less silence.
        features = self._model.encoder.encode(mel)[: mel.content_frames + self._silence_frames]
        encode_s = watch.lap()
        with watch.paused():
            yield
        hearing = self._hears_language(features, mel.content_frames, window, final=final)
        may_write = yield from watch.without_pauses(hearing)
        timing = Timing(mel_s=mel_s, encode_s=encode_s, language_s=watch.lap(), windows=1)
        if not may_write:
            waiting = TokenUpdate((), StopReason.WAITING, (), None, self._keep_from(window), timing)
            return _timed(waiting, watch)
        rule = self._stop_rule(window, mel.content_frames, final=final)
        search = self._search.run(features, mel.content_frames, self._prompt(), rule)
        found = yield from watch.without_pauses(search)
        timing = replace(timing, prefill_s=watch.lap() - sum(found.step_s), step_s=found.step_s)
        accepted, stop = self._accepted(found, final=final)
        following = None if stop in _DISCARDING else found.best.next_token
        n = self._commit_rule.n_committed(accepted, following, self.text_language, features, mel.content_frames)
        n = len(accepted) if final else n
        next_token = accepted[n] if n < len(accepted) else following
        decided = TokenUpdate(
            tokens=self._commit(accepted[:n], window.start_sample),
            stop=stop,
            draft=_on_the_clock(accepted[n:], window.start_sample),
            word_end_sample=self._word_end(next_token, window),
            keep_from_sample=self._keep_from(window),
            timing=timing,
        )
        return _timed(decided, watch)

    @property
    def language(self) -> str | None:
        """The language spoken; None until it is known."""
        return self._detector.language

    @property
    def text_language(self) -> str | None:
        """The language of the text, which decides where words part; None until it is known."""
        return "en" if self._config.task == "translate" else self.language

    def restart(self) -> None:
        """Begin a new utterance: the text of the window becomes context, and the language may prove to be another."""
        self._context.scroll(self._committed.cut_all())
        self._detector.restart()
        self._commit_rule.forget()

    def _padding_samples(self, n_samples: int) -> int:
        """Return how much silence follows: to whole seconds, because encoders keep memory for each length they meet."""
        shortest = round(self._config.window_min_len * SAMPLE_RATE)
        padding = max(round(self._config.padding_len * SAMPLE_RATE), shortest - n_samples)
        return padding + -(n_samples + padding) % SAMPLE_RATE

    def _hears_language(
        self, features: Features, content_frames: int, window: AudioChunk, *, final: bool
    ) -> Pieces[bool]:
        """Detect the language unless it is known; False while there is too little audio to tell."""
        may_write = yield from self._detector.decides(
            features, content_frames, window.samples, is_full=self._is_full(window), final=final
        )
        if may_write:
            if self._written_language not in (None, self.language):
                # Text in another language makes the decoder go on in that.
                self._context.forget()
                self._commit_rule.forget()
            self._written_language = self.language
        return may_write

    def _prompt(self) -> Prompt:
        assert self.language is not None
        start = self._tokenizer.sot_sequence(self.language, self._config.task)
        text = self._committed.tokens
        room = self._model.dims.n_text_ctx - len(start) - len(text) - _ROOM_FOR_NEW_TOKENS
        context = self._context.prompt(room)
        tokens = [*context, *start, *text]
        n_guessed = min(_LONGEST_GUESS, self._model.dims.n_text_ctx - len(tokens)) if self._config.n_beams == 1 else 0
        return Prompt(tokens, len(context), bool(text), self._commit_rule.held[:n_guessed])

    def _stop_rule(self, window: AudioChunk, content_frames: int, *, final: bool) -> _StopRule:
        last_sample = self._committed.last_sample
        decided = max(window.start_sample, last_sample if last_sample is not None else 0)
        policy = AlignAttPolicy(
            content_frames=content_frames,
            frame_threshold=self._config.frame_threshold,
            rewind_threshold=self._config.rewind_threshold,
            last_frame=(decided - window.start_sample) // SAMPLES_PER_FRAME,
            final=final,
        )
        undecided_s = (window.end_sample - decided) / SAMPLE_RATE
        max_tokens = _LOOP_SLACK_TOKENS + int(undecided_s * self._config.max_tokens_per_second)
        n_prompt = len(self._prompt().tokens)
        earlier = [*self._context.scrolled, *self._committed.tokens]
        return _StopRule(
            policy,
            earlier[max(0, len(earlier) - _LOOP_LOOKBACK_TOKENS) :],
            min(max_tokens, self._model.dims.n_text_ctx - n_prompt),
        )

    def _accepted(self, found: SearchResult, *, final: bool) -> tuple[tuple[AlignedToken, ...], StopReason]:
        """Return the tokens that stand, and why the pass ended."""
        best = found.best
        assert best.stop is not None
        # A window is silent when that, or a description of its sound, is likelier than a mean token of its text.
        if max(found.no_speech, found.described) > max(self._config.nonspeech_prob, math.exp(best.mean_logprob)):
            return (), StopReason.NO_SPEECH
        if best.stop is StopReason.REWIND:
            n_restated = self._n_restated(best)
            keeps = final or n_restated > 0
            return best.tokens[: max(0, len(best.tokens) - n_restated)] if keeps else (), best.stop
        if best.stop is StopReason.LOOP:
            kept = self._without_loop(best)
            self._context.forget()
            return kept, best.stop
        return best.tokens, best.stop

    def _without_loop(self, best: Hypothesis) -> tuple[AlignedToken, ...]:
        """Return the tokens before the first repetition."""
        assert best.next_token is not None
        earlier = [*self._context.scrolled, *self._committed.tokens]
        text = [*earlier, *(token.token for token in best.tokens), best.next_token.token]
        n_repeated = repeated_tail(text[max(0, len(text) - _LOOP_LOOKBACK_TOKENS) :])
        return best.tokens[: max(0, len(best.tokens) + 1 - n_repeated)]

    def _n_restated(self, best: Hypothesis) -> int:
        """Return how many tokens, before attention jumped back to it, began the text again."""
        assert best.next_token is not None
        text = [*self._committed.tokens, *(token.token for token in best.tokens)]
        return said_before(text, best.next_token.token)

    def _word_end(self, following: AlignedToken | None, window: AudioChunk) -> int | None:
        """Return the sample where the last committed word ends, if the token that follows it tells."""
        if following is None or self._tokenizer.continues_word(following.token):
            return None
        return window.start_sample + following.frame * SAMPLES_PER_FRAME

    def _commit(self, tokens: tuple[AlignedToken, ...], start_sample: int) -> tuple[CommittedToken, ...]:
        entries = _on_the_clock(tokens, start_sample)
        self._committed.commit(entries)
        return entries

    def _is_full(self, window: AudioChunk) -> bool:
        """Whether the next window would be too long."""
        return len(window.samples) > self._longest_samples

    def _keep_from(self, window: AudioChunk) -> int:
        """Let go of the oldest audio and its words once the window is full; return what to keep from."""
        if not self._is_full(window):
            return window.start_sample
        latest = window.end_sample - self._config.max_samples // 3
        keep_from = self._committed.best_cut(window.end_sample - self._longest_samples, latest)
        self._context.scroll(self._committed.cut(keep_from))
        return keep_from


def _timed(update: TokenUpdate, watch: Stopwatch) -> TokenUpdate:
    """Return the update of a pass that is over, with what it took, and log that."""
    timing = replace(update.timing, commit_s=watch.lap(), total_s=watch.total())
    if logger.isEnabledFor(logging.DEBUG):
        for stage, stage_s in timing.stages():
            logger.debug("%s %.3f ms", stage, 1000 * stage_s)
    return replace(update, timing=timing)


def _on_the_clock(tokens: tuple[AlignedToken, ...], start_sample: int) -> tuple[CommittedToken, ...]:
    """Return tokens of a window that starts there, each with the sample it was read from."""
    return tuple(
        CommittedToken(each.token, start_sample + each.frame * SAMPLES_PER_FRAME, each.logprob) for each in tokens
    )
