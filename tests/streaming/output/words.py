"""Words that follow each other, and translations of them."""

from simul_whisper import Word
from streaming.events import Translation


def words_of(text: str, start_s: float = 0.0, word_s: float = 0.3) -> list[Word]:
    """The words of an English text, one after the other."""
    return [Word(" " + w, start_s + i * word_s, start_s + (i + 1) * word_s, 0.9) for i, w in enumerate(text.split())]


def translated(target: str, text: str, start_s: float = 0.0, utterance: int = 1) -> Translation:
    """A translation whose words follow each other."""
    words = [Word(each.text, each.start_s, each.end_s, 1.0, target) for each in words_of(text, start_s)]
    return Translation(target, tuple(words), words[0].start_s, words[-1].end_s, utterance)
