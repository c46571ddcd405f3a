"""The tokens read from the audio that is still in the window, each with the sample it was read from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from simul_whisper.tokenizer import Tokenizer

# A token is read from somewhere in its sound; the sound is over this much later.
_SAMPLES_AFTER_LAST_TOKEN = 25 * SAMPLES_PER_FRAME
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…")


@dataclass(frozen=True)
class CommittedToken:
    """A committed token: where on the sample clock it was read, and its log-probability.

    begins_text: it begins a word, the first of a text, though it has no space before it.
    """

    token: int
    sample: int
    logprob: float
    begins_text: bool = False


class CommittedTokens:
    """Committed tokens, oldest first. They leave, with the audio they were read from, by `cut`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._entries: list[CommittedToken] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[CommittedToken]:
        return iter(self._entries)

    @property
    def tokens(self) -> list[int]:
        return [entry.token for entry in self._entries]

    @property
    def last_sample(self) -> int | None:
        """Where the newest token was read; None when there is none."""
        return self._entries[-1].sample if self._entries else None

    def later_half(self) -> tuple[int, int]:
        """Return where the token in the middle and the last one were read. There must be some."""
        return self._entries[len(self._entries) // 2].sample, self._entries[-1].sample

    def commit(self, entries: Sequence[CommittedToken]) -> None:
        self._entries += entries

    def cut(self, sample: int) -> list[int]:
        """Remove and return the tokens of the words read before `sample`."""
        n = self._n_tokens_before(sample)
        left = [entry.token for entry in self._entries[:n]]
        del self._entries[:n]
        return left

    def cut_all(self) -> list[int]:
        """Remove and return all tokens."""
        left = self.tokens
        self._entries.clear()
        return left

    def best_cut(self, earliest: int, latest: int, preferably_before: int | None = None) -> int:
        """Return the sample in [earliest, latest] that parts the text best.

        A pause is worth its length, the end of a sentence as much as a pause of one second. Where no two words meet,
        it is the end of the word that `earliest` would part. preferably_before: later than this only for that word.
        """
        best, best_worth = self._end_of_word_at(earliest, latest), -1.0
        if preferably_before is not None:
            latest = max(best, min(latest, preferably_before))
        for before, after in zip(self._entries, self._entries[1:], strict=False):
            sample = (before.sample + after.sample) // 2 // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            if not earliest <= sample <= latest or not self._tokenizer.starts_word(after.token):
                continue
            worth = (after.sample - before.sample) / SAMPLE_RATE + self._ends_sentence(before.token)
            if worth > best_worth:
                best, best_worth = sample, worth
        return best

    def _n_tokens_before(self, sample: int) -> int:
        """Return how many tokens belong to the words read before `sample`."""
        n = next((n for n, entry in enumerate(self._entries) if entry.sample >= sample), len(self._entries))
        while 0 < n < len(self._entries) and not self._tokenizer.starts_word(self._entries[n].token):
            n += 1
        return n

    def _end_of_word_at(self, earliest: int, latest: int) -> int:
        n = self._n_tokens_before(earliest)
        end = self._entries[n - 1].sample + _SAMPLES_AFTER_LAST_TOKEN if n else earliest
        following = self._entries[n].sample if n < len(self._entries) else latest
        return max(earliest, min(end, following, latest))

    def _ends_sentence(self, token: int) -> bool:
        return self._tokenizer.decode([token]).endswith(_SENTENCE_ENDS)
