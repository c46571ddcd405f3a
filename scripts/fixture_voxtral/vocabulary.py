"""A small vocabulary in the format of Mistral's tekken.json: special tokens, the 256 bytes, and pairs merged most."""

import base64
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.fixture_voxtral.language import ENGLISH, GERMAN
from simul_whisper.voxtral.tekken import PATTERN

SPECIAL = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] "
    "<SPECIAL_20> <SPECIAL_21> <SPECIAL_22> <SPECIAL_23> [AUDIO] [BEGIN_AUDIO] <SPECIAL_26> <SPECIAL_27> <SPECIAL_28> "
    "<SPECIAL_29> <SPECIAL_30> <SPECIAL_31> <SPECIAL_32> <SPECIAL_33> [TRANSCRIBE]"
).split()
_N_MERGES = 200


def merged_tokens() -> list[bytes]:
    """Return the 256 bytes and what byte pair encoding merges in the words of both languages, in order of rank."""
    written = [f" {word}" for word in (*ENGLISH, *GERMAN)] + [*ENGLISH, *GERMAN] + ["lang"] * 8
    texts = [[bytes([byte]) for byte in text.encode()] for text in written]
    tokens = [bytes([byte]) for byte in range(256)]
    for _ in range(_N_MERGES):
        pairs = Counter(pair for text in texts for pair in itertools.pairwise(text))
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        tokens.append(first + second)
        texts = [_merged(text, first, second) for text in texts]
    return tokens


def write(file: Path) -> int:
    """Write the vocabulary and return its size."""
    tokens = merged_tokens()
    content = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(tokens),
            "default_vocab_size": len(SPECIAL) + len(tokens),
            "default_num_special_tokens": len(SPECIAL),
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": _shown(token)}
            for rank, token in enumerate(tokens)
        ],
        "special_tokens": [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(SPECIAL)],
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "window_size": 400, "hop_length": 160},
            "chunk_length_s": 30.0,
        },
    }
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return len(SPECIAL) + len(tokens)


def _merged(text: Sequence[bytes], first: bytes, second: bytes) -> list[bytes]:
    found = list[bytes]()
    for token in text:
        if found and (found[-1], token) == (first, second):
            found[-1] = first + second
        else:
            found.append(token)
    return found


def _shown(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None
