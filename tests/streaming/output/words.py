"""Words that follow each other."""

from simul_whisper import Word


def words_of(text: str, start_s: float = 0.0, word_s: float = 0.3) -> list[Word]:
    """The words of an English text, one after the other."""
    return [Word(" " + w, start_s + i * word_s, start_s + (i + 1) * word_s, 0.9) for i, w in enumerate(text.split())]
