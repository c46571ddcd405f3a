"""What Transformers and mistral-common make of a small Voxtral, for tests/data/voxtral_reference.npz.

`python -m scripts.voxtral_reference model DIRECTORY` writes the model; `... answers DIRECTORY FILE` needs torch,
transformers and mistral-common[audio], which nothing else here does, and may run in an environment of its own. Into
FILE (.npz) go the prompts of `CASES`, the tokens that follow when the likeliest is always taken, the logits of each,
and where one head looks.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_TOKENS = 8
HEAD = (1, 2)
_SEED = 2
_SAMPLE_RATE, _WINDOW_S = 16_000, 30


@dataclass(frozen=True)
class Case:
    """What is asked of how many windows of 30 s: a question, or a transcript in a language that is given or not."""

    n_windows: int
    question: str | None = None
    language: str | None = None


CASES = {
    "transcript": Case(1, language="en"),
    "language unknown": Case(1),
    "question": Case(1, question="was the one here?"),
    "two windows": Case(2, question="what was said"),
}


def windows(n: int) -> NDArray[np.float32]:
    """Return numbers in the range of spectrograms, (n, 128, 3000)."""
    return np.random.default_rng(n).uniform(-1, 1.5, (n, 128, 3000)).astype(np.float32)


def write_model(directory: Path) -> Path:
    """Write the model, whose heads look at few places, so that its answers depend on what it hears.

    In float32, because Transformers reads the encoder's positions, which we compute, from the file.
    """
    from simul_whisper.blas import mx
    from tests.voxtral_files import random_tensors, write_huggingface

    tensors = random_tensors(seed=_SEED)
    sharp = {name: 4 * each if name.endswith("attention.query.weight") else each for name, each in tensors.items()}
    return write_huggingface(directory, sharp, dtype=mx.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("model", "answers"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    given = parser.parse_args()
    if given.what == "model":
        write_model(given.directory)
    else:
        np.savez_compressed(given.file, **_answers(given.directory))


def _answers(directory: Path) -> dict[str, Any]:
    import torch
    from transformers import VoxtralForConditionalGeneration

    model = VoxtralForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    found = dict[str, Any]()
    for name, case in CASES.items():
        prompt = _prompt(directory, case)
        with torch.no_grad():
            said = model.generate(
                input_ids=torch.tensor([prompt]),
                input_features=torch.from_numpy(windows(case.n_windows)),
                max_new_tokens=N_TOKENS,
                do_sample=False,
                eos_token_id=2,
                output_logits=True,
                output_attentions=True,
                return_dict_in_generate=True,
            )
        layer, head = HEAD
        found |= {
            f"{name}.prompt": np.array(prompt, np.int32),
            f"{name}.tokens": said.sequences[0, len(prompt) :].numpy().astype(np.int32),
            f"{name}.logits": torch.stack(said.logits)[:, 0].numpy(),
            f"{name}.look": np.stack([each[layer][0, head, -1, : len(prompt)].numpy() for each in said.attentions]),
        }
    return found


def _prompt(directory: Path, case: Case) -> list[int]:
    from mistral_common.audio import Audio
    from mistral_common.protocol.instruct.chunk import AudioChunk, RawAudio, TextChunk
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.transcription.request import TranscriptionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    silence = np.zeros(case.n_windows * _WINDOW_S * _SAMPLE_RATE, np.float32)
    audio = Audio(audio_array=silence, sampling_rate=_SAMPLE_RATE, format="wav")
    tokenizer = MistralTokenizer.from_file(str(_of_version_7(directory)))
    if case.question is None:
        request = TranscriptionRequest(model="", audio=RawAudio.from_audio(audio), language=case.language)
        return list(tokenizer.encode_transcription(request).tokens)
    message = UserMessage(content=[AudioChunk.from_audio(audio), TextChunk(text=case.question)])
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=[message])).tokens)


def _of_version_7(directory: Path) -> Path:
    """Return the model's tokenizer in the version that came with audio; later ones need tokens of tools as well."""
    content = json.loads((directory / "tekken.json").read_text("utf-8"))
    content["config"]["version"] = "v7"
    file = directory / "tekken-v7" / "tekken.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content), "utf-8")
    return file


if __name__ == "__main__":
    main()
