"""How soon words are committed, where it is known when they could be: `python -m scripts.chord_delays`.

The small Voxtral of the tests listens to chords, with a pass a second, by AlignAtt and by LocalAgreement.
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

from scripts.fixture_voxtral import language
from scripts.fixture_voxtral.language import Speech
from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, load_model
from simul_whisper.audio import SAMPLES_PER_FRAME, Samples
from simul_whisper.decoders.fallback import FallbackDecoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.voxtral.decoder import VoxtralDecoder
from streaming.audio.files import chunked

DIRECTORY = Path(__file__).parent.parent / "tests" / "data" / "voxtral"


@dataclass(frozen=True)
class Told:
    """What a listener was told of speech.

    words: all that was told. n_said: how many there were to tell. passes: how many right words were told so many passes
    later than was possible.
    """

    words: tuple[str, ...]
    n_said: int
    passes: Counter[int]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def held_out(seed: int, n: int, spoken: str) -> Speech:
    """Speech that the model did not learn from."""
    rng = random.Random(f"held out {seed}")
    return language.spoken(rng, spoken, language.random_words(rng, n))


def without_heads(model: Model) -> Model:
    """Return the same model, whose alignment heads nobody knows."""
    decoder = model.decoder.load()
    assert isinstance(decoder, VoxtralDecoder)
    blind = VoxtralDecoder(decoder.language.looking(()), decoder.tokenizer, n_heads=0)
    changed = replace(model, decoder=FallbackDecoder(BackendStatus("mlx"), lambda: blind))
    changed.decoder.load()
    return changed


def told(model: Model, speech: Speech, chunks: Iterable[Samples]) -> Told:
    """Listen, with a pass for each chunk and one at the end."""
    whisper = PaddedAlignAttWhisper(AlignAttConfig(language=speech.language), model, drafts=False)
    found, ends = list[tuple[str, int]](), list[int]()
    for chunk in chunks:
        whisper.insert_audio(chunk)
        found += [(word.text.strip(), len(ends)) for word in whisper.infer().words]
        ends.append((ends or [0])[-1] + len(chunk))
    found += [(word.text.strip(), len(ends)) for word in whisper.infer(is_last=True).words]
    words, said = [word for word, _ in found], speech.text.split()
    passes = Counter[int]()
    for block in SequenceMatcher(None, words, said, autojunk=False).get_matching_blocks():
        for n in range(block.size):
            passes[found[block.a + n][1] - _first_possible(speech, block.b + n, ends)] += 1
    return Told(tuple(words), len(said), passes)


def _first_possible(speech: Speech, n: int, ends: Sequence[int]) -> int:
    """Return the first pass that hears the middle of a word, and after it as much as the policy wants."""
    needed = sum(speech.spans[n]) // 2 + AlignAttConfig.frame_threshold * SAMPLES_PER_FRAME
    return next((n_pass for n_pass, end in enumerate(ends) if end > needed), len(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10, help="how many, of 30 words each")
    given = parser.parse_args()
    model = load_model(AlignAttConfig(model_path=str(DIRECTORY)))
    for name, chosen in (("AlignAtt", model), ("LocalAgreement", without_heads(model))):
        passes, n_said, n_told = Counter[int](), 0, 0
        for n in range(given.recordings):
            speech = held_out(n, 30, ("en", "de")[n % 2])
            found = told(chosen, speech, chunked([speech.samples], SAMPLE_RATE))
            passes, n_said, n_told = passes + found.passes, n_said + found.n_said, n_told + len(found.words)
        n_right = passes.total()
        at_once = sum(passes[late] for late in passes if late <= 0)
        print(f"{name}: {n_right} of {n_said} words right, {n_told - n_right} too many; of the right ones", end=" ")
        print(f"{at_once / n_right:.1%} at the first pass possible, {passes[1] / n_right:.1%} at the next")


if __name__ == "__main__":
    main()
