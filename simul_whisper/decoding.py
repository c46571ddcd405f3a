"""One text of a listener, the transcript or its translation: what was committed, and what a pass over a window adds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simul_whisper.agreement import FoundAgain, placed
from simul_whisper.alignatt import AlignAttPolicy, AlignedToken, StopReason
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk
from simul_whisper.commit import CommitRule
from simul_whisper.committed_tokens import CommittedToken, CommittedTokens
from simul_whisper.config import AlignAttConfig
from simul_whisper.decoders import Limits, limits_of
from simul_whisper.draft import UNHEARD_FRAMES, WorthReading, n_worth_showing
from simul_whisper.guarded_policy import GuardedPolicy
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.loops import BEFORE_WINDOW, looped_tail, said_before
from simul_whisper.model import Model
from simul_whisper.pieces import Pieces
from simul_whisper.prompt import MAX_PROMPT_TOKENS, Context
from simul_whisper.reading import EncodedWindow, Prompt
from simul_whisper.search import BeamSearch, Hypothesis, SearchResult
from simul_whisper.terms import terms_of
from simul_whisper.timing import Stopwatch

# Positions of the decoder, mostly 448, that are kept for new tokens, and then for text before the window.
_ROOM_FOR_NEW_TOKENS = 96
_LOOP_SLACK_TOKENS = 12
_LONGEST_GUESS = 24
# Tokens that a decoder, having said all, says again before its attention jumps back.
_LONGEST_FALSE_START = 2
_LOOP_LOOKBACK_TOKENS = 96
_DISCARDING = (StopReason.NO_SPEECH, StopReason.REWIND, StopReason.LOOP)


@dataclass(frozen=True)
class TextUpdate:
    """What one pass decided of a text.

    tokens: committed now. draft: tokens that are likely to be next. n_held: how many were read and held back.
    word_end_sample: where the last word ends; None while a later token may extend it.
    prefill_s, step_s: as in `Timing`.
    """

    tokens: tuple[CommittedToken, ...]
    stop: StopReason
    draft: tuple[CommittedToken, ...] = ()
    n_held: int = 0
    word_end_sample: int | None = None
    prefill_s: float = 0.0
    step_s: tuple[float, ...] = ()


class Decoding:
    """Committed tokens read from the window, and the text before it. Raises ConfigError when the prompt is too long.

    draft: what the last pass showed beyond what it committed.
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
        self._terms = terms_of(model.tokenizer, tuple(config.terms), config.terms_boost)
        self._search = BeamSearch(model.tokenizer, config.n_beams, self._terms)
        self._commit_rule = CommitRule(config, model.tokenizer)
        self._found_again = FoundAgain(model.tokenizer)
        self.draft: tuple[CommittedToken, ...] = ()
        # Of the last pass, what was accepted and not committed: the draft is for people, and may be another.
        self._waiting: tuple[CommittedToken, ...] = ()
        # What the last glimpse since the last pass has read.
        self._glimpsed: tuple[int, ...] = ()

    def run(
        self,
        window: AudioChunk,
        encoded: EncodedWindow,
        language: str,
        until_sample: int | None = None,
        *,
        final: bool,
        at_pause: bool = False,
        drafts: bool = False,
    ) -> Pieces[TextUpdate]:
        """Read on in a window, which is `encoded`. language: the one spoken; final: nothing follows.

        at_pause: the speaker has paused where the window ends, so the last word has ended.
        until_sample: where the audio is taken to end before that, because no more of it is understood, or is this text.
        drafts: greedy search reads on to the end of the audio, for the draft.
        """
        watch = Stopwatch()
        content_frames = encoded.content_frames
        if until_sample is not None:
            content_frames = min(content_frames, (until_sample - window.start_sample) // SAMPLES_PER_FRAME)
        n_positions = self._positions(encoded.limits)
        prompt = self._prompt(language, n_positions)
        if len(prompt.tokens) >= n_positions:
            # Written by a decoder with more positions; it is cut before the next pass.
            return TextUpdate((), StopReason.LENGTH, self.draft)
        reads_all = at_pause or (final and until_sample is None)
        rule = self._stop_rule(window, content_frames, n_positions - len(prompt.tokens), reads_all=reads_all)
        if final and not reads_all:
            rule = replace(rule, policy=replace(rule.policy, frame_threshold=0))
        found = yield from watch.timed(self._read(encoded, prompt, rule, drafts=drafts))
        if not encoded.limits.is_aligned:
            found = self._placed(found, window, content_frames)
        update = self._taken(found, window, encoded, language, final=final, at_pause=at_pause)
        return replace(update, prefill_s=watch.lap() - sum(found.step_s), step_s=found.step_s)

    def glimpse(self, window: AudioChunk, encoded: EncodedWindow, language: str) -> Pieces[TextUpdate]:
        """Read a draft in a language that may prove to be another. Nothing is committed by it."""
        watch = Stopwatch()
        n_positions = self._positions(encoded.limits)
        prompt = self._prompt(language, n_positions)
        room = n_positions - len(prompt.tokens)
        if room <= 0:
            return TextUpdate((), StopReason.WAITING)
        if self._glimpsed:
            prompt = replace(prompt, guess=self._glimpsed[: min(_LONGEST_GUESS, room)])
        rule = self._stop_rule(window, encoded.content_frames, room, reads_all=False)
        found = yield from watch.timed(self._read(encoded, prompt, rule, drafts=True, commits=False))
        self._glimpsed = tuple(token.token for token in (*found.best.tokens, *found.past[:-1]))
        draft = () if self._is_silent(found) else self._shown(found.best.tokens, found, language)
        begins = self._tokenizer.is_bare and not self._committed
        update = TextUpdate((), StopReason.WAITING, _on_the_clock(draft, window.start_sample, begins=begins))
        return replace(update, prefill_s=watch.lap() - sum(found.step_s), step_s=found.step_s)

    def _read(
        self, encoded: EncodedWindow, prompt: Prompt, rule: GuardedPolicy, *, drafts: bool, commits: bool = True
    ) -> Pieces[SearchResult]:
        """commits: what is read before the edge may be committed; else it is a draft too."""
        # Where the edge is not known, all is read.
        if not drafts or not encoded.limits.is_aligned:
            return (yield from self._search.run(encoded, prompt, rule))
        before = rule if commits else WorthReading(rule, 0)
        past = replace(rule, policy=replace(rule.policy, frame_threshold=UNHEARD_FRAMES))

        def beyond(n_before: int) -> WorthReading:
            return WorthReading(past, n_before if commits else 0)

        return (yield from self._search.run(encoded, prompt, before, beyond))

    def _shown(self, held: tuple[AlignedToken, ...], found: SearchResult, language: str) -> tuple[AlignedToken, ...]:
        """Return what to show of the tokens that are held back, and of those past the edge."""
        ended = found.best.next_token
        read = (*held, *found.past) if found.past or ended is None else (*held, ended)
        n_read = len(held) + max(0, len(found.past) - 1)
        text_language = self.language_of(language)
        return read[: n_worth_showing(read, n_read, text_language, self._tokenizer)]

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
        self._found_again.forget()
        self._glimpsed, self._waiting, self.draft = (), (), ()

    def forget_context(self) -> None:
        """Forget text in another language, in which the decoder would go on."""
        self._context.forget()
        self._commit_rule.forget()

    @property
    def last_sample(self) -> int | None:
        """Where the newest token of the window was read; None when there is none."""
        return self._committed.last_sample

    @property
    def held_sample(self) -> int | None:
        """Where the first token was read that the last pass held back; None when there is none."""
        return self._waiting[0].sample if self._waiting else None

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
        if not limits_of(self._model.decoder).is_aligned:
            self._found_again.cut([*self._committed])
        self._context.scroll(self._committed.cut(sample))

    def _positions(self, limits: Limits) -> int:
        """Return how many tokens a decoder reads at most."""
        n_positions = self._model.dims.n_text_ctx
        return min(n_positions, limits.n_positions or n_positions)

    def _prompt(self, language: str, n_positions: int) -> Prompt:
        start = self._tokenizer.sot_sequence(language, self._config.task)
        text = [] if self._found_again.is_due else self._tokenizer.beginning(self._committed.tokens)
        room = n_positions - len(start) - len(text) - _ROOM_FOR_NEW_TOKENS
        context = self._context.prompt(room)
        tokens = [*context, *start, *text]
        n_guessed = min(_LONGEST_GUESS, n_positions - len(tokens))
        has_spaces = self.language_of(language) not in LANGUAGES_WITHOUT_SPACES
        return Prompt(tokens, len(context), bool(text), self._commit_rule.held[:n_guessed], has_spaces)

    def _stop_rule(self, window: AudioChunk, content_frames: int, room: int, *, reads_all: bool) -> GuardedPolicy:
        last_sample = None if self._found_again.is_due else self._committed.last_sample
        decided = max(window.start_sample, last_sample if last_sample is not None else 0)
        is_aligned = limits_of(self._model.decoder).is_aligned
        policy = AlignAttPolicy(
            content_frames=content_frames,
            frame_threshold=self._config.frame_threshold,
            rewind_threshold=self._config.rewind_threshold,
            last_frame=(decided - window.start_sample) // SAMPLES_PER_FRAME if is_aligned else 0,
            final=reads_all or not is_aligned,
        )
        undecided_s = (window.end_sample - decided) / SAMPLE_RATE
        max_tokens = _LOOP_SLACK_TOKENS + int(undecided_s * self._config.max_tokens_per_second)
        earlier = [] if self._found_again.is_due else self._earlier(window.start_sample)
        tokenizer = self._tokenizer
        return GuardedPolicy(policy, earlier, min(max_tokens, room), tokenizer.is_mark, tokenizer.starts_word)

    def _earlier(self, start_sample: int) -> list[AlignedToken]:
        """Return the text up to now, as read in a window that starts there."""
        scrolled = [AlignedToken(token, BEFORE_WINDOW, 0.0) for token in self._context.scrolled]
        committed = [
            AlignedToken(each.token, (each.sample - start_sample) // SAMPLES_PER_FRAME, each.logprob)
            for each in self._committed
        ]
        earlier = [*scrolled, *committed]
        return earlier[max(0, len(earlier) - _LOOP_LOOKBACK_TOKENS) :]

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
        """Commit what is sure of what was found, show what is likely of the rest, and return both."""
        accepted, stop = self._accepted(found, self._earlier(window.start_sample), final=final)
        following = None if stop in _DISCARDING else found.best.next_token
        n = self._commit_rule.n_committed(
            accepted,
            following,
            self.language_of(language),
            encoded.content_frames,
            at_pause=at_pause and stop is StopReason.END_OF_TEXT,
            is_aligned=encoded.limits.is_aligned,
        )
        n = len(accepted) if final else n
        next_token = accepted[n] if n < len(accepted) else following
        begins = self._tokenizer.is_bare and not self._committed
        read = _on_the_clock(accepted, window.start_sample, begins=begins)
        tokens, self._waiting, self._glimpsed = read[:n], read[n:], ()
        self._committed.commit(tokens)
        draft = () if following is None else self._shown(accepted[n:], found, language)
        self.draft = _on_the_clock(draft, window.start_sample, begins=begins and not n)
        return TextUpdate(
            tokens, stop, self.draft, len(self._waiting), word_end_sample=self._word_end(next_token, window)
        )

    def _placed(self, found: SearchResult, window: AudioChunk, content_frames: int) -> SearchResult:
        """Return what was found with tokens where they may have been read: nothing has told."""
        best, read = found.best, found.best.tokens
        if self._found_again.is_due and best.stop is StopReason.CUT_SHORT:
            return replace(found, best=replace(best, tokens=()))
        if self._found_again.is_due:
            kept, read = self._found_again.parted(read, len(self._committed))
            self._committed.cut_all()
            self._committed.commit(kept)
        tokens = placed(read, self._waiting, window, self._committed.last_sample, content_frames)
        following = best.next_token and replace(best.next_token, frame=content_frames)
        return replace(found, best=replace(best, tokens=tokens, next_token=following))

    def _is_silent(self, found: SearchResult) -> bool:
        """Whether silence, or a description of its sound, is likelier than a mean token of the window's text."""
        likely = max(self._config.nonspeech_prob, math.exp(found.best.mean_logprob))
        return max(found.no_speech, found.described) > likely

    def _accepted(
        self, found: SearchResult, earlier: Sequence[AlignedToken], *, final: bool
    ) -> tuple[tuple[AlignedToken, ...], StopReason]:
        """Return the tokens that stand, and why the pass ended."""
        best = found.best
        assert best.stop is not None
        if self._is_silent(found):
            return (), StopReason.NO_SPEECH
        if best.stop is StopReason.REWIND:
            n_restated = _n_restated(best, earlier)
            if n_restated == 0 and not final:
                return (), best.stop
            # Who says more than that again before it shows is the speaker.
            n_dropped = n_restated if n_restated <= _LONGEST_FALSE_START else 0
            return best.tokens[: max(0, len(best.tokens) - n_dropped)], best.stop
        if best.stop is StopReason.LOOP:
            self._context.forget()
            return self._without_loop(best, earlier), best.stop
        return best.tokens, best.stop

    def _without_loop(self, best: Hypothesis, earlier: Sequence[AlignedToken]) -> tuple[AlignedToken, ...]:
        """Return the tokens before the first repetition that is not heard."""
        assert best.next_token is not None
        n_repeated = looped_tail([*earlier, *best.tokens, best.next_token], self._tokenizer.is_mark)
        return best.tokens[: max(0, len(best.tokens) + 1 - n_repeated)]

    def _word_end(self, following: AlignedToken | None, window: AudioChunk) -> int | None:
        """Return the sample where the last committed word ends, if the token that follows it tells."""
        if following is None or self._tokenizer.continues_word(following.token):
            return None
        return window.start_sample + following.frame * SAMPLES_PER_FRAME


def _n_restated(best: Hypothesis, earlier: Sequence[AlignedToken]) -> int:
    """Return how many tokens, before attention jumped back to it, began the text again."""
    assert best.next_token is not None
    in_window = [each for each in earlier if each.frame != BEFORE_WINDOW]
    return said_before([*in_window, *best.tokens], best.next_token)


def _on_the_clock(tokens: tuple[AlignedToken, ...], start_sample: int, *, begins: bool) -> tuple[CommittedToken, ...]:
    """Return tokens of a window that starts there, each with the sample it was read from.

    begins: the first begins a text.
    """
    return tuple(
        CommittedToken(each.token, start_sample + each.frame * SAMPLES_PER_FRAME, each.logprob, begins and n == 0)
        for n, each in enumerate(tokens)
    )
