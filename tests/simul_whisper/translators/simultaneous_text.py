"""A text that is heard, translated and told in one go, and a translator whose answers are written down."""

from collections.abc import Sequence

from simul_whisper import Sentence, SimultaneousTranslation, TargetToken, Translated, Translator, Word


def translated(text: SimultaneousTranslation, translator: Translator) -> list[Translated]:
    """All that is told now."""
    told = text.ready()
    while request := text.next_request():
        told += text.take(request, translator.translate(request.sentence))
    return told


def said(told: Sequence[Translated]) -> str:
    return "".join(word.text for each in told for word in each.words)


def fed(text: SimultaneousTranslation, translator: Translator, pieces: Sequence[Sequence[Word]]) -> list[Translated]:
    told = list[Translated]()
    for piece in pieces:
        text.hear(piece)
        told += translated(text, translator)
    text.end_sentence()
    return told + translated(text, translator)


class Answering:
    """Says what it is told to, piece by piece."""

    def __init__(self, *answers: Sequence[TargetToken]) -> None:
        self.answers, self.asked = list(answers), list[Sentence]()

    @property
    def description(self) -> str:
        return "answers"

    def check_pair(self, source: str, target: str) -> None:
        pass

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.asked.append(sentence)
        return tuple(self.answers.pop(0))


def tokens(text: str, *positions: int) -> list[TargetToken]:
    """Pieces, parted by |."""
    parts = text.split("|")
    return [
        TargetToken(part, positions[min(n, len(positions) - 1)] if positions else None) for n, part in enumerate(parts)
    ]
