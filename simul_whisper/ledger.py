"""The tokens read from the audio that is still in the window, each with the sample it was read from."""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from simul_whisper.tokenizer import Tokenizer

_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…")


@dataclass(frozen=True)
class LedgerToken:
    """A committed token: where on the sample clock it was read, and its log-probability."""

    token: int
    sample: int
    logprob: float


class Ledger:
    """Committed tokens, oldest first. They leave, with the audio they were read from, by `cut`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._entries: list[LedgerToken] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def tokens(self) -> list[int]:
        return [entry.token for entry in self._entries]

    @property
    def last_sample(self) -> int | None:
        """Where the newest token was read; None when there is none."""
        return self._entries[-1].sample if self._entries else None

    def commit(self, entries: Sequence[LedgerToken]) -> None:
        self._entries += entries

    def cut(self, sample: int) -> list[int]:
        """Remove and return the tokens of the words read before `sample`."""
        n = next((n for n, entry in enumerate(self._entries) if entry.sample >= sample), len(self._entries))
        while 0 < n < len(self._entries) and not self._tokenizer.starts_word(self._entries[n].token):
            n += 1
        left = [entry.token for entry in self._entries[:n]]
        del self._entries[:n]
        return left

    def cut_all(self) -> list[int]:
        """Remove and return all tokens."""
        left = self.tokens
        self._entries.clear()
        return left

    def best_cut(self, earliest: int, latest: int) -> int:
        """Return the sample in [earliest, latest] that parts the text best; `earliest` when no two words meet there.

        A pause is worth its length, the end of a sentence as much as a pause of one second.
        """
        best, best_worth = earliest, -1.0
        for before, after in zip(self._entries, self._entries[1:], strict=False):
            sample = (before.sample + after.sample) // 2 // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            if not earliest <= sample <= latest or not self._tokenizer.starts_word(after.token):
                continue
            worth = (after.sample - before.sample) / SAMPLE_RATE + self._ends_sentence(before.token)
            if worth > best_worth:
                best, best_worth = sample, worth
        return best

    def _ends_sentence(self, token: int) -> bool:
        return self._tokenizer.decode([token]).endswith(_SENTENCE_ENDS)
