"""A word that was committed: what all stages and protocols pass on. It needs nothing else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A committed word.

    text: with its leading space, as the model wrote it; joining the texts of all words gives the transcript.
    Punctuation that is decided after its word is a word of its own, which lasts no time at the end of that word.
    start_s, end_s: seconds since the start of the stream; probability: geometric mean over its tokens.
    language: that of the text, a Whisper code, so "en" for a translation; None when an older server told the word.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    language: str | None = None

    @property
    def is_spoken(self) -> bool:
        """Whether it has a sound; false for punctuation that was decided after the word it belongs to."""
        return any(character.isalnum() for character in self.text)
