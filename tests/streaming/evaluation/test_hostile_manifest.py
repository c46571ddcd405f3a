"""A manifest that a stranger made is read or refused in one line."""

import json
import os
from pathlib import Path

from hypothesis import given

from streaming.evaluation.manifest import load_manifest
from tests.hostile_files import damaged, damaged_json, only_our_errors
from tests.properties import examples
from tests.streaming.evaluation.test_manifest import ROW

LINE = json.dumps(ROW | {"segments": [{"start": 0, "end": 1.5, "text": "The tide"}]})


@examples(300)
@given(content=damaged_json(LINE) | damaged(LINE.encode()))
def test_a_damaged_manifest_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(content)
    with only_our_errors():
        for clip in load_manifest(tmp_path):
            assert clip.id.encode()
            assert os.fsencode(clip.path)
