"""Compare our reading of Mistral's tokenizer with Mistral's own, over one of the vocabularies in its package.

python -m scripts.compare_tekken FILES_OF_TEXT

Needs `pip install mistral-common`, in an environment of its own. The package's files are older than Voxtral and name no
special tokens; Voxtral's are added in a copy. Every line of the files is compared, and as many random texts.
"""

import json
import sys
import tempfile
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from simul_whisper.voxtral.tekken import TekkenTokenizer

_ADDED = {24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]"}
_LONGEST = 60


def main(names: list[str]) -> int:
    mistral: Any = import_module("mistral_common.tokens.tokenizers.tekken").Tekkenizer
    content = json.loads((files("mistral_common") / "data" / "tekken_240911.json").read_text("utf-8"))
    content["config"]["version"] = "v13"
    known = [each["token_str"] for each in mistral.DEPRECATED_SPECIAL_TOKENS]
    names_of = [_ADDED.get(rank, f"<SPECIAL_{rank}>") for rank in range(len(known), max(_ADDED) + 1)]
    content["special_tokens"] = [
        {"rank": rank, "token_str": str(name), "is_control": True} for rank, name in enumerate([*known, *names_of])
    ]
    for key in ("image", "multimodal"):
        content.pop(key, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tekken.json"
        file.write_text(json.dumps(content), "utf-8")
        ours, theirs = TekkenTokenizer(file), mistral.from_file(file)
    lines = [line for name in names for line in Path(name).read_text("utf-8").splitlines(keepends=True)]
    texts = [*lines, *_random_texts(len(lines))]
    wrong = [text for text in texts if not _are_same(ours, theirs, text)]
    print(f"{len(texts)} texts, {sum(map(len, texts))} characters: {len(wrong)} differ", *wrong[:3], sep="\n")
    pieces = [token for token in range(ours.n_vocab) if ours.bytes_of(token) != theirs.id_to_byte_piece(token)]
    print(f"{ours.n_vocab} tokens: {len(pieces)} have other bytes")
    special = [name for name in _ADDED.values() if ours.special(name) != theirs.get_special_token(name)]
    return 1 if wrong or pieces or special else 0


def _are_same(ours: TekkenTokenizer, theirs: Any, text: str) -> bool:
    tokens = ours.encode(text)
    are_same = tokens == theirs.encode(text, bos=False, eos=False)
    return are_same and ours.decode(tokens) == text and theirs.decode(tokens) == text


def _random_texts(n: int) -> list[str]:
    """Return texts of letters of many scripts, signs and spaces."""
    random = np.random.default_rng(0)
    ranges = [(32, 127), (9, 14), (160, 591), (0x370, 0x600), (0x900, 0xE00), (0x3040, 0x3100), (0x4E00, 0x9FFF)]
    characters = [chr(code) for start, end in [*ranges, (0x1F300, 0x1F700)] for code in range(start, end)]
    weights = np.array([40 if ord(each) < 127 else 1 for each in characters], float)
    sizes = random.integers(1, _LONGEST, n)
    return ["".join(random.choice(characters, size, p=weights / weights.sum())) for size in sizes]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
