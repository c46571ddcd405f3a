"""What models have been seen to answer, and what of it is a translation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.languages import LANGUAGES
from simul_whisper.translators import Sentence
from simul_whisper.translators.answers import cleaned, longest_translation
from tests.properties import examples

CAT = "The cat sat on the mat."
GATO = "El gato se sentó en la estera."


def said(text: str, target: str = "es", source: str = "en", told: str = "", **more: object) -> Sentence:
    words = tuple(f" {word}" for word in text.split())
    return Sentence(source, target, words, told, is_whole=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        GATO,
        f"  {GATO}\n",
        f'"{GATO}"',
        f"“{GATO}”",
        f"«{GATO}»",
        f"**{GATO}**",
        f"> {GATO}",
        f"- {GATO}",
        f"Sure! Here is the translation: {GATO}",
        f"Sure! Here's the translation:\n\n{GATO}",
        f"Certainly!\n{GATO}",
        f"Of course.\n\n{GATO}\n\nLet me know if you need anything else!",
        f"Here is the Spanish translation of the sentence:\n\n\"{GATO}\"\n\nNote: 'mat' may also be 'alfombra'.",
        f"Sure! {GATO}",
        f"Translation: {GATO}",
        f"**Translation:** {GATO}",
        f"Traducción: {GATO}",
        f"Spanish: {GATO}",
        f"English: {CAT}\nSpanish: {GATO}",
        f"{CAT}\n{GATO}",
        f"{CAT} -> {GATO}",
        f"{CAT} → {GATO}",
        f"{GATO} (Note: 'estera' can also be 'alfombra'.)",
        f"{GATO}\nNote: 'estera' is a mat.",
        f"{GATO}\n\nThis translation keeps the tense.",
        f"{GATO}\nExplanation: literal.",
        f"<think>\nThe user wants: a cat.\n</think>\n\n{GATO}",
        f"The user wants a cat.\n</think>\n{GATO}",
        f"<THINK>no</THINK><think>yes</think>{GATO}",
        f"<translation>{GATO}</translation>",
        f"```\n{GATO}\n```",
        f"```text\n{GATO}\n```",
        f"{GATO}<|im_end|>\n<|im_start|>user\nNow translate this",
        f"{GATO}<end_of_turn>",
        f"{GATO}</s>",
        "El gato se sentó\nen la estera.",
        "El gato\x1bse\x00sentó\u2028en la estera.",
    ],
)
def test_the_translation_is_found_in_company(answer: str) -> None:
    assert cleaned(answer, said(CAT)) == GATO


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "...",
        "<think>I wonder",
        "<think></think>",
        "I cannot translate this sentence.",
        "I'm sorry, but I can't assist with that request.",
        "I am unable to help with this.",
        "As an AI language model, I do not sit on mats.",
        "Sorry, but I can't do that.",
        "Lo siento, pero no puedo traducir ese texto.",
        "Lo siento, no puedo ayudarte con eso.",
        CAT,
        CAT.upper(),
        f"Sure! Here is the translation:\n\n{CAT}\n\nLet me know if you need anything else.",
        f'"{CAT}"',
        "El gato. " * 40,
        "gato " * 12,
        "Кот сидел на коврике.",
        "猫坐在垫子上。",
        "Los gatos son mamíferos carnívoros de la familia de los félidos, y su historia con los humanos es larga. " * 3,
    ],
)
def test_what_is_no_translation_is_left_out(answer: str) -> None:
    assert cleaned(answer, said(CAT)) is None


@pytest.mark.parametrize(
    ("source", "text", "target", "answer", "expected"),
    [
        # Speakers apologise, refuse, quote, and translate, too.
        ("es", "Lo siento, no puedo ayudarte.", "en", "I'm sorry, I can't help you.", "I'm sorry, I can't help you."),
        ("es", "No puedo traducir esto.", "en", "I cannot translate this.", "I cannot translate this."),
        ("es", "Lo siento mucho.", "en", "I am so sorry.", "I am so sorry."),
        ("de", "Das geht leider nicht.", "en", "I'm sorry, but I can't assist with that request.", None),
        ("en", '"Go," she said.', "es", '"Ve", dijo ella.', '"Ve", dijo ella.'),
        ("en", '"Go away now"', "es", '"Vete ya"', '"Vete ya"'),
        ("en", "Note: bring a coat.", "es", "Nota: traiga un abrigo.", "Nota: traiga un abrigo."),
        ("de", "Er sagte: geh!", "en", "Here is what he said: go!", "Here is what he said: go!"),
        ("en", "I can't help you, sorry.", "es", "No puedo ayudarte, lo siento.", "No puedo ayudarte, lo siento."),
        ("en", "I can't help you, sorry.", "es", "I can't help with this request.", None),
        ("es", "Claro, dijo.", "en", "Sure, he said.", "Sure, he said."),
        ("en", "The translation: a history.", "es", "La traducción: una historia.", "La traducción: una historia."),
        # Names, numbers and neighbours may be the same in both.
        ("en", "Angela Merkel", "es", "Angela Merkel", "Angela Merkel"),
        ("en", "1, 2, 3, 4, 5", "es", "1, 2, 3, 4, 5", None),
        ("no", "Jeg har en stor hund.", "da", "Jeg har en stor hund.", "Jeg har en stor hund."),
        ("en", "OK.", "ja", "OK。", "OK。"),
        ("en", "Windows, Linux", "zh", "Windows, Linux", None),
        ("en", "the cat sat here", "ja", "The cat sat here in Japanese.", None),
        ("en", "The cat sat here", "ja", "猫はここに座った。", "猫はここに座った。"),
        ("ja", "猫はここに座った。", "en", "The cat sat here.", "The cat sat here."),
        ("zh", "我们去北京大学看书，然后回家休息一会儿。", "en", "We go.", None),
        ("en", "No no no no no no no no no.", "es", "No no no no no no no no no.", None),
        ("en", "Never never never never never never never never.", "es", "Nunca " * 8, ("Nunca " * 8).strip()),
        ("en", "Добро means good.", "ru", "Добро значит хорошо.", "Добро значит хорошо."),
        ("ru", "Кот сидит.", "sr", "Mačka sedi.", "Mačka sedi."),
    ],
)
def test_what_speakers_say_is_translated(
    source: str, text: str, target: str, answer: str, expected: str | None
) -> None:
    assert cleaned(answer, said(text, target, source)) == expected


def test_the_sentence_before_is_not_said_again() -> None:
    sentence = said("It was tired.", before="The cat slept.", before_told="El gato durmió.")
    assert cleaned("El gato durmió. Estaba cansado.", sentence) == "Estaba cansado."
    assert cleaned("El gato durmió.", sentence) is None
    again = said("The cat slept. The cat slept.", before="The cat slept.", before_told="El gato durmió.")
    assert cleaned("El gato durmió. El gato durmió.", again) == "El gato durmió. El gato durmió."
    assert cleaned("El gato durmió.", said("The cat slept.", before="The cat slept.", before_told="El gato durmió."))


def test_a_sentence_that_goes_on_has_no_end() -> None:
    unfinished = Sentence("en", "es", (" The", " cat"))
    for answer in ("El gato...", "El gato.", "El gato…", "El gato"):
        assert cleaned(answer, unfinished) == "El gato"
    assert cleaned("El gato.", Sentence("en", "es", (" The", " cat."))) == "El gato."


@examples(200)
@given(st.text(max_size=200), st.sampled_from(LANGUAGES))
def test_whatever_is_answered_is_a_short_line_or_nothing(answer: str, target: str) -> None:
    sentence = said(CAT, target, "es" if target == "en" else "en")
    text = cleaned(answer, sentence)
    assert text is None or (text == text.strip() and text.isprintable() and 0 < len(text) <= longest_translation(CAT))


def test_long_answers_take_no_long_time() -> None:
    for piece in ("<think>", "</think>", "a: ", "<", '"', "(note ", "Sure! ", "\n", "sorry, i "):
        assert cleaned(piece * 20_000, said(CAT)) is None
