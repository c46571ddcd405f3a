"""The fixture Voxtral: a small model that reads chords, of which every word and its place in the audio are known.

`scripts.fixture_voxtral` trained it, and its `language` is the oracle.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.fixture_voxtral import language
from scripts.fixture_voxtral.language import Speech
from simul_whisper import AlignAttConfig, Model, Update, load_model
from simul_whisper.audio import SAMPLES_PER_FRAME, Samples
from tests.listener import listener, untimed

DIRECTORY = Path(__file__).parent / "data" / "voxtral"


def held_out(seed: int, n: int = 14, spoken: str = "en") -> Speech:
    """Speech that the model did not learn from."""
    rng = random.Random(f"held out {seed}")
    return language.spoken(rng, spoken, language.random_words(rng, n))


@cache
def model() -> Model:
    """With the heads that calibration has found."""
    return load_model(AlignAttConfig(model_path=str(DIRECTORY)))


def without_heads(directory: Path) -> Path:
    """Make a directory with the same model, whose alignment heads nobody knows."""
    for name in ("config.json", "model.safetensors", "tekken.json"):
        (directory / name).symlink_to(DIRECTORY / name)
    return directory


@dataclass(frozen=True)
class Told:
    """What a listener was told of speech. passes: for each right word, how many passes later than it could have been.

    text: all that was told; n_words: how many there were to tell.
    """

    text: str
    passes: Counter[int]
    n_words: int


def told(chosen: Model, speech: Speech, chunks: Iterable[Samples]) -> Told:
    """Listen with a pass for each chunk. Words are told of which the text is right up to them."""
    whisper = listener(chosen, language=speech.language)
    updates, ends = list[Update](), list[int]()
    for chunk in chunks:
        whisper.insert_audio(chunk)
        updates.append(untimed(whisper.infer()))
        ends.append((ends or [0])[-1] + len(chunk))
    last = untimed(whisper.infer(is_last=True))
    at = [n for n, update in enumerate(updates) for _ in update.words] + [len(updates)] * len(last.words)
    words = [word.text for update in (*updates, last) for word in update.words]
    first = [_first_possible(speech, n, ends) for n in range(len(speech.words))]
    n_right = sum(1 for _ in _equal(words, speech))
    passes = Counter(pass_ - possible for pass_, possible in zip(at[:n_right], first, strict=False))
    return Told("".join(words), passes, len(speech.words))


def _first_possible(speech: Speech, n: int, ends: Sequence[int]) -> int:
    """Return the first pass that hears the middle of a word, and after it as much as the policy wants."""
    middle = sum(speech.spans[n]) // 2
    needed = middle + AlignAttConfig.frame_threshold * SAMPLES_PER_FRAME
    return next((pass_ for pass_, end in enumerate(ends) if end > needed), len(ends))


def _equal(words: Sequence[str], speech: Speech) -> Iterable[str]:
    for word, said in zip(words, speech.words, strict=False):
        if word != f" {language.WORDS[speech.language][said]}":
            return
        yield word
