"""Simultaneous translation of text: words of one listener in, words in one other language out, which never change.

The policy is AlignAtt, as for audio, with the words of the sentence in place of frames: a word of the translation is
told once it is read from words that are not among the last `source_threshold`. Where the translator does not say what
it reads, a word is told once readings of a growing sentence agree on it: two, or one more than `source_threshold`
(LocalAgreement, arXiv 2005.11185). The rest is told when the sentence is whole. No translator is called here: whoever
has one asks it what `next_request` says, and hands the answer to `take`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from simul_whisper.alignatt import AlignAttPolicy, AlignedToken
from simul_whisper.errors import TranslationError
from simul_whisper.translators import Sentence, TargetToken
from simul_whisper.translators.reading import TargetWord, n_sensible, pieces_of, words_of
from simul_whisper.translators.sentences import check_installed
from simul_whisper.translators.source import Reading, SourceSentence, is_late_punctuation
from simul_whisper.word import Word


@dataclass(frozen=True)
class Translated:
    """Words of a translation, of the speech between two times, in seconds since the start of the stream.

    The spans of a sentence follow one another without a gap; words lie within them, and none begins before the last
    one ends.
    """

    words: tuple[Word, ...]
    source_start_s: float
    source_end_s: float
    utterance: int


@dataclass(frozen=True, eq=False)
class TranslationRequest:
    """A sentence to be translated. is_draft: its last words may still change, and nothing will be told of it."""

    sentence: Sentence
    source: SourceSentence
    is_draft: bool = False

    @property
    def start_s(self) -> float:
        return self.source.words[0].start_s


class SimultaneousTranslation:
    """One target of one listener. Raises BackendError without sentencex.

    target: Whisper's code. source_threshold: words at the end of what was said from which nothing is read yet.
    draft: what would follow the words that were told; it may still change.
    """

    def __init__(self, target: str, source_threshold: int = 1) -> None:
        check_installed()
        self.target = target
        self.draft: tuple[Word, ...] = ()
        self._source_threshold = source_threshold
        # How many readings before the newest one have to agree with it.
        self._n_agreeing = max(1, source_threshold)
        # Sentences to be translated, oldest first. The last one may be open.
        self._queue: deque[SourceSentence] = deque()
        self._before: SourceSentence | None = None
        self._draft_words: tuple[Word, ...] = ()
        self._draft_utterance = 1
        self._draft_asked: Sentence | None = None
        self._heard_s = 0.0
        self._lost = list[tuple[float, float]]()

    # What is said

    def hear(self, words: Iterable[Word], utterance: int = 1) -> None:
        """Take committed words, in order. Another utterance, or another language, ends a sentence."""
        self._draft_words = ()
        for word in words:
            self._hear(word, utterance)

    def hear_draft(self, words: Sequence[Word], utterance: int = 1) -> None:
        """Take the words that follow and may still change; they replace those before."""
        self._draft_words, self._draft_utterance = tuple(words), utterance
        if all(source.is_copied for source in self._queue):
            copied = tuple(takewhile(lambda word: word.language == self.target, words))
            # The draft of a translation stays until there is another.
            if copied or self._queue or not words:
                self.draft = copied

    def end_sentence(self) -> None:
        """What is said next is in another sentence."""
        source = self._open
        self._draft_words = ()
        if source is None:
            self.draft = ()
            return
        source.is_whole = True
        if source.is_lost and source.end_s > source.told_end_s:
            self._lost.append((source.told_end_s, source.end_s))
        is_nothing = source.is_lost or not (source.is_spoken or source.is_copied)
        if source.is_copied or is_nothing:
            self.draft = ()
        if is_nothing:
            self._queue.remove(source)

    # What is to be translated

    def next_request(self) -> TranslationRequest | None:
        """Return what a translator is to be asked next; None while more has to be said first."""
        source = self._queue[0] if self._queue else None
        if source is None or source.is_lost or source.is_copied or not source.is_spoken:
            return None
        n_known = max(self._source_threshold, source.n_asked)
        if not source.is_whole and (source.has_failed or len(source.words) <= n_known):
            return None
        return TranslationRequest(self._sentence(source), source)

    def next_draft(self) -> TranslationRequest | None:
        """Return what a translator is to be asked for a draft, when it has nothing else to do."""
        source = self._with_draft()
        if source is None:
            return None
        sentence = self._sentence(source)
        return None if sentence == self._draft_asked else TranslationRequest(sentence, source, is_draft=True)

    # What is told

    def ready(self) -> list[Translated]:
        """Return what is said in the target language already, once all before it is told."""
        told = list[Translated]()
        while self._queue and self._queue[0].is_copied:
            source = self._queue[0]
            if source.words:
                told.append(Translated(tuple(source.words), source.told_end_s, source.end_s, source.utterance))
                source.words.clear()
            if not source.is_whole:
                break
            self._queue.popleft()
        return told

    def take(self, request: TranslationRequest, tokens: Sequence[TargetToken]) -> list[Translated]:
        """Take a translator's answer, and return what is told of it.

        Raises TranslationError when a whole sentence brings nothing.
        """
        source, sentence = request.source, request.sentence
        if source.is_lost:
            return []
        pieces = pieces_of(tokens, self.target, len(sentence.words))
        n_pieces = n_sensible(pieces, source.told_pieces, sentence.words)
        words = [word for word in words_of(pieces, self.target, sentence.told) if word.end <= n_pieces]
        if request.is_draft:
            self._draft_asked = sentence
            if self._draft_words:
                self.draft = self._timed(source, words, len(sentence.words))
            return []
        if sentence.is_whole:
            return self._told_whole(source, words)
        n, n_read = self._n_told(source, pieces, words, len(sentence.words))
        told = self._tell(source, self._timed(source, words[:n], n_read), words[:n])
        source.n_asked = len(sentence.words)
        readings = [*source.readings, Reading(source.n_asked, tuple(word.text for word in words))]
        source.readings = [Reading(each.n_words, each.texts[n:]) for each in readings[-self._n_agreeing :]]
        self.draft = self._timed(source, words[n:], source.n_asked)
        return told

    def fail(self, request: TranslationRequest) -> None:
        """A translator has failed: an open sentence is tried again once it is whole, this draft not at all."""
        request.source.has_failed = True
        if request.is_draft:
            self._draft_asked = request.sentence

    def lose(self, request: TranslationRequest) -> tuple[float, float] | None:
        """Give up the sentence; return the times, in seconds, between which it was said and is not told."""
        source = request.source
        if source.is_lost or request.is_draft:
            return None
        self.draft, source.is_lost = (), True
        if source.is_whole:
            self._queue.remove(source)
        lost_from_s, source.told_end_s = source.told_end_s, source.end_s
        return lost_from_s, source.end_s

    def lost_since(self) -> list[tuple[float, float]]:
        """Return, once, the times of what was said of sentences after `lose` gave them up."""
        lost, self._lost = self._lost, []
        return lost

    def leave_out(
        self, most_behind_s: float, translating: TranslationRequest | None = None
    ) -> list[tuple[float, float]]:
        """Give up whole sentences that are further behind what is said; return their times, as `lose` does.

        translating: what a translator is being asked, which is kept.
        """
        lost = list[tuple[float, float]]()
        for source in [each for each in self._queue if each.is_whole and not each.is_copied]:
            is_kept = translating is not None and translating.source is source
            if not is_kept and self._heard_s - source.end_s > most_behind_s:
                self.draft, source.is_lost = (), True
                self._queue.remove(source)
                lost.append((source.told_end_s, source.end_s))
        return lost

    @property
    def behind_s(self) -> float:
        """How many seconds of speech have come since the end of the oldest sentence that waits."""
        oldest = self._queue[0] if self._queue else None
        return self._heard_s - oldest.end_s if oldest and oldest.is_whole else 0.0

    @property
    def n_waiting(self) -> int:
        """How many whole sentences wait. Any thread may ask."""
        return sum(source.is_whole for source in tuple(self._queue))

    @property
    def n_words(self) -> int:
        """How many words are held."""
        return sum(len(source.words) for source in self._queue)

    @property
    def _open(self) -> SourceSentence | None:
        return self._queue[-1] if self._queue and not self._queue[-1].is_whole else None

    def _hear(self, word: Word, utterance: int) -> None:
        self._heard_s = max(self._heard_s, word.end_s)
        source = self._open
        if source and source.ends_before(word, utterance):
            self.end_sentence()
            source = None
        if source is None:
            source = self._begun(word, utterance)
            if is_late_punctuation(word) and not source.is_copied:
                # Of a sentence that is over.
                return
            self._queue.append(source)
        source.add(word)
        if source.ends_for_certain():
            self.end_sentence()

    def _begun(self, word: Word, utterance: int) -> SourceSentence:
        return SourceSentence(word.language or "", utterance, is_copied=word.language == self.target)

    def _with_draft(self) -> SourceSentence | None:
        """Return the open sentence, with as much of the draft as is in it; None when that cannot be translated now."""
        source, is_longer = self._open, False
        if self.n_waiting or (source and (source.is_lost or source.has_failed)):
            return None
        drafted = source.copy() if source else None
        for word in self._draft_words:
            if drafted and (drafted.is_whole or drafted.ends_before(word, self._draft_utterance)):
                break
            drafted, is_longer = drafted or self._begun(word, self._draft_utterance), True
            drafted.add(word)
            drafted.is_whole = drafted.ends_for_certain()
        return drafted if drafted and is_longer and drafted.is_spoken and not drafted.is_copied else None

    def _sentence(self, source: SourceSentence) -> Sentence:
        before = self._before if self._before and self._before.language == source.language else None
        return Sentence(
            source.language,
            self.target,
            tuple(word.text for word in source.words),
            source.told_text,
            source.is_whole,
            before.text if before else "",
            before.told_text if before else "",
        )

    def _n_told(
        self, source: SourceSentence, pieces: Sequence[TargetToken], words: Sequence[TargetWord], n_source_words: int
    ) -> tuple[int, int]:
        """Return how many words of an open sentence's translation are told, and how many of its words are read then."""
        # More of the last word may follow.
        whole = [word for word in words if word.end < len(pieces)]
        if all(piece.source_word is not None for piece in pieces):
            n_pieces = self._n_before_edge(pieces, n_source_words)
            return sum(word.end <= n_pieces for word in whole), n_source_words
        if len(source.readings) < self._n_agreeing:
            return 0, 0
        texts = zip(*(each.texts for each in source.readings), strict=False)
        agreed = takewhile(lambda pair: {pair[0].text} == set(pair[1]), zip(whole, texts, strict=False))
        return sum(1 for _ in agreed), source.readings[0].n_words

    def _n_before_edge(self, pieces: Sequence[TargetToken], n_source_words: int) -> int:
        """Return how many pieces AlignAtt lets through."""
        policy = AlignAttPolicy(
            content_frames=n_source_words,
            frame_threshold=self._source_threshold,
            # Languages differ in their order of words, so none goes back too far.
            rewind_threshold=n_source_words,
            last_frame=0,
            final=False,
        )
        read = list[AlignedToken]()
        for piece in pieces:
            position = piece.source_word or 0
            if policy.stop(read, position):
                break
            read.append(AlignedToken(0, position, 0.0))
        return len(read)

    def _told_whole(self, source: SourceSentence, words: Sequence[TargetWord]) -> list[Translated]:
        if not source.told and not words:
            raise TranslationError("the translator returned nothing")
        timed = self._timed(source, words, len(source.words))
        told = self._tell(source, timed, words, source.end_s)
        self._queue.remove(source)
        self._before, self.draft = source, ()
        return told + self.ready()

    def _tell(
        self, source: SourceSentence, timed: tuple[Word, ...], words: Sequence[TargetWord], end_s: float | None = None
    ) -> list[Translated]:
        """Tell words, of which nothing is taken back. end_s: where the speech ends that they translate, if known."""
        if not words:
            return []
        told = Translated(timed, source.told_end_s, timed[-1].end_s if end_s is None else end_s, source.utterance)
        source.told += timed
        source.told_pieces += [piece.text for word in words for piece in word.pieces]
        source.told_end_s = told.source_end_s
        return [told]

    def _timed(self, source: SourceSentence, words: Sequence[TargetWord], n_read: int) -> tuple[Word, ...]:
        """Return words that last as long as those they were read from, or as if they had been read evenly."""
        start_s = last_s = source.told_end_s
        span_s = max(0.0, source.words[n_read - 1].end_s - start_s) if n_read else 0.0
        timed = list[Word]()
        for i, word in enumerate(words):
            read = [source.words[position] for position in word.source_words]
            begins_s = min((each.start_s for each in read), default=start_s + span_s * i / len(words))
            ends_s = max((each.end_s for each in read), default=start_s + span_s * (i + 1) / len(words))
            begins_s = min(max(last_s, begins_s), source.end_s)
            last_s = min(max(begins_s, ends_s), source.end_s)
            timed.append(Word(word.text, begins_s, last_s, 1.0, self.target))
        return tuple(timed)


__all__ = ["SimultaneousTranslation", "Translated", "TranslationRequest"]
