"""Which language is spoken, from the decoder's own prediction of the language token.

Measured with `base` at the beginning of 107 recordings in 11 languages, as the rule below asks for it: after 1.0 s of
audio a language is clear for 48, after 1.3 s for 60 of 105, after 1.6 s for 75 of 102, and after 2.0 s for 82 of 98,
of which one is wrong. Names and pauses mislead single passes, up to 0.96. So passes are averaged until one language is
clear, the text decides where none becomes so, and later speech may revise an early decision. With an earlier form of
this rule, the language was never changed by mistake in 264 later utterances, and words waited in 31; eight of ten
utterances that followed another language changed it. As it stands, 1.6 s of audio are enough for 76 of 88 recordings in
nine languages, of which one is wrong (Japanese, taken for Korean), and 1.2 s for 50 of 89, of which two are wrong.

Inside an utterance a change is heard in the newest features alone: in 24 joined pairs of clips the newest three seconds
of a window told the language of the second clip for all, the whole window for nine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, Samples
from simul_whisper.pieces import Pieces
from simul_whisper.reading import EncodedWindow, Prompt, begun
from simul_whisper.search import BeamSearch, SearchResult, log_softmax, probability_of
from simul_whisper.tokenizer import Tokenizer

_CLEAR = 0.9
# At first: the seconds of speech, and what is clear enough after so many.
_FIRST_CLEAR = (0.75, 1.0, 1.5), (0.97, 0.8, 0.65)
_LIKELY = 0.5
_LIKELY_IN_FULL = 0.4
# Below this, the language known so far is not written until more has been heard.
_DOUBTFUL = 0.1
_SILENT = 0.7
_SPEECH_PART = 0.5
_DECIDES_S = 2.0
# How much rarer a language is expected for each that Whisper had more speech of: in a second it hears the rarest.
_RARER = 0.1
_SETTLES_S = 8.0
# In an utterance after others: the least speech that confirms their language, that changes it, that need not wait.
_CONFIRMS_S, _CHANGES_S, _WAITS_S = 0.5, 1.5, 3.0
# Inside an utterance: how much of its end is heard by itself, and what changes the language, twice running.
_NEWEST_S, _NEWEST_SPEECH_S, _CHANGED = 3.0, 2.0, 0.95
_BLOCK_SAMPLES = SAMPLE_RATE // 4
_LOUD_PART = 0.1
_OF_EARLIER = np.float32(0.5)
_N_CANDIDATES = 3
_LONGEST_TEXT = 60
# A wrong language costs every token; and a fluent English translation, which Whisper also writes, costs few.
_OF_TEXT = 0.5


@dataclass(frozen=True)
class Heard:
    """What one pass heard: float32 (n_languages,), log-probabilities; how much audio there was, and speech in it.

    is_full: the window is as long as it gets, and its oldest audio goes next, whether it was written down or not.
    """

    logprobs: NDArray[np.float32]
    audio_s: float
    speech_s: float
    is_full: bool = False


class _Stage(Enum):
    GIVEN = "given"
    OPEN = "open"
    EARLY = "early"
    INHERITED = "inherited"
    SETTLED = "settled"


class LanguageRule:
    """The rule of one listener. languages: codes of those that may be spoken; of one, nothing need be detected.

    language: None while undecided; is_doubtful: what is heard contradicts it, so nothing should be written in it yet.
    """

    def __init__(self, languages: Sequence[str], min_len_s: float) -> None:
        self._languages, self._min_len_s = languages, min_len_s
        given = languages[0] if len(languages) == 1 else None
        self._stage = _Stage.OPEN if given is None else _Stage.GIVEN
        self._mean: NDArray[np.float32] | None = None
        self._mean_speech_s = 0.0
        self._before = np.zeros(len(languages), np.float32)
        self._is_guess = False
        self._guess: str | None = None
        # Another language, in which the newest audio seems to be.
        self._suspected: str | None = None
        self.language = given
        self.is_doubtful = False

    @property
    def is_settled(self) -> bool:
        """Whether the language is known, and may yet change inside the utterance."""
        return self._stage is _Stage.SETTLED

    @property
    def is_unsure(self) -> bool:
        """Whether the last pass of the utterance may yet choose another language by its text."""
        return self._stage is _Stage.EARLY and self._likeliest_probability < _CLEAR

    @property
    def is_suspicious(self) -> bool:
        """Whether the newest audio seemed to be in another language."""
        return self._suspected is not None

    @property
    def is_listening(self) -> bool:
        """Whether the next pass may change something."""
        return self._stage not in (_Stage.GIVEN, _Stage.SETTLED)

    def hear(self, heard: Heard, *, final: bool) -> list[str]:
        """Take a pass; final: the last one of the utterance.

        Returns the languages of which one must be chosen now, by `choose`: mostly none.
        """
        if self._stage is _Stage.OPEN:
            return self._hear_first(heard, final=final)
        if self._stage is _Stage.EARLY:
            return self._hear_more(heard, final=final)
        if self._stage is _Stage.INHERITED:
            self._hear_again(heard, final=final)
        return []

    def hear_newest(self, heard: Heard) -> bool:
        """Take the end of the audio, once the language is settled; whether it has changed."""
        likeliest, before = self._languages[int(heard.logprobs.argmax())], self._suspected
        is_sure = np.exp(heard.logprobs.max()) >= _CHANGED and heard.speech_s >= _NEWEST_SPEECH_S
        self._suspected = likeliest if is_sure and likeliest != self.language else None
        if self._suspected is None or self._suspected != before:
            return False
        self.language, self._suspected = likeliest, None
        return True

    def choose(self, language: str) -> None:
        """Decide what no probability was clear about."""
        self.language = language
        if self._stage is _Stage.OPEN:
            self._stage = _Stage.EARLY

    def restart(self) -> None:
        """Another utterance begins: what was guessed is open again, with what has been heard; all else is inherited."""
        if self._stage is _Stage.GIVEN or self.language is None:
            return
        if self._is_guess:
            self.language, self._guess, self._stage = None, self.language, _Stage.OPEN
            self._before = self._found * _OF_EARLIER
        else:
            self._stage = _Stage.INHERITED
            self._before = np.zeros_like(self._before)
        self._mean, self._suspected, self.is_doubtful = None, None, False

    def logprob(self, language: str) -> float:
        """Return the mean log-probability of a language over what was heard."""
        return float(self._found[self._languages.index(language)])

    def _hear_first(self, heard: Heard, *, final: bool) -> list[str]:
        is_enough = heard.audio_s >= self._min_len_s and heard.speech_s >= _SPEECH_PART * self._min_len_s
        must_decide = final or (heard.is_full and heard.speech_s >= _CONFIRMS_S)
        if must_decide and not is_enough and self._guess is not None:
            # Two words are no reason to guess anew.
            self.language = self._guess
        if not is_enough and (self.language is not None or not must_decide):
            return []
        self._add(heard)
        is_clear = is_enough and self._likeliest_probability >= np.interp(heard.speech_s, *_FIRST_CLEAR)
        self._is_guess = not is_clear and heard.speech_s < _DECIDES_S
        if is_clear:
            self.choose(self._likeliest)
            return []
        return self._candidates() if must_decide or not self._is_guess else []

    def _hear_more(self, heard: Heard, *, final: bool) -> list[str]:
        """Revise an early decision: what more speech makes clear counts, and of much speech what it makes likely.

        No window will hold more than one that is full of speech: there less is enough. What is contradicted before
        anything else is clear is open again.
        """
        if heard.speech_s < _CONFIRMS_S:
            self._stage = _Stage.SETTLED if final else self._stage
            return []
        self._add(heard)
        is_long = heard.speech_s >= _SETTLES_S
        is_much = is_long or (heard.is_full and heard.speech_s >= _WAITS_S)
        enough = _LIKELY_IN_FULL if is_long and heard.is_full else _LIKELY
        is_enough = is_much and self._likeliest_probability >= enough
        is_sure = is_enough or self._likeliest_probability >= _CLEAR
        if is_sure:
            self.language, self._is_guess = self._likeliest, False
        if is_enough or final:
            self._stage = _Stage.SETTLED
        elif not is_sure and self._is_contradicted:
            self.language, self._stage = None, _Stage.OPEN
            return self._candidates() if heard.speech_s >= _DECIDES_S else []
        return [] if is_sure or not final else self._candidates()

    def _hear_again(self, heard: Heard, *, final: bool) -> None:
        """Expect the language of the utterances before: wait where it is doubtful, change it where another is clear."""
        if final:
            self._stage = _Stage.SETTLED
        if final or heard.is_full:
            self.is_doubtful = False
        if heard.speech_s < _CONFIRMS_S:
            return
        self._add(heard)
        assert self.language is not None
        is_clear = self._likeliest_probability >= _CLEAR
        is_change = heard.speech_s >= _CHANGES_S and np.exp(heard.logprobs.max()) >= _CLEAR
        if is_clear and (is_change or self._likeliest == self.language):
            self.language, self._stage = self._likeliest, _Stage.SETTLED
        elif heard.speech_s >= _SETTLES_S:
            self._stage = _Stage.SETTLED
        may_wait = self.is_listening and heard.speech_s < _WAITS_S and not heard.is_full
        self.is_doubtful = may_wait and self._is_contradicted

    def _add(self, heard: Heard) -> None:
        """A window holds those before it: the newest counts as much as all of them, and more if it has more speech."""
        both_s = self._mean_speech_s + heard.speech_s
        part = np.float32(heard.speech_s / both_s if both_s else 0.5)
        earlier = heard.logprobs if self._mean is None else self._mean
        self._mean, self._mean_speech_s = log_softmax(earlier + (heard.logprobs - earlier) * part), heard.speech_s

    def _candidates(self) -> list[str]:
        return [self._languages[n] for n in np.argsort(-self._found)[:_N_CANDIDATES]]

    @property
    def _is_contradicted(self) -> bool:
        assert self.language is not None
        return bool(np.exp(self.logprob(self.language)) < _DOUBTFUL)

    @property
    def _found(self) -> NDArray[np.float32]:
        """Log-probabilities of all languages, after all that was heard."""
        return self._before if self._mean is None else log_softmax(self._before + self._mean)

    @property
    def _likeliest(self) -> str:
        return self._languages[int(self._found.argmax())]

    @property
    def _likeliest_probability(self) -> float:
        return float(np.exp(self._found.max()))


class LanguageDetector:
    """Hears, for one listener, which of these languages, all of them the model's, a window is in."""

    def __init__(self, tokenizer: Tokenizer, languages: Sequence[str], min_len_s: float) -> None:
        self._tokenizer = tokenizer
        paths = dict(zip(tokenizer.languages, tokenizer.language_paths, strict=True))
        self._paths = [paths[language] for language in languages] if tokenizer.multilingual else []
        self._expected, self._languages = _expected(tokenizer, languages), languages
        self._rule = LanguageRule(languages, min_len_s)
        self._search = BeamSearch(tokenizer, 1)
        # The newest audio is heard in every other pass.
        self._is_turn = False
        # Log-probabilities over all passes of the utterance, the newest half; None before the first.
        self._lately: NDArray[np.float32] | None = None

    @property
    def likeliest(self) -> str | None:
        """The likeliest language of what was heard in this utterance, decided or not; None before anything was."""
        return None if self._lately is None else self._languages[int(self._lately.argmax())]

    @property
    def language(self) -> str | None:
        return self._rule.language

    @property
    def written(self) -> str | None:
        """The language in which may be written; None while it is not known, or in doubt."""
        return None if self._rule.is_doubtful else self.language

    @property
    def is_unsure(self) -> bool:
        """Whether the last pass of the utterance may yet change the language, though nothing more was said."""
        return self._rule.is_unsure

    def restart(self) -> None:
        """Another utterance begins."""
        self._rule.restart()
        self._lately = None

    def decides(self, window: EncodedWindow, samples: Samples, *, is_full: bool, final: bool) -> Pieces[bool]:
        """Whether the window may be written down, and in `language`; False while more must be heard.

        samples: the audio of the window. is_full: the oldest audio goes next. final: nothing follows
        in this utterance.
        """
        if self._rule.is_listening:
            heard = yield from self._hear(window, samples, is_full=is_full)
            self._note(heard)
            candidates = self._rule.hear(heard, final=final)
            if candidates:
                yield from self._choose(candidates, window)
        return self.written is not None

    def glimpse(self, window: EncodedWindow, samples: Samples) -> Pieces[str]:
        """Return the likeliest language, with that of this window; nothing is decided by it."""
        self._note((yield from self._hear(window, samples, is_full=False)))
        assert self.likeliest is not None
        return self.likeliest

    def _note(self, heard: Heard) -> None:
        earlier = heard.logprobs if self._lately is None else self._lately
        self._lately = (earlier + heard.logprobs) * np.float32(0.5)

    def has_changed(self, window: EncodedWindow, samples: Samples) -> Pieces[bool]:
        """Whether the newest audio of a window, which `decides`, is in another language: `language` from now on.

        Its features are heard by themselves: they tell as well as audio that nothing came before. Not so of a decoder
        that takes nothing but whole windows.
        """
        n_frames = round(_NEWEST_S * SAMPLE_RATE / SAMPLES_PER_FRAME)
        if not self._rule.is_settled or window.limits.whole_windows or window.content_frames <= n_frames:
            return False
        self._is_turn = not self._is_turn or self._rule.is_suspicious
        if not self._is_turn:
            return False
        features = window.features[window.content_frames - n_frames :]
        newest = yield from begun(features, n_frames, window.limits)
        if newest is None:
            return False
        newest_samples = samples[len(samples) - n_frames * SAMPLES_PER_FRAME :]
        return self._rule.hear_newest((yield from self._hear(newest, newest_samples, is_full=False)))

    def _hear(self, window: EncodedWindow, samples: Samples, *, is_full: bool) -> Pieces[Heard]:
        logits = yield from self._logits(window, ())
        is_silent = probability_of(self._tokenizer.no_speech, logits) > _SILENT
        speech_s = 0.0 if is_silent else loud_s(samples)
        likely = (yield from self._logprobs(window, logits)) + self._expected
        return Heard(log_softmax(likely), len(samples) / SAMPLE_RATE, speech_s, is_full)

    def _logits(self, window: EncodedWindow, after: tuple[int, ...]) -> Pieces[NDArray[np.float32]]:
        """Return the logits of what names the language, after its first tokens."""
        answer = yield window.text([*self._tokenizer.language_prompt, *after])
        logits: NDArray[np.float32] = answer.value.logits[0, -1]
        return logits

    def _logprobs(self, window: EncodedWindow, logits: NDArray[np.float32]) -> Pieces[NDArray[np.float32]]:
        """Return the log-probabilities of all languages, but for a constant. logits: of the first token of each."""
        found = np.zeros(len(self._paths), np.float32)
        logprobs: dict[tuple[int, ...], NDArray[np.float32]] = {(): log_softmax(logits)}
        for n, path in enumerate(self._paths):
            for i, token in enumerate(path):
                if path[:i] not in logprobs:
                    logprobs[path[:i]] = log_softmax((yield from self._logits(window, path[:i])))
                found[n] += logprobs[path[:i]][token]
        return found

    def _choose(self, candidates: list[str], window: EncodedWindow) -> Pieces[None]:
        """Choose where text is likely, nonsense being unlikely. A sound that would be described is no language's.

        candidates: likeliest first.
        """
        first = yield from self._read(candidates[0], window)
        if first.described > _LIKELY:
            return
        texts = [first.best]
        for language in candidates[1:]:
            other = yield from self._read(language, window)
            texts.append(other.best)
        worths = [
            self._rule.logprob(language) + _OF_TEXT * text.logprob
            for language, text in zip(candidates, texts, strict=True)
        ]
        self._rule.choose(candidates[int(np.argmax(worths))])

    def _read(self, language: str, window: EncodedWindow) -> Pieces[SearchResult]:
        prompt = Prompt(self._tokenizer.sot_sequence(language, "transcribe"), 0, False)
        return self._search.run(window, prompt, _at_most)


def _expected(tokenizer: Tokenizer, languages: Sequence[str]) -> NDArray[np.float32]:
    """Return the log-probability, but for a constant, of each before anything is heard."""
    ranks = [tokenizer.languages.index(language) for language in languages]
    expected: NDArray[np.float32] = -np.log1p(_RARER * np.array(ranks, np.float32))
    return expected


def _at_most(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:  # noqa: ARG001
    return StopReason.LENGTH if len(tokens) >= _LONGEST_TEXT else None


def loud_s(samples: Samples) -> float:
    """Return how long samples, float32 (n,), are loud next to their loudest parts, in quarters of a second."""
    n = len(samples) - len(samples) % _BLOCK_SAMPLES
    if not n:
        return 0.0
    levels = np.sqrt(np.square(samples[:n].reshape(-1, _BLOCK_SAMPLES)).mean(axis=1))
    n_loud = int((levels > _LOUD_PART * np.quantile(levels, 0.95)).sum())
    return n_loud * _BLOCK_SAMPLES / SAMPLE_RATE
