"""What a chat model answers that was asked for a translation: the translation in it, or none.

Models greet, explain, quote, think aloud, refuse, repeat themselves, and say again what they were given. What was told
of a translation never changes, so what may be no translation is left out.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from simul_whisper.languages import language_names
from simul_whisper.loops import repeated_tail
from simul_whisper.translators import Sentence
from simul_whisper.translators.agreement import bare, words_of

# Of an answer without thoughts, and of the longest line that is a greeting alone.
_MOST_CHARACTERS, _LONGEST_GREETING = 8_000, 60
_THOUGHTS_BEGIN = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHTS_END = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
# Marks of chat templates, which a server should have kept; what follows them is another turn.
_TURN = re.compile(r"<\|[^>]{1,40}\|>|<(start|end)_of_turn>|</?s>|\[/?INST\]")
_TAG = re.compile(r"</?[A-Za-z_]{1,20}>")
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_MARKUP = re.compile(r"^(?:#{1,6}|>|[-*•])\s+|\*\*|__")
_QUOTES = ('""', "''", "“”", "‘’", "«»", "»«", "„“", "„”", "「」", "『』", "``", "““", "””")
_ABOUT_TRANSLATING = re.compile(
    r"transl|traduc|tradui|tradur|traduz|übersetz|vertal|перев|翻译|翻譯|翻訳", re.IGNORECASE
)
_GREETING = re.compile(
    r"(?:sure|certainly|of course|okay|ok|absolutely|great|here(?:'s| is| are)|the (?:spoken )?(?:text|sentence)|answer"
    r"|output|result)\b",
    re.IGNORECASE,
)
_ONLY_GREETING = re.compile(
    r"(?:sure|certainly|of course|okay|ok|absolutely)[\s!.,]*(?:thing|here you go)?[\s!.,:]*", re.I
)
# Before what is in another language than English.
_GREETED = re.compile(r"(?:sure|certainly|of course|absolutely|great)[!.,]+\s+(?=\S)", re.IGNORECASE)
_PREFIX = re.compile(r"([^:：\n]{1,100})[:：]\s*")
_REMARK = re.compile(
    r"\W*(?:notes?|nota|explanation|literal(?:ly)?|alternativ\w*|let me know|i hope|please"
    r"|this (?:translation|sentence)|in this translation|breakdown|original)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_REMARK_BEHIND = re.compile(
    r"\s*[(\[](?:note|nota|literal|lit\.|translat|traduc|or:|alternativ|unfinished|incomplete)[^)\]]*[)\]]\W*$",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am)? (?:sorry|unable|not able|cannot|can't|can not|won't|will not|could not)|sorry, (?:but )?i"
    r"|as an? (?:ai|artificial|language model|assistant)|i apologize)\b",
    re.IGNORECASE,
)
_REFUSAL_ELSEWHERE = re.compile(
    r"lo siento|no puedo|désolé|je ne peux pas|tut mir leid|kann ich nicht|ich kann|mi dispiace|non posso|desculpe"
    r"|sinto muito|não posso|het spijt|ik kan",
    re.IGNORECASE,
)
_ABOUT_HELPING = re.compile(
    r"transl|traduc|tradui|tradur|traduz|übersetz|vertal|assist|help|provide|comply|language model|\bai\b|request"
    r"|ayudar|aider|helfen|aiutar|ajudar|helpen",
    re.IGNORECASE,
)
# Sentences may well be the same in them.
_ALIKE = ({"hr", "sr", "bs"}, {"no", "nn", "da", "sv"}, {"id", "ms"}, {"zh", "yue"}, {"es", "gl", "pt"}, {"cs", "sk"})
_SCRIPTS = {
    "LATIN": "",
    "CYRILLIC": "ru uk bg be mk tg ba",
    "ARABIC": "ar fa ur ps",
    "HEBREW": "he yi",
    "DEVANAGARI": "hi mr ne sa",
    "BENGALI": "bn as",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "HANGUL": "ko",
    "CJK": "zh yue ja",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "TIBETAN": "bo",
    "ETHIOPIC": "am",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GUJARATI": "gu",
    "SINHALA": "si",
}
# Written in more than one script.
_ANY_SCRIPT = frozenset("sr kk uz az tk tt mn pa sd ha ms jw su".split())
_FEW_LETTERS = 12
_LEAST_OF_SCRIPT = 0.3
_FEW_WORDS = 4
# A character of Chinese says about as much as three of others.
_WIDE = 3
_MOST_TIMES, _MOST_MORE = 4, 60
_LEAST_PART, _LONG = 6, 60


def longest_translation(source: str) -> int:
    """Return a number of characters beyond which nothing is a translation of this text."""
    return _MOST_TIMES * _weight(source) + _MOST_MORE


def cleaned(answer: str, sentence: Sentence) -> str | None:
    """Return the translation that an answer gives of a sentence, in one line; None when it gives none."""
    text = _without_company(_without_thoughts(answer), sentence)
    if not any(map(str.isalnum, text)) or _refuses(text, sentence) or _is_another_text(text, sentence):
        return None
    return text


def _without_thoughts(answer: str) -> str:
    """Leave out what was thought aloud, which comes first: its beginning may stand in the question, its end nowhere."""
    return _THOUGHTS_BEGIN.split(_THOUGHTS_END.split(answer)[-1])[0][:_MOST_CHARACTERS]


def _without_company(answer: str, sentence: Sentence) -> str:
    """Leave out greetings, labels, markup, quotes, remarks, and what the answer says of the question again."""
    text = _TAG.sub("", _FENCE.sub("", _TURN.split(answer.strip())[0])).strip()
    lines = [_MARKUP.sub("", line).strip() for line in text.splitlines()]
    # What comes first may be a translation, whatever it says.
    lines = lines[: next((n for n, line in enumerate(lines) if n and _REMARK.fullmatch(line)), len(lines))]
    lines = [line for line in lines if not _is_about(line, sentence)] if len(lines) > 1 else lines
    said = "".join(f"{line}\n" for line in lines).strip().partition("\n\n")[0].splitlines()
    line = " ".join("".join(each if each.isprintable() else " " for each in " ".join(said)).split())
    line = _without_label(_without_label(line, sentence), sentence)
    line = _without_source(line, sentence)
    line = _without_quotes(_REMARK_BEHIND.sub("", line), sentence.text)
    return _without_end(_without_before(line, sentence), sentence)


def _is_about(line: str, sentence: Sentence) -> bool:
    """Whether a line of several only leads to the others: a greeting, a label, or the source."""
    is_label = line.endswith((":", "：")) and _is_label(line[:-1], sentence)
    is_source = _folded(_without_label(line, sentence)) == _folded(sentence.text) != ""
    return is_label or is_source or _ONLY_GREETING.fullmatch(line[:_LONGEST_GREETING]) is not None


def _is_label(words: str, sentence: Sentence) -> bool:
    if _ABOUT_TRANSLATING.search(words):
        return not _ABOUT_TRANSLATING.search(sentence.text)
    names = {name.casefold() for name in language_names((sentence.source, sentence.target)).values()}
    is_language = words.strip("* ").casefold() in {*names, sentence.source, sentence.target}
    return is_language or (_GREETING.match(words) is not None and not re.search("[:：]", sentence.text))


def _without_label(line: str, sentence: Sentence) -> str:
    found = _PREFIX.match(line)
    if found and _is_label(found.group(1), sentence):
        return line[found.end() :]
    greeted = _GREETED.match(line) if sentence.target != "en" else None
    return line[greeted.end() :] if greeted else line


def _without_source(line: str, sentence: Sentence) -> str:
    """Of "source -> translation", the translation."""
    rest = line[len(sentence.text) :] if line.casefold().startswith(sentence.text.casefold()) else ""
    found = re.match(r"\s*(?:->|→|=>|=|⟶|—>)\s*(?=\S)", rest)
    return rest[found.end() :] if found and sentence.text else line


def _without_quotes(line: str, source: str) -> str:
    inner = line[1:-1]
    for pair in _QUOTES:
        first, last = pair[0], pair[1]
        is_quoted = len(line) > 2 and line[0] == first and line[-1] == last and not {first, last} & set(inner)
        if is_quoted and source[:1] != first:
            return inner.strip()
    return line


def _without_before(line: str, sentence: Sentence) -> str:
    """Leave out the sentence before, which is given for its sense."""
    before, words = words_of(sentence.before_told, sentence.target), words_of(line, sentence.target)
    n, is_repeated = len(before), _folded(sentence.text).startswith(_folded(sentence.before))
    if 1 < n < len(words) and not is_repeated and [bare(word) for word in words[:n]] == [bare(word) for word in before]:
        return "".join(words[n:]).strip()
    return line


def _without_end(line: str, sentence: Sentence) -> str:
    """Leave out the full stop of what goes on."""
    goes_on = not sentence.is_whole and sentence.text[-1:].isalnum()
    return line.rstrip(".…。 ") if goes_on else line


def _refuses(text: str, sentence: Sentence) -> bool:
    if sentence.target != "en" and _REFUSAL.match(text):
        return True
    # Speakers refuse and offer help, too.
    return not _ABOUT_HELPING.search(sentence.text) and bool(
        (_REFUSAL.search(text) or _REFUSAL_ELSEWHERE.match(text)) and _ABOUT_HELPING.search(text)
    )


def _is_another_text(text: str, sentence: Sentence) -> bool:
    """Whether it is the source again, the sentence before, far too long or short, a loop, or in another script."""
    source, folded = _folded(sentence.text), _folded(text)
    is_alike = any({sentence.source, sentence.target} <= group for group in _ALIKE)
    if source == folded and len(sentence.words) >= _FEW_WORDS and not is_alike:
        return True
    if folded == _folded(sentence.before_told) != "" and source != _folded(sentence.before):
        return True
    weight, of_source = _weight(text), _weight(sentence.text)
    if weight > longest_translation(sentence.text):
        return True
    if of_source >= _LONG and weight * _LEAST_PART < of_source:
        return True
    if _loops(text, sentence.target) and not _loops(sentence.text, sentence.source):
        return True
    return _is_in_another_script(text, sentence.target)


def _folded(text: str) -> str:
    return " ".join(bare(word) for word in text.split())


def _weight(text: str) -> int:
    """How many characters of an alphabet it is worth."""
    return sum(_WIDE if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _loops(text: str, language: str) -> bool:
    numbers = dict[str, int]()
    return repeated_tail([numbers.setdefault(bare(word), len(numbers)) for word in words_of(text, language)]) > 0


def _is_in_another_script(text: str, language: str) -> bool:
    expected = [script for script, languages in _SCRIPTS.items() if language in languages.split()] or ["LATIN"]
    scripts = _scripts(text)
    if language in _ANY_SCRIPT or scripts.total() < (_FEW_LETTERS if expected != ["LATIN"] else 1):
        return False
    return sum(scripts[script] for script in expected) < _LEAST_OF_SCRIPT * scripts.total()


def _scripts(text: Sequence[str]) -> "Counter[str]":
    return Counter(unicodedata.name(each, "").partition(" ")[0] for each in text if each.isalpha())
