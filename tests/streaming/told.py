"""Events as tests write them."""

from simul_whisper import Word
from streaming.events import Draft


def draft(text: str = "") -> Draft:
    """A draft of one word, or of none."""
    return Draft((Word(text, 1.0, 1.5, 0.5, "en"),) if text else ())
