"""What of a text can be spoken: no emoji, no signs, and no words in a script that the language is not written in."""

import re
import unicodedata

from simul_whisper.errors import VoiceError
from simul_whisper.languages import language_names

MOST_CHARACTERS = 10_000
"""A longer text is refused: some ten minutes of speech."""
# The first word of the Unicode names of a language's letters; where a language has no line here, Latin.
_SCRIPTS = {
    script: languages.split()
    for script, languages in {
        "ARABIC": "ar fa ur ps sd",
        "ARMENIAN": "hy",
        "BENGALI": "bn as",
        "CYRILLIC": "ru uk bg mk be kk mn tg tt ba sr",
        "CJK": "zh yue ja ko",
        "DEVANAGARI": "hi mr ne sa",
        "ETHIOPIC": "am",
        "GEORGIAN": "ka",
        "GREEK": "el",
        "GUJARATI": "gu",
        "GURMUKHI": "pa",
        "HANGUL": "ko",
        "HEBREW": "he yi",
        "HIRAGANA": "ja",
        "KANNADA": "kn",
        "KATAKANA": "ja",
        "KATAKANA-HIRAGANA": "ja",
        "KHMER": "km",
        "LAO": "lo",
        "MALAYALAM": "ml",
        "MYANMAR": "my",
        "SINHALA": "si",
        "TAMIL": "ta",
        "TELUGU": "te",
        "THAI": "th",
        "TIBETAN": "bo",
    }.items()
}
# Signs that are no words: emoji among them, the degree sign not. Then control characters, but for the joiners of Indic
# and Persian letters.
_SIGNS = {"So", "Sk", "Cc", "Cs", "Co", "Cn", "Cf"}
_KEPT = "°\u200c\u200d"
_EMOJI_MARKS = re.compile("[\ufe00-\ufe0f\u20e3]")


def speakable(text: str, language: str) -> str:
    """Return what of a text can be spoken in a language (Whisper's code); empty where there are no words at all.

    Raises VoiceError where all of its words are in other scripts, and for a text that is too long.
    """
    if len(text) > MOST_CHARACTERS:
        raise VoiceError(f"got a text of {len(text)} characters, expected at most {MOST_CHARACTERS}")
    plain = unicodedata.normalize("NFC", _EMOJI_MARKS.sub("", text))
    plain = "".join(each if unicodedata.category(each) not in _SIGNS or each in _KEPT else " " for each in plain)
    if not any(map(str.isalnum, plain)):
        return ""
    kept = re.sub(r"[^\W\d_]+", lambda word: word.group() if _is_written(word.group(), language) else "", plain)
    if not any(map(str.isalnum, kept)):
        name = language_names().get(language, language)
        raise VoiceError(f"no word of the text is in a script that {name} is written in")
    return kept


def _is_written(word: str, language: str) -> bool:
    """Whether a word may stand in a text of this language: Latin letters may in all."""
    for letter in word:
        script = unicodedata.name(letter, "").partition(" ")[0]
        if script in _SCRIPTS and language not in _SCRIPTS[script]:
            return False
    return True
