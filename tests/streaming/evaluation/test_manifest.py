"""Manifests that load, and what is said of those that do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from streaming.audio.files import read_audio
from streaming.evaluation.manifest import Clip, ManifestError, Segment, load_manifest

ROW: dict[str, Any] = {
    "id": "tide",
    "path": "short/tide.flac",
    "lang": "en",
    "kind": "short",
    "duration_s": 3,
    "transcript": "The tide turns.",
    "translation_en": None,
    "licence": "CC0 1.0",
}
PROJECT = Path(__file__).parents[3]
EVAL = PROJECT.parent / "shared" / "eval"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_folder_or_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(ROW), "", json.dumps(ROW | {"id": "b", "transcript": None}))
    expected = Clip("tide", tmp_path / "short" / "tide.flac", "en", "short", 3.0, "The tide turns.")
    clips = load_manifest(path)
    assert clips == load_manifest(tmp_path) == load_manifest(str(tmp_path))
    assert clips[0] == expected
    assert clips[1].transcript is None


def test_line_separators_inside_a_text_do_not_split_it(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(ROW | {"transcript": "one\u2028two\x85"}, ensure_ascii=False))
    assert load_manifest(path)[0].transcript == "one\u2028two\x85"


def test_references_may_be_empty_and_translations_left_out(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "translation_en"} | {"transcript": ""}
    clip = load_manifest(write(tmp_path, json.dumps(row)))[0]
    assert (clip.transcript, clip.translations) == ("", {})


def test_translations_are_those_into_languages(tmp_path: Path) -> None:
    row = ROW | {"translation_es": "La marea cambia.", "translation_yue": "", "translation_by": "hand"}
    clip = load_manifest(write(tmp_path, json.dumps(row)))[0]
    assert clip.translations == {"es": "La marea cambia.", "yue": ""}


def test_segments_of_a_long_transcript(tmp_path: Path) -> None:
    first = {"start": 0, "end": 1.5, "text": "The tide", "translation_es": "La marea"}
    pieces = [first, {"start": 1.5, "end": 3, "text": "turns."}]
    clip = load_manifest(write(tmp_path, json.dumps(ROW | {"segments": pieces})))[0]
    assert clip.segments == (Segment(0.0, 1.5, "The tide", {"es": "La marea"}), Segment(1.5, 3.0, "turns."))


@pytest.mark.parametrize(
    ("second_line", "message"),
    [
        ("{", "line 2: this is not JSON"),
        ("[]", "line 2: got list, expected an object"),
        (json.dumps(ROW), "line 2: the id 'tide' appears twice"),
        (json.dumps({"id": "b"}), "line 2: 'path' is missing"),
        (json.dumps(ROW | {"id": 7}), "line 2: got 'id': 7"),
        (json.dumps(ROW | {"id": "b", "lang": ""}), "line 2: got 'lang': ''"),
        (json.dumps(ROW | {"id": "b", "transcript": ["a"]}), "line 2: got 'transcript': "),
        (json.dumps(ROW | {"id": "b", "translation_es": 7}), "line 2: got 'translation_es': 7"),
        (json.dumps(ROW | {"id": "b", "segments": "a"}), "line 2: got 'segments': 'a'"),
        (json.dumps(ROW | {"id": "b", "segments": [{"start": 1, "end": 1, "text": ""}]}), "line 2: got the segment"),
        (json.dumps(ROW | {"id": "b", "segments": [{"start": True, "end": 2, "text": ""}]}), "line 2: got the segment"),
        (
            json.dumps(ROW | {"id": "b", "segments": [{"start": s, "end": s + 2, "text": ""} for s in (0, 1)]}),
            "line 2: got 'segments' that overlap",
        ),
        (json.dumps(ROW | {"id": "b", "duration_s": 0}), "line 2: got 'duration_s': 0"),
        (json.dumps(ROW | {"id": "b", "duration_s": True}), "line 2: got 'duration_s': True"),
        (json.dumps(ROW | {"id": "b", "duration_s": float("nan")}), "line 2: got 'duration_s': nan"),
    ],
)
def test_errors_say_where_and_what(tmp_path: Path, second_line: str, message: str) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.jsonl") as error:
        load_manifest(write(tmp_path, json.dumps(ROW), second_line))
    assert message in str(error.value)


def test_missing_empty_and_binary_manifests(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.jsonl: No such file"):
        load_manifest(tmp_path)
    with pytest.raises(ManifestError, match="there are no clips"):
        load_manifest(write(tmp_path, "", ""))
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not UTF-8"):
        load_manifest(tmp_path)


def test_the_demo_recordings_are_a_set() -> None:
    clips = load_manifest(PROJECT / "demos" / "recordings")
    assert max(clip.duration_s for clip in clips) > 60
    for clip in clips:
        assert len(read_audio(clip.path)) / 16_000 == pytest.approx(clip.duration_s, abs=0.001)
        # Of the longest, the segments are the whole text.
        if clip.segments:
            assert clip.segments[-1].end_s < clip.duration_s
            assert " ".join(segment.text for segment in clip.segments) == clip.transcript
            assert " ".join(each.translations["es"] for each in clip.segments) == clip.translations["es"]
    assert all(clip.translations["es"] for clip in clips)
    assert any(clip.segments for clip in clips)


@pytest.mark.skipif(not EVAL.exists(), reason="needs the shared recordings")
def test_the_shared_recordings_are_a_set() -> None:
    clips = load_manifest(EVAL)
    assert len(clips) > 100
    assert all(clip.path.is_file() for clip in clips)
    assert {clip.kind for clip in clips} == {"short", "long", "hard"}


def test_a_third_is_kept_by_name_and_pieces_of_a_chapter_stay_together(tmp_path: Path) -> None:
    names = [f"en_{speaker}-7-{piece:04}" for speaker in range(300) for piece in range(2)]
    clips = load_manifest(write(tmp_path, *(json.dumps(ROW | {"id": name}) for name in names)))
    assert [clip.is_kept for clip in clips[::2]] == [clip.is_kept for clip in clips[1::2]]
    assert 80 < sum(clip.is_kept for clip in clips[::2]) < 120
    assert [i // 2 for i, clip in enumerate(clips[:40]) if clip.is_kept] == [6, 6, 15, 15, 18, 18]
