"""`simul-whisper bench` with genuine weights, short: the bounds on quality are generous, and there are none on time."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from simul_whisper import SAMPLE_RATE, AlignAttConfig, BackendError
from streaming.cli import main
from streaming.evaluation.evaluation_log import NAMES, has_omnisteval
from tests.sounds import NOT_SPEECH

RECORDINGS = Path(__file__).parents[3] / "demos" / "recordings"
FAST = ["--model", "tiny.en", "--padding-len", "3"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our recordings, and sounds that nothing may be heard in."""
    folder = tmp_path_factory.mktemp("manifest")
    clips = [json.loads(line) for line in (RECORDINGS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [clip | {"path": str(RECORDINGS / clip["path"])} for clip in clips]
    for name in ("silence", "noise", "music"):
        samples = NOT_SPEECH[name]
        soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE)
        row = {"id": name, "path": f"{name}.wav", "lang": "none", "kind": "sound", "duration_s": len(samples)}
        rows.append(row | {"transcript": ""})
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def bench(manifest: Path, folder: Path, *flags: str) -> dict[str, Any]:
    kept = folder / "bench.json"
    assert main(["bench", str(manifest), *FAST, "--json", str(kept), *flags]) == 0
    figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return figures


@pytest.mark.parametrize(
    ("flags", "groups"),
    [([], {"en/long", "en/short"}), (["--engine-alone", "--only-kind", "short"], {"en/short"})],
    ids=["listener", "engine"],
)
def test_the_recordings_are_heard_to_the_last_word(
    flags: list[str], groups: set[str], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = bench(manifest, tmp_path, "--only-lang", "en", *flags)
    assert figures["groups"].keys() == groups
    for group in figures["groups"].values():
        assert group["wer"] <= 8
        assert group["wer_offline"] <= 8
    assert (figures["overall"]["loops"], figures["overall"]["lost_last_words"]) == (0, 0)
    assert bool(figures["voice"]) == (not flags)
    assert (figures["overall"]["laal_shown_s"] is None) == bool(flags)
    # There is nothing to detect.
    assert figures["overall"]["languages_detected"] is None
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in figures["groups"])
    assert "WER" in out
    assert "CER" not in out


@pytest.mark.parametrize("flags", [[], ["--engine-alone"]], ids=["listener", "engine"])
def test_nothing_is_heard_where_nobody_speaks(flags: list[str], manifest: Path, tmp_path: Path) -> None:
    overall = bench(manifest, tmp_path, "--only-lang", "none", "--no-offline", *flags)["overall"]
    assert overall["clips"] == 3
    assert (overall["words_without_speech"], overall["loops"]) == (0, 0)


def test_foresight_is_a_bound_of_what_can_be_had(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--only-kind", "short", "--no-offline", "--chunk", "2", "--engine-alone", "--foresight"]
    group = bench(manifest, tmp_path, *flags)["groups"]["en/short"]
    assert group["wer_foreseen"] <= 8
    assert group["laal_end_s"] < group["laal_chunk_s"]
    assert group["laal_earliest_s"] < group["laal_s"]
    assert "earliest" in capsys.readouterr().out


def test_the_logs_are_kept_and_scored(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    figures = bench(manifest, tmp_path, "--only-kind", "short", "--no-offline", "--log", str(logs))
    group = figures["groups"]["en/short"]
    assert (logs / "en-short" / "hypotheses.jsonl").is_file()
    assert group.keys() >= set(NAMES)
    assert (group["yaal_s"] is not None) == has_omnisteval()
    out, err = capsys.readouterr()
    assert "YAAL" in out
    assert ("pip install OmniSTEval" in err) != has_omnisteval()


def test_without_omnisteval_the_logs_are_kept(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streaming.evaluation.evaluation_log.find_spec", lambda _: None)
    flags = ["--only-kind", "short", "--skip", "kettle", "--no-offline", "--log", str(tmp_path / "logs")]
    figures = bench(manifest, tmp_path, *flags)
    assert figures["groups"]["en/short"]["yaal_s"] is None
    assert "pip install OmniSTEval" in capsys.readouterr().err
    assert (tmp_path / "logs" / "en-short" / "score.sh").is_file()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--foresight"], "--foresight needs --engine-alone"),
        (["--engine-alone", "--vad-silence", "0.5"], "--engine-alone"),
        (["--language", "en", "--detect-language"], "--detect-language"),
        (["--before", "/no/such.json"], "/no/such.json: No such file"),
        (["--before", __file__], "expected figures that bench --json has written"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(
    flags: list[str], said: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(manifest), "--model", "/no/such/model", *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_run_is_compared_with_the_one_before(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--only-kind", "short", "--skip", "kettle", "--no-offline"]
    bench(manifest, tmp_path, *flags)
    figures = bench(manifest, tmp_path, *flags, "--before", str(tmp_path / "bench.json"))
    same = {name: figures["differences"]["en"][name] for name in ("errors", "drafts_right", "flicker")}
    assert all(each == {"value": 0} for each in same.values())
    assert figures["intervals"]["en"]["errors"]["value"] == pytest.approx(figures["overall"]["wer"], abs=0.01)
    assert figures["overall"]["cpu_per_audio_s"] > 0
    assert "minus before" in capsys.readouterr().out
    alone = [*flags, "--engine-alone", "--before", str(tmp_path / "bench.json")]
    bench(manifest, tmp_path, *alone)
    assert "is of what a listener gets, and this run of the engine alone" in capsys.readouterr().err


def test_a_run_of_other_recordings_is_not_compared(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"clips": [{"id": "another"}], "voice": None}), encoding="utf-8")
    assert main(["bench", str(manifest), "--model", "/no/such/model", "--before", str(other)]) == 2
    assert "none of these clips is in it" in capsys.readouterr().err


def test_the_bound_is_heard_where_faster_whisper_is_installed(manifest: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    figures = bench(manifest, tmp_path, "--only-kind", "short", "--skip", "kettle")
    assert figures["groups"]["en/short"]["wer_bound"] <= 8
    assert all(clip["bound"] for clip in figures["clips"])
    assert figures["intervals"]["en"]["errors_above_bound"] is not None


def test_weights_in_another_layout_have_no_bound(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    from streaming.evaluation.bound import FasterWhisper

    for name in ("model.bin", "tokenizer.json"):
        with pytest.raises(BackendError, match=f"it has no {name}"):
            FasterWhisper(AlignAttConfig(model_path=str(tmp_path)))
        (tmp_path / name).write_text("no weights")
    with pytest.raises(BackendError, match="faster-whisper does not load"):
        FasterWhisper(AlignAttConfig(model_path=str(tmp_path)))


def test_without_faster_whisper_the_bound_is_left_out(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    monkeypatch.delitem(sys.modules, "streaming.evaluation.bound", raising=False)
    figures = bench(manifest, tmp_path, "--only-kind", "short", "--skip", "kettle")
    assert figures["overall"]["wer_bound"] is None
    assert "pip install faster-whisper" in capsys.readouterr().err


def test_bench_refuses_what_is_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tmp_path)]) == 2
    assert "manifest.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "needs --backend coreml or --decoder-backend coreml"),
        (["--decoder-backend", "coreml", "--coreml-decoder-path", "none.mlpackage"], "none.mlpackage: no such Core ML"),
    ],
)
def test_what_is_to_run_in_numpy_must_run(
    flags: list[str], said: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("coremltools", exc_type=ImportError)
    assert main(["bench", str(manifest), *FAST, "--coreml-reference", *flags]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "--coreml-reference: " in last
    assert said in last
