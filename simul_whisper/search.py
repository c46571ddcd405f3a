"""Logit filters, and beam search under AlignAtt; greedy search is a beam of one.

Every hypothesis has its own attention and so its own edge: it ends where it would have to read audio that is not there
yet, or at its end of text. The best of those that ended is the result of the pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.pieces import Pieces
from simul_whisper.reading import EncodedWindow, Prompt, Reading
from simul_whisper.terms import TermPath, Terms
from simul_whisper.timing import Stopwatch
from simul_whisper.tokenizer import Tokenizer

# Decoders read a few beams in hardly more time than one.
_MOST_DETOURS = 4
# A hypothesis so much less likely than the best, in log-probability, is given up: mostly one is left. Of 417 words in
# four languages 133 were wrong with one hypothesis, 121 with 1.0, 109 with 1.5, 111 with 2.5, 112 with all five kept.
_HOPELESS = 1.5
# Speech holds no more from the edge to the end of the audio; what goes on longer is made up.
_MOST_PAST = 8


@dataclass(frozen=True)
class Hypothesis:
    """Tokens added in this pass. Once it has ended: why, and the token that it ended before.

    boost: what the terms in it are worth, in log-probability; path: the terms that it has begun.
    """

    tokens: tuple[AlignedToken, ...] = ()
    logprob: float = 0.0
    stop: StopReason | None = None
    next_token: AlignedToken | None = None
    boost: float = 0.0
    path: TermPath = field(default_factory=TermPath)

    @property
    def mean_logprob(self) -> float:
        """Per token, an end of text included."""
        return self.logprob / max(1, len(self.tokens) + (self.stop is StopReason.END_OF_TEXT))

    @property
    def worth(self) -> float:
        """What ended hypotheses are compared by: the mean with the token each one ended before, and its terms."""
        return self.total / (len(self.tokens) + 1)

    @property
    def total(self) -> float:
        """Of which `worth` is the mean."""
        next_logprob = self.next_token.logprob if self.next_token and self.stop is not StopReason.END_OF_TEXT else 0.0
        return self.logprob + self.boost + next_logprob

    def extended(self, token: AlignedToken, path: TermPath) -> "Hypothesis":
        return replace(self, tokens=(*self.tokens, token), logprob=self.logprob + token.logprob, path=path)

    def cut_short(self) -> "Hypothesis":
        """End before the last token: nothing is known of what follows that."""
        *tokens, last = self.tokens
        return Hypothesis(tuple(tokens), self.logprob - last.logprob).ended(StopReason.CUT_SHORT, last)

    def ended(self, stop: StopReason, next_token: AlignedToken) -> "Hypothesis":
        logprob = next_token.logprob if stop is StopReason.END_OF_TEXT else 0.0
        return replace(self, stop=stop, next_token=next_token, logprob=self.logprob + logprob)


@dataclass(frozen=True)
class SearchResult:
    """The best hypothesis of a pass, and the seconds of each decoder step after the one that read the prompt.

    no_speech: the probability that the window holds no speech. described: that of describing a sound next, as in
    "[music]", if that might be written. past: what was read beyond the best one, from the token that it ended before to
    the one that ended that.
    """

    best: Hypothesis
    no_speech: float
    described: float
    step_s: tuple[float, ...]
    past: tuple[AlignedToken, ...] = ()


class StopRule(Protocol):
    """Decides whether `token`, read from `frame`, may follow `tokens`; the reason when it may not."""

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None: ...


BeyondTheEdge = Callable[[int], StopRule]
"""Return the rule of what is read past the edge, before which so many tokens were read."""


class LogitFilter:
    """Which tokens may never be written, and which not at the start of a text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._never = np.array([*tokenizer.special_tokens, *tokenizer.non_speech_tokens], np.int64)
        self._never_first = np.array(tokenizer.never_first, np.int64)
        self._describing = np.array(tokenizer.describing_tokens, np.int64)
        self._continuing = np.array(tokenizer.continuing_tokens, np.int64)

    def logprobs(self, logits: NDArray[np.float32], *, first: bool) -> NDArray[np.float32]:
        """logits: float32 (n_vocab,). Returns log-probabilities over the tokens that may be written."""
        allowed = logits.copy()
        allowed[self._never] = -np.inf
        if first:
            allowed[self._never_first] = -np.inf
        return log_softmax(allowed)

    def described(self, logits: NDArray[np.float32]) -> float:
        """Return the probability that a description of a sound would begin, if it might be written."""
        return float(np.exp(log_softmax(logits)[self._describing]).sum())

    def word_ended(self, logprobs: NDArray[np.float32]) -> float:
        """Return the probability that the next token is no further part of the word before it."""
        return 1.0 - float(np.exp(logprobs[self._continuing]).sum())


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max()
    result: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum())
    return result


def probability_of(token: int | None, logits: NDArray[np.float32]) -> float:
    """logits: float32 (n_vocab,). Return the probability of a token; 0 of none."""
    return 0.0 if token is None else float(np.exp(log_softmax(logits)[token]))


