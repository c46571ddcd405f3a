"""What a voice says is heard again by Whisper, word by word.

The sentences have no numerals and no names, which are right in several spellings.
"""

import shutil
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
import soxr

from simul_whisper import SAMPLE_RATE, Model, SpeechConfig, Voices, open_voices
from simul_whisper.voices.catalog import list_voices
from streaming.evaluation.scoring import Edits, word_edits
from tests.listener import listen, listener, text_of
from tests.sounds import silence

MOST_ERRORS = 0.05
SEED = 1822
ENGLISH = (
    "Please open the window, because it is very warm in here.",
    "The museum is closed on Mondays, but the garden is open every day.",
    "The quick brown fox jumps over the lazy dog.",
    "We will arrive at the station in twenty minutes.",
    "Doctor Smith told us that the results are better than expected.",
    "There are three hundred and sixty-five days in a year.",
    "She bought a new bicycle for her daughter's birthday.",
    "Yesterday evening the power failed, so we had dinner by candlelight.",
    "Can you tell me how to get to the university?",
    "The company will hire five hundred people next year.",
    "After the storm, the children went out to play in the snow.",
    "Thank you very much for listening, and have a good evening.",
)
OTHERS = {
    "es": (
        "El museo está cerrado los lunes, pero el jardín está abierto.",
        "¿Puede decirme cómo llegar a la universidad?",
        "Mi hermana compró una bicicleta nueva para su hijo.",
        "Los niños juegan en el parque después de la escuela.",
        "Esta tarde vamos a visitar a nuestros amigos en el pueblo.",
        "Muchas gracias por su atención y buenas noches.",
    ),
    "fr": (
        "Les enfants jouent dans le parc après l'école.",
        "Je voudrais une tasse de café et un croissant.",
        "Il fait très beau aujourd'hui, alors nous allons nous promener au bord de la mer.",
        "Mon frère travaille dans une grande maison près de la rivière.",
        "Nous avons trouvé une petite maison avec un beau jardin.",
        "Merci beaucoup de votre attention et bonne soirée.",
    ),
    "it": (
        "Il museo è chiuso il lunedì, ma il giardino è aperto ogni giorno.",
        "Può dirmi come arrivare alla stazione?",
        "I bambini giocano nel parco dopo la scuola.",
        "Questa sera andiamo a trovare i nostri amici in campagna.",
        "Il treno parte domani mattina molto presto.",
        "Grazie mille per l'attenzione e buona serata.",
    ),
    "pt": (
        "O museu está fechado na segunda-feira, mas o jardim está aberto.",
        "Pode me dizer como chegar à universidade?",
        "Minha irmã comprou uma bicicleta nova para o filho dela.",
        "As crianças brincam no parque depois da escola.",
        "O trem parte amanhã de manhã muito cedo.",
        "Muito obrigado pela atenção e boa noite.",
    ),
}
INSTALLED = {entry.name: entry.languages for entry in list_voices() if entry.is_installed}


def voices_of(name: str, language: str) -> Voices:
    if shutil.which("espeak-ng") is None or language not in INSTALLED.get(name, ()):
        pytest.skip(f"{name} does not speak {language} here, or espeak-ng is not installed")
    # Piper leaves something to chance.
    onnxruntime.set_seed(SEED)
    return open_voices(SpeechConfig(voice=name))


def errors_heard(model: Model, voices: Voices, sentences: Sequence[str], language: str) -> Edits:
    voice, errors = voices.voice(language), Edits()
    for sentence in sentences:
        said = soxr.resample(np.concatenate(list(voice.speak(sentence, language))), voice.rate, SAMPLE_RATE)
        whisper = listener(model, language=language)
        heard = text_of(listen(whisper, [np.concatenate([silence(0.25), said, silence(0.5)]).astype(np.float32)]))
        errors += word_edits(sentence, heard, language)
    return errors


def test_every_word_is_heard_again(tiny: Model) -> None:
    assert errors_heard(tiny, voices_of("joe", "en"), ENGLISH[:2], "en").errors == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["joe", "kokoro"])
@pytest.mark.parametrize("model", ["tiny", "base"])
def test_english_is_heard_again(name: str, model: str, request: pytest.FixtureRequest) -> None:
    errors = errors_heard(request.getfixturevalue(model), voices_of(name, "en"), ENGLISH, "en")
    assert (errors.rate or 0) <= MOST_ERRORS, errors


@pytest.mark.long
@pytest.mark.parametrize("language", list(OTHERS))
def test_other_languages_are_heard_again(language: str, base: Model) -> None:
    errors = errors_heard(base, voices_of("kokoro", language), OTHERS[language], language)
    assert (errors.rate or 0) <= MOST_ERRORS, errors
