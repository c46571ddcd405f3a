"""Where text may be parted: what belongs to the word before it, and where a sentence ends.

Lines, captions and segments are cut by this, so that a number such as `1,250`, `135 000`, `50 %` or the `3.` of
`3. Oktober` is never cut. It knows text, and nothing of times.
"""

import re
import unicodedata

_SENTENCE_ENDS = tuple(".?!…。？！।؟")
_CLOSING_MARKS = "\"'”’»)]}」』）】"
# Between the digits of a number, and between the letters of a word.
_MARKS_IN_NUMBER, _MARKS_IN_WORD = ".,:'’-–/", "-'’"
_THOUSANDS = re.compile(r"\W*\d{1,3}(?: \d{3}){0,2}")
_GROUP = re.compile(r" \d{3}(?!\d)")
_UNIT = re.compile(r" [%‰€$£¥°]")
_SPACED = re.compile(r"(?<![\w.,])\d{1,3}(?: \d{3}){1,3}(?!\d)(?: [%‰€$£¥°])?|\d [%‰€$£¥°]")
# "3. Oktober": where these languages are written, such a number need not end the sentence.
_ORDINAL = re.compile(r"(?:^|\s)\d{1,2}\.\s*$")
_WITH_ORDINALS = frozenset("bs cs da de et fi fo hr hu is lb lv nn no pl sk sl sr tr".split())


def ends_sentence(text: str, language: str | None = None) -> bool:
    """Whether a sentence ends with this text, in this language (Whisper's code)."""
    if language in _WITH_ORDINALS and _ORDINAL.search(text):
        return False
    return text.rstrip().rstrip(_CLOSING_MARKS).endswith(_SENTENCE_ENDS)


def continues_word(text: str, before: str = "") -> bool:
    """Whether this text, not empty, belongs to the word before, so that no line may begin with it.

    It is punctuation of that word, or the rest of it that was decided later. before: that word, with its leading space.
    """
    if is_closing_mark(text[0]):
        return True
    if text[0].isdecimal() and before.rstrip(_MARKS_IN_NUMBER)[-1:].isdecimal():
        return True
    return _is_of_word(text[0]) and _is_of_word(before.rstrip(_MARKS_IN_WORD)[-1:])


def continues_number_after_space(text: str, before: str) -> bool:
    """Whether it is, after a space, more of the number before it: `135 000`, `50 %`. Somebody may count so, slowly."""
    is_group = _GROUP.match(text) and _THOUSANDS.fullmatch(before)
    return bool(is_group or (_UNIT.match(text) and before[-1:].isdecimal()))


def with_unbroken_numbers(text: str, space: str) -> str:
    """Return the text with `space` for the spaces inside its numbers."""
    return _SPACED.sub(lambda number: number[0].replace(" ", space), text)


def is_closing_mark(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("P") and category not in ("Ps", "Pi")


def _is_of_word(character: str) -> bool:
    """Whether it is of a script that parts words by spaces: a letter of two cases, a digit, a currency; "" is not."""
    return character != "" and unicodedata.category(character) in ("Lu", "Ll", "Lt", "Nd", "Sc")
