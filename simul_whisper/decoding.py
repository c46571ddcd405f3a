"""One text of a listener, the transcript or its translation: what was committed, and what a pass over a window adds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simul_whisper.alignatt import WANDERING_FRAMES, AlignAttPolicy, AlignedToken, StopReason
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk
from simul_whisper.commit import CommitRule
from simul_whisper.committed_tokens import CommittedToken, CommittedTokens
from simul_whisper.config import AlignAttConfig
from simul_whisper.decoders import Limits, limits_of
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.loops import repeated_tail, said_before
from simul_whisper.model import Model
from simul_whisper.pieces import Pieces
from simul_whisper.prompt import MAX_PROMPT_TOKENS, Context
from simul_whisper.search import BeamSearch, EncodedWindow, Hypothesis, Prompt, SearchResult
from simul_whisper.terms import Terms
from simul_whisper.timing import Stopwatch

# Positions of the decoder, mostly 448, that are kept for new tokens, and then for text before the window.
_ROOM_FOR_NEW_TOKENS = 96
_LOOP_SLACK_TOKENS = 12
_LONGEST_GUESS = 24
_SAME_PLACE_FRAMES = 10
_LOOP_LOOKBACK_TOKENS = 96
_DISCARDING = (StopReason.NO_SPEECH, StopReason.REWIND, StopReason.LOOP)


@dataclass(frozen=True)
class TextUpdate:
    """What one pass decided of a text.

    tokens: committed now. draft: tokens that would be next, but are held back. word_end_sample: where the last word
    ends; None while a later token may extend it. prefill_s, step_s: as in `Timing`.
    """

    tokens: tuple[CommittedToken, ...]
    stop: StopReason
    draft: tuple[CommittedToken, ...] = ()
    word_end_sample: int | None = None
    prefill_s: float = 0.0
    step_s: tuple[float, ...] = ()


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


class Decoding:
    """Committed tokens read from the window, and the text before it. Raises ConfigError when the prompt is too long.

    draft: what the last pass held back.
    """

    def __init__(self, model: Model, config: AlignAttConfig) -> None:
        self._config, self._tokenizer, self._model = config, model.tokenizer, model
        self._committed = CommittedTokens(model.tokenizer)
        self._context = Context(
            model.tokenizer,
            config.static_init_prompt,
            config.init_prompt,
            config.max_context_tokens,
            min(MAX_PROMPT_TOKENS, self._positions(limits_of(model.decoder)) // 2 - 1),
        )
        terms = Terms(model.tokenizer, config.terms, config.terms_boost)
        self._search = BeamSearch(model.decoder, model.tokenizer, config.n_beams, terms)
        self._commit_rule = CommitRule(config, model.tokenizer, model.dims.n_audio_state)
        self.draft: tuple[CommittedToken, ...] = ()
        # Of the last pass, what was accepted and not committed: the draft is for people, and may be another.
        self._waiting: tuple[CommittedToken, ...] = ()

    def run(
        self,
        window: AudioChunk,
        encoded: EncodedWindow,
        language: str,
        until_sample: int | None = None,
        *,
        final: bool,
        at_pause: bool = False,
    ) -> Pieces[TextUpdate]:
        """Read on in a window, which is `encoded`. language: the one spoken; final: nothing follows.

        at_pause: the speaker has paused where the window ends, so the last word has ended.
        until_sample: where the audio is taken to end before that, because no more of it is understood.
        """
        watch = Stopwatch()
        content_frames = encoded.content_frames
        if until_sample is not None and not final:
            content_frames = min(content_frames, (until_sample - window.start_sample) // SAMPLES_PER_FRAME)
        n_positions = self._positions(encoded.limits)
        prompt = self._prompt(language, n_positions)
        if len(prompt.tokens) >= n_positions:
            # Written by a decoder with more positions; it is cut before the next pass.
            return TextUpdate((), StopReason.LENGTH, self.draft)
        rule = self._stop_rule(window, content_frames, n_positions - len(prompt.tokens), reads_all=final or at_pause)
        found = yield from watch.without_pauses(self._search.run(encoded, prompt, rule))
        update = self._taken(found, window, encoded, language, final=final, at_pause=at_pause)
        return replace(update, prefill_s=watch.lap() - sum(found.step_s), step_s=found.step_s)

    def language_of(self, spoken: str | None) -> str | None:
        """Return the language of the text, which decides where words part."""
        return "en" if self._config.task == "translate" else spoken

    def conclude(self) -> TextUpdate:
        """Commit what the last pass accepted and held back."""
        self._committed.commit(self._waiting)
        self._commit_rule.forget()
        self.draft = ()
        return TextUpdate(self._waiting, StopReason.END_OF_TEXT)

    def adopt(self, update: TextUpdate) -> None:
        """Take what a pass decided for its own: another text is, here, what this one would be."""
        self._committed.commit(update.tokens)
        self.draft = update.draft
        self._commit_rule.forget()

    def restart(self) -> None:
        """Begin a new utterance: the text of the window becomes context."""
        self._context.scroll(self._committed.cut_all())
        self._commit_rule.forget()
        self.draft = ()

    def forget_context(self) -> None:
        """Forget text in another language, in which the decoder would go on."""
        self._context.forget()
        self._commit_rule.forget()

    @property
    def last_sample(self) -> int | None:
        """Where the newest token of the window was read; None when there is none."""
        return self._committed.last_sample

    @property
    def crowded(self) -> tuple[int, int] | None:
        """Where the later half of a text begins and ends that leaves no room for new words; None when there is room."""
        n_positions = self._positions(limits_of(self._model.decoder))
        room = min(_ROOM_FOR_NEW_TOKENS, n_positions // 2)
        return self._committed.later_half() if len(self._committed) > n_positions - room else None

    def best_cut(self, earliest: int, latest: int, preferably_before: int | None) -> int:
        """As of `CommittedTokens`."""
        return self._committed.best_cut(earliest, latest, preferably_before)

    def cut(self, sample: int) -> None:
        """Let go of the words read before `sample`, which become context."""
        self._context.scroll(self._committed.cut(sample))

    def _positions(self, limits: Limits) -> int:
        """Return how many tokens a decoder reads at most."""
        n_positions = self._model.dims.n_text_ctx
        return min(n_positions, limits.n_positions or n_positions)

    def _prompt(self, language: str, n_positions: int) -> Prompt:
        start = self._tokenizer.sot_sequence(language, self._config.task)
        text = self._committed.tokens
        room = n_positions - len(start) - len(text) - _ROOM_FOR_NEW_TOKENS
        context = self._context.prompt(room)
        tokens = [*context, *start, *text]
        n_guessed = min(_LONGEST_GUESS, n_positions - len(tokens)) if self._config.n_beams == 1 else 0
        has_spaces = self.language_of(language) not in LANGUAGES_WITHOUT_SPACES
        return Prompt(tokens, len(context), bool(text), self._commit_rule.held[:n_guessed], has_spaces)

    def _stop_rule(self, window: AudioChunk, content_frames: int, room: int, *, reads_all: bool) -> _StopRule:
        last_sample = self._committed.last_sample
        decided = max(window.start_sample, last_sample if last_sample is not None else 0)
        policy = AlignAttPolicy(
            content_frames=content_frames,
            frame_threshold=self._config.frame_threshold,
            rewind_threshold=self._config.rewind_threshold,
            last_frame=(decided - window.start_sample) // SAMPLES_PER_FRAME,
            final=reads_all,
        )
        undecided_s = (window.end_sample - decided) / SAMPLE_RATE
        max_tokens = _LOOP_SLACK_TOKENS + int(undecided_s * self._config.max_tokens_per_second)
        earlier = [*self._context.scrolled, *self._committed.tokens]
        return _StopRule(
            policy,
            earlier[max(0, len(earlier) - _LOOP_LOOKBACK_TOKENS) :],
            min(max_tokens, room),
        )

    def _taken(
        self,
        found: SearchResult,
        window: AudioChunk,
        encoded: EncodedWindow,
        language: str,
        *,
        final: bool,
        at_pause: bool,
    ) -> TextUpdate:
        """Commit what is sure of what was found, keep the rest as the draft, and return both."""
        accepted, stop = self._accepted(found, final=final)
        following = None if stop in _DISCARDING else found.best.next_token
        n = self._commit_rule.n_committed(
            accepted,
            following,
            self.language_of(language),
            encoded.features,
            encoded.content_frames,
            at_pause=at_pause and stop is StopReason.END_OF_TEXT,
        )
        n = len(accepted) if final else n
        next_token = accepted[n] if n < len(accepted) else following
        tokens = _on_the_clock(accepted[:n], window.start_sample)
        self._committed.commit(tokens)
        self.draft = self._waiting = _on_the_clock(accepted[n:], window.start_sample)
        return TextUpdate(tokens, stop, self.draft, word_end_sample=self._word_end(next_token, window))

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


def _on_the_clock(tokens: tuple[AlignedToken, ...], start_sample: int) -> tuple[CommittedToken, ...]:
    """Return tokens of a window that starts there, each with the sample it was read from."""
    return tuple(
        CommittedToken(each.token, start_sample + each.frame * SAMPLES_PER_FRAME, each.logprob) for each in tokens
    )
