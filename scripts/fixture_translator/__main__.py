"""Train the fixture translator: `python -m scripts.fixture_translator DIRECTORY` (minutes, on two cores).

It writes what a converted OPUS-MT model has: model.bin, config.json, shared_vocabulary.json, source.spm, target.spm and
tokenizer_config.json. The one in tests/data/translator was made so.
"""

import argparse
import io
import json
import math
import time
from pathlib import Path

# First, so that MLX finds a fast BLAS.
from simul_whisper.blas import mx  # isort: split

import mlx.optimizers as optim
import sentencepiece
from sentencepiece import SentencePieceProcessor

from scripts.fixture_translator import language
from scripts.fixture_translator.examples import END, UNKNOWN, Tokenizers, batches, sentences
from scripts.fixture_translator.network import Dims, Parameters, loss, new_parameters
from scripts.fixture_translator.saving import save

_N_PIECES = {"source": 260, "target": 260}
_N_WARMING = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where to put the model")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    tokenizers = _tokenizers(given.directory)
    dims = Dims(len(tokenizers.vocabulary))
    save(given.directory, dims, tokenizers.vocabulary, _trained(dims, tokenizers, given.steps, given.seed))
    pair = {"source_lang": language.SOURCE, "target_lang": language.TARGET}
    (given.directory / "tokenizer_config.json").write_text(json.dumps(pair) + "\n", "utf-8")


def _tokenizers(directory: Path) -> Tokenizers:
    """Train both, small enough that most words are several pieces, and write them."""
    found = []
    text = sentences(seed=1, n=20_000, share_cut=0)
    sides = {
        "source": ["".join(words).strip() for words in text],
        "target": [" ".join(word.text for word in language.translate(words)) for words in text],
    }
    for side, lines in sides.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=_N_PIECES[side],
            model_type="bpe",
            minloglevel=2,
            num_threads=1,
        )
        (directory / f"{side}.spm").write_bytes(model.getvalue())
        found.append(SentencePieceProcessor(model_proto=model.getvalue()))
    pieces = {each.id_to_piece(n): None for each in found for n in range(len(each)) if not each.is_control(n)}
    return Tokenizers(found[0], found[1], [END, UNKNOWN, *(piece for piece in pieces if piece != UNKNOWN)])


def _trained(dims: Dims, tokenizers: Tokenizers, n_steps: int, seed: int) -> Parameters:
    """Return weights learned from sentences of which no two steps have the same."""
    parameters = new_parameters(dims, seed)

    def rate(step: mx.array) -> mx.array:
        return 2e-3 * mx.minimum((step + 1) / _N_WARMING, 0.5 * (1 + mx.cos(math.pi * step / n_steps)) + 1e-3)

    optimizer = optim.AdamW(learning_rate=rate, betas=[0.9, 0.98], weight_decay=0.01)
    differentiate = mx.value_and_grad(loss)
    started = time.monotonic()
    for step, chosen in enumerate(batches(tokenizers, n_steps, seed)):
        value, gradients = differentiate(parameters, dims, chosen, 0.5)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)  # type: ignore[no-untyped-call]
        parameters = optimizer.apply_gradients(gradients, parameters)
        mx.eval(parameters, optimizer.state)
        if step % 200 == 0 or step == n_steps - 1:
            print(f"step {step}: loss {value.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return parameters


if __name__ == "__main__":
    main()