@dataclass(frozen=True)
class _Candidate:
    """Hypothesis number `beam`, extended by a token; boost, path: as the extended one has them.

    is_detour: it is only read on because of a term that it has begun.
    """

    beam: int
    token: AlignedToken
    total: float
    boost: float
    path: TermPath
    is_detour: bool


@dataclass
class _Beams:
    """Hypotheses under way, those that have ended, and detours, which are under way only until a term is written.

    Detours take nobody's place: where none comes to the end of a term, the text is the one without terms.
    latest: those that ended last, each with the number of the decoder's beam that it ended in.
    """

    live: list[Hypothesis]
    ended: list[Hypothesis] = field(default_factory=list)
    detours: list[Hypothesis] = field(default_factory=list)
    latest: list[tuple[Hypothesis, int]] = field(default_factory=list)

    @property
    def read(self) -> list[Hypothesis]:
        """All that is under way, in the order of the decoder's beams."""
        return [*self.live, *self.detours]

    def end(self, hypothesis: Hypothesis, beam: int) -> None:
        self.ended.append(hypothesis)
        self.latest.append((hypothesis, beam))


class BeamSearch:
    """Searches the continuation of a prompt over one window; greedy when `n_beams` is one."""

    def __init__(self, tokenizer: Tokenizer, n_beams: int, terms: Terms | None = None) -> None:
        self._tokenizer, self._n_beams = tokenizer, n_beams
        self._terms = terms or Terms(tokenizer, (), 0)
        self._filter = LogitFilter(tokenizer)

    def run(
        self, window: EncodedWindow, prompt: Prompt, stop: StopRule, beyond: BeyondTheEdge | None = None
    ) -> Pieces[SearchResult]:
        """Read on in a window.

        beyond: where the best hypothesis ends at the edge, it is read on, greedily, until this rule stops.
        Cut short, each hypothesis stands as far as it has come.
        """
        watch, reading = Stopwatch(), Reading(window, prompt)
        yield from watch.timed(reading.begin())
        no_speech = probability_of(self._tokenizer.no_speech, reading.start_logits)
        described = self._filter.described(reading.logits[0])
        # Of the prompt, and of each step after it; choosing what follows is a part of either.
        spent_s = [0.0]
        path = self._terms.at(prompt.tokens[prompt.sot_index :], has_spaces=prompt.has_spaces)
        beams, first = _Beams([Hypothesis(path=path)]), not prompt.has_text
        while True:
            parents = self._extend(beams, self._candidates(beams, reading, prompt, first=first), stop)
            spent_s[-1] += watch.lap()
            if not parents:
                break
            if reading.is_cut_short:
                beams.ended += [hypothesis.cut_short() for hypothesis in beams.live]
                beyond = None
                break
            tokens = [hypothesis.tokens[-1].token for hypothesis in beams.read]
            if (yield from watch.timed(reading.go_on(tokens, parents))):
                spent_s.append(0.0)
            first = False
        best, past = self._best(beams.ended), tuple[AlignedToken, ...]()
        if beyond and best.stop is StopReason.EDGE:
            past = yield from watch.timed(self._past(reading, beams, best, beyond(len(best.tokens))))
            spent_s.append(watch.lap())
        return SearchResult(best, no_speech, described, tuple(spent_s[1:]), past)

    def _past(
        self, reading: Reading, beams: _Beams, best: Hypothesis, beyond: StopRule
    ) -> Pieces[tuple[AlignedToken, ...]]:
        """Read the best hypothesis on, and return what follows it."""
        assert best.next_token is not None
        beam = next((beam for hypothesis, beam in beams.latest if hypothesis is best), None)
        read, token = list[AlignedToken](), best.next_token
        while not (self._is_last(best, read, token, beyond) or reading.is_cut_short):
            if beam is None:
                yield from reading.go_back([each.token for each in (*best.tokens, token)])
            else:
                yield from reading.go_on([token.token], [beam])
            read, beam = [*read, token], 0
            token = self._likeliest(reading)
        return (*read, token)

    def _is_last(self, best: Hypothesis, read: list[AlignedToken], following: AlignedToken, beyond: StopRule) -> bool:
        is_over = len(read) == _MOST_PAST or following.token == self._tokenizer.eot
        return is_over or beyond([*best.tokens, *read], following.token, following.frame) is not None

    def _likeliest(self, reading: Reading) -> AlignedToken:
        """Return the likeliest next token of the only beam."""
        logprobs = self._filter.logprobs(reading.logits[0], first=False)
        token = int(logprobs.argmax())
        return AlignedToken(token, int(reading.frames[0]), float(logprobs[token]), self._filter.word_ended(logprobs))

    def _extend(self, beams: _Beams, candidates: list[_Candidate], stop: StopRule) -> list[int]:
        """Replace all that is under way by its best extensions and return, for each, which of the old it extends."""
        read, survivors, parents = beams.read, list[Hypothesis](), list[int]()
        begun, stopped, left = set[int](), set[int](), list[_Candidate]()
        beams.latest = []
        # Where all others have ended, only what is worth more may still go on.
        weakest = None if beams.live else min(beams.ended, key=_total)
        hopeless = -np.inf
        for candidate in candidates:
            if candidate.is_detour or candidate.total < hopeless or len(survivors) == self._n_beams:
                left.append(candidate)
                continue
            if candidate.beam in stopped or (weakest and candidate.total <= weakest.total):
                continue
            parent, token = replace(read[candidate.beam], boost=candidate.boost), candidate.token
            likeliest = candidate.beam not in begun
            begun.add(candidate.beam)
            reason = StopReason.END_OF_TEXT if token.token == self._tokenizer.eot else None
            reason = reason or stop(parent.tokens, token.token, token.frame)
            if reason is not StopReason.REWIND:
                hopeless = max(hopeless, candidate.total - _HOPELESS)
            if reason is None:
                survivors.append(parent.extended(token, candidate.path))
                parents.append(candidate.beam)
            # A loop that is not the likeliest continuation is only left out.
            elif likeliest or reason is not StopReason.LOOP:
                beams.end(parent.ended(reason, token), candidate.beam)
                # Where a text is most likely over, whatever goes on is made up, however likely each word of it is.
                if likeliest or reason is not StopReason.END_OF_TEXT:
                    stopped.add(candidate.beam)
        if weakest and survivors:
            beams.ended.remove(weakest)
        elif len(beams.ended) >= self._n_beams:
            survivors, parents = [], []
        beams.live = survivors
        detours = self._detours(read, left, max(map(_total, survivors or beams.ended)), stop)
        beams.detours = [hypothesis for hypothesis, _ in detours]
        return [*parents, *(beam for _, beam in detours)]

    def _detours(
        self, read: list[Hypothesis], candidates: list[_Candidate], bar: float, stop: StopRule
    ) -> list[tuple[Hypothesis, int]]:
        """Return the most hopeful detours, each with the number of the hypothesis that it extends.

        bar: what they have to be worth, with the terms that they have begun.
        """
        found = list[tuple[Hypothesis, int]]()
        hopeful = [each for each in candidates if each.path.hope and each.total + each.path.hope > bar]
        for candidate in sorted(hopeful, key=lambda each: -(each.total + each.path.credit)):
            parent, token = replace(read[candidate.beam], boost=candidate.boost), candidate.token
            if len(found) < _MOST_DETOURS and stop(parent.tokens, token.token, token.frame) is None:
                found.append((parent.extended(token, candidate.path), candidate.beam))
        return found

    def _candidates(self, beams: _Beams, reading: Reading, prompt: Prompt, *, first: bool) -> list[_Candidate]:
        """Return the best next tokens of all hypotheses, and those of terms that they may write, best total first."""
        found = []
        for beam, hypothesis in enumerate(beams.read):
            logprobs = self._filter.logprobs(reading.logits[beam], first=first)
            word_ended = self._filter.word_ended(logprobs)
            is_detour, earned = beam >= len(beams.live), hypothesis.path.earned
            expected = self._terms.expected(hypothesis.path, logprobs, begins=not is_detour)
            best = [] if is_detour and not earned else self._best_tokens(logprobs)
            likeliest = int(logprobs.argmax())
            for token in [*best, *expected.difference(best)]:
                is_paid = earned > 0 and self._terms.ends_word(token, has_spaces=prompt.has_spaces)
                boost = hypothesis.boost + (earned if is_paid else 0.0)
                is_of_term = token not in best
                frame, logprob = int(reading.frames[beam]), float(logprobs[token])
                aligned = AlignedToken(token, frame, logprob, word_ended, is_of_term)
                path = self._terms.after(
                    hypothesis.path, token, has_spaces=prompt.has_spaces, is_likeliest=token == likeliest
                )
                is_on_detour = is_of_term or (is_detour and not is_paid)
                total = hypothesis.logprob + logprob + boost
                found.append(_Candidate(beam, aligned, total, boost, path, is_on_detour))
        return sorted(found, key=lambda candidate: -candidate.total)

    def _best_tokens(self, logprobs: NDArray[np.float32]) -> list[int]:
        # One more than there are beams, since one of them may be the end of text.
        n = 1 if self._n_beams == 1 else self._n_beams + 1
        best, left = list[int](), logprobs.copy()
        # Several times faster than to partition the vocabulary.
        for _ in range(n):
            best.append(int(left.argmax()))
            left[best[-1]] = -np.inf
        return best

    def _best(self, ended: list[Hypothesis]) -> Hypothesis:
        # Those of a greedy search are one text and detours from it, which have been compared by their totals before.
        worth = _total if self._n_beams == 1 else _worth
        return max(ended, key=lambda hypothesis: (hypothesis.stop is not StopReason.REWIND, worth(hypothesis)))


def _total(hypothesis: Hypothesis) -> float:
    return hypothesis.total


def _worth(hypothesis: Hypothesis) -> float:
    return hypothesis.worth
