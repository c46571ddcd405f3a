"""Words that follow each other, or anyhow, and translations of them."""

from hypothesis import strategies as st

from simul_whisper import Word
from streaming.events import Event, Language, Translation, Words
from tests.streaming.told import draft

_TEXTS = st.sampled_from([" a", " word", " sentence.", ",", "字", "。", " ", " <i>", " unbelievably-long-" + "x" * 40])
_TIMES = st.floats(0, 30, allow_nan=False)
ANY_WORD = st.builds(Word, _TEXTS, _TIMES, _TIMES, st.just(0.5))


def words_of(text: str, start_s: float = 0.0, word_s: float = 0.3) -> list[Word]:
    """The words of an English text, one after the other."""
    return [Word(" " + w, start_s + i * word_s, start_s + (i + 1) * word_s, 0.9) for i, w in enumerate(text.split())]


def translated(target: str, text: str, start_s: float = 0.0, utterance: int = 1) -> Translation:
    """A translation whose words follow each other."""
    words = [Word(each.text, each.start_s, each.end_s, 1.0, target) for each in words_of(text, start_s)]
    return Translation(target, tuple(words), words[0].start_s, words[-1].end_s, utterance)


def said(*words: Word, heard_s: float = 0.0) -> Words:
    return Words(words, heard_s)


TALK: list[Event] = [
    Language("en"),
    said(*words_of("The tide is"), heard_s=1.0),
    draft(" a wafe"),
    said(*words_of("a wave. It", start_s=0.9), heard_s=3.0),
    said(*words_of("travels.", start_s=2.0), heard_s=4.0),
]
