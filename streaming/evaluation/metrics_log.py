"""The metrics log of simulstream (JSONL), which its scorers and omnisteval read.

Tokens are whole words with their leading spaces, or punctuation that came later, so they are joined as they stand; the
scorers are told so by `detokenizer_type: simuleval` and `latency_unit: spm` in their YAML file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from simul_whisper import Word
from streaming.output.durable import Writable


class MetricsLog:
    """Writes a line for each chunk of each recording, one recording after the other."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._n_recordings = 0

    def model_loaded(self, loading_s: float) -> None:
        self._write({"model_loading_time": loading_s})

    def start(self, path: Path | str) -> None:
        """Begin a recording; the readers know it by the stem of its name, which no other may share."""
        self._n_recordings += 1
        self._write({"id": self._n_recordings, "metadata": {"wav_name": str(path)}})

    def chunk(self, heard_s: float, computation_s: float, words: Sequence[Word]) -> None:
        """heard_s: all audio of this recording so far; computation_s: what this chunk took; words: those it brought."""
        assert self._n_recordings, "start() comes first"
        self._write(
            {
                "id": self._n_recordings,
                "total_audio_processed": heard_s,
                "computation_time": computation_s,
                "generated_tokens": [word.text for word in words],
                "generated_languages": [word.language for word in words],
                "deleted_tokens": [],
            }
        )

    def _write(self, row: dict[str, object]) -> None:
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()
