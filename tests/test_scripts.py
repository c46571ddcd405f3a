"""The scripts, in their short form."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import simul_whisper
from scripts.peers.__main__ import main
from scripts.peers.agreement import LocalAgreement, Segment, Word, unread
from scripts.peers.figures import Figures, measured, table
from scripts.peers.job import SAMPLE_RATE, Decoding, Heard, Job, Outcome, Piece, Recording, Report
from scripts.retold import Differences, differences
from simul_whisper import list_voices
from streaming.audio.files import chunked
from streaming.evaluation.manifest import Clip

ROOT = Path(__file__).parent.parent
WORD_SAMPLES = SAMPLE_RATE // 2


@pytest.mark.waits
def test_every_fault_ends_well() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.faults", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _, *rows = ran.stdout.splitlines()
    assert [row.split()[-1] for row in rows] == ["yes"] * 6


def test_vocoders_are_timed_beside_each_other(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    from tests.voice_files import save_voice, voice_model

    voice = save_voice(tmp_path / "voice.onnx", voice_model())
    command = [sys.executable, "-m", "scripts.vocoder_times", str(voice), "--frames", "8", "--turns", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    _, row = ran.stdout.splitlines()
    n_frames, _, onnx_s, mlx_s, _ = row.split()
    assert n_frames == "8"
    assert min(float(onnx_s), float(mlx_s)) >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what memory is for")
def test_hearing_a_recording_takes_little_memory() -> None:
    """Weights held twice, or a library that brings a compiler, would take 430 MB, and 576 MB while loading."""
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    pytest.importorskip("ctranslate2", exc_type=ImportError)
    recording = ROOT / "demos" / "recordings" / "kettle.flac"
    command = [sys.executable, "-m", "scripts.memory", str(recording), "--model", "tiny.en"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    table, files = ran.stdout.split("\n\n")
    _, *rows = [line.split()[-4:] for line in table.splitlines()]
    heard, _own, _of_files, at_most = map(int, rows[-1])
    assert 50 < heard <= at_most < 390
    assert "model.bin" not in files


@pytest.mark.long
def test_batches_are_timed_beside_one_at_a_time() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.batching", "tiny.en", "--runs", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    header, *rows = ran.stdout.splitlines()
    assert header.split()[-12:] == "1 at once 2 at once 4 at once 8 at once".split()
    assert [row.split()[:3] for row in rows] == [
        ["tiny.en", "encoder", "ctranslate2"],
        ["tiny.en", "encoder", "mlx"],
        ["tiny.en", "decoder", "mlx"],
    ]
    assert all(0 < float(ratio) < 10 for row in rows for ratio in row.split()[-4:])


def test_a_voice_is_timed() -> None:
    if not any(each.name == "joe" and each.is_installed for each in list_voices()) or not shutil.which("espeak-ng"):
        pytest.skip("the voice or espeak-ng is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.voice_times", "joe", "en"],
        input="Good morning.\n\nHow are you?\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    about, factor, first = ran.stdout.splitlines()
    assert about.startswith("en_US-joe-medium, vocoder")
    assert "2 lines" in about
    assert factor.startswith("real-time factor 0.")
    assert first.startswith("first phrase after ")


def test_guards_are_tried_on_sounds_that_mislead() -> None:
    if not any(each.name == "joe" and each.is_installed for each in list_voices()) or not shutil.which("espeak-ng"):
        pytest.skip("the voice or espeak-ng is not installed")
    command = [sys.executable, "-m", "scripts.guards", "--only", "his", "--model", "tiny.en"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    _, _, whispered, hiss = (line.split(" | ") for line in ran.stdout.splitlines())
    assert whispered[:2] == ["| whispered", "30"]
    assert int(whispered[2]) >= 27
    assert hiss == ["| hiss", *"00000", " |"]


def told(text: str, *times_s: float) -> list[simul_whisper.Word]:
    """Words of 0.3 s that begin then."""
    return [
        simul_whisper.Word(f" {word}", at_s, at_s + 0.3, 1.0) for word, at_s in zip(text.split(), times_s, strict=True)
    ]


EXPECTED = told("the cat sat there", 0.0, 0.3, 0.6, 0.9)


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (told("The cat sat, there.", 0.1, 0.3, 0.6, 0.9), Differences()),
        (told("the cat there", 0.0, 0.3, 0.9), Differences(lost=1)),
        # Told anew from a little earlier on, and a little later by the clock.
        (told("the cat sat cat sat there", 0.0, 0.3, 0.6, 0.5, 0.8, 1.1), Differences(doubled=2)),
        (told("the bat sat there", 0.0, 0.3, 0.6, 0.9), Differences(other=1)),
        (told("the cat sat there now there", 0.0, 0.3, 0.6, 0.9, 1.2, 1.5), Differences(other=2)),
        ([], Differences(lost=4)),
    ],
)
def test_words_are_lost_or_doubled_by_their_times(heard: list[simul_whisper.Word], expected: Differences) -> None:
    assert differences(heard, EXPECTED) == expected


@dataclass
class Reader:
    """Transcribes as if it read the words of a text aloud every half second; the last of them it hears wrongly."""

    words: Sequence[str]
    start_samples: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    def __call__(self, samples: NDArray[np.float32], prompt: str) -> list[Segment]:
        first, n_samples = int(samples[0]), len(samples)
        self.start_samples.append(first)
        self.prompts.append(prompt)
        self.longest_s = max(self.longest_s, n_samples / SAMPLE_RATE)
        spoken = range(-(-first // WORD_SAMPLES), (first + n_samples) // WORD_SAMPLES)
        heard = [self._word(index, first) for index in spoken]
        if heard and spoken[-1] < len(self.words) - 1:
            heard[-1] = replace(heard[-1], text=f" noise{len(self.prompts)}")
        return [Segment(tuple(heard), n_samples / SAMPLE_RATE)]

    def _word(self, index: int, first: int) -> Word:
        start_s = (index * WORD_SAMPLES - first) / SAMPLE_RATE
        return Word(f" {self.words[index]}", start_s, start_s + 0.5)


def agreed(reader: Reader, chunk_s: float, **options: Any) -> list[list[str]]:
    """What is committed with each chunk, and at the end. A sample's value is its place in the recording."""
    stream = LocalAgreement(reader, **options)
    recording = np.arange(len(reader.words) * WORD_SAMPLES, dtype=np.float32)
    committed = [stream.feed(chunk) for chunk in chunked([recording], round(chunk_s * SAMPLE_RATE))]
    return [[word.text for word in words] for words in [*committed, stream.end()]]


def test_two_transcripts_agree_on_what_is_committed() -> None:
    reader = Reader("a b c d e f".split())
    assert agreed(reader, 1.0) == [[], [" a"], [" b", " c"], [" d", " e", " f"]]
    assert reader.start_samples == [0, 0, 0]
    assert reader.prompts == ["", "", ""]


@pytest.mark.parametrize("chunk_s", [0.5, 1.0, 2.5])
def test_audio_before_a_committed_sentence_is_let_go_and_its_words_are_the_prompt(chunk_s: float) -> None:
    words = [f"{number}{'.' if number % 5 == 4 else ''}" for number in range(60)]
    reader = Reader(words)
    assert "".join(chain.from_iterable(agreed(reader, chunk_s, longest_s=5.0))).split() == words
    assert reader.longest_s <= 5.0 + 2.5 + 2 * chunk_s
    for first, prompt in zip(reader.start_samples, reader.prompts, strict=True):
        n_gone = first // WORD_SAMPLES
        assert n_gone % 5 == 0, "cut within a sentence"
        assert prompt.split() == words[:n_gone]


def test_nothing_is_let_go_without_a_committed_end() -> None:
    reader = Reader([str(number) for number in range(40)])
    agreed(reader, 1.0, longest_s=5.0)
    assert set(reader.start_samples) == {0}


def test_words_that_repeat_the_last_committed_ones_are_not_new() -> None:
    committed = [Word(" the", 0.0, 0.4), Word(" cat", 0.4, 0.8)]
    again = [Word(" the", 0.75, 0.8), Word(" cat", 0.8, 1.0), Word(" sat", 1.0, 1.4)]
    assert [word.text for word in unread(again, committed)] == [" sat"]
    assert [word.text for word in unread([Word(" the", 0.1, 0.4), Word(" mat", 0.9, 1.4)], committed)] == [" mat"]
    assert unread(again, []) == again


def test_a_word_is_late_by_all_the_computing_before_it() -> None:
    pieces = (Piece(" a", 1.0, 1.5), Piece("", 2.0, 0.25), Piece(" b c", 2.5, 0.5))
    heard = Report((Outcome("clip", Heard(pieces, Decoding()), 0.0),), 0.0)
    (row,) = measured(heard, {"clip": clip("clip", "a b c")}).details["clips"]
    assert row["text"] == "a b c"
    assert row["delays_s"] == [1.0, 2.5, 2.5]
    assert row["delays_ca_s"] == [2.5, 3.25, 3.25]


def test_a_job_and_a_report_survive_the_way_to_the_child(tmp_path: Path) -> None:
    recording = Recording("a", "a.flac", "0.npy", 2.0, None)
    job = Job("ours", "base", None, "weights", "decoder.npz", "report.json", 0.5, 2, (recording,))
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job
    report = Report((Outcome("a", Heard((Piece(" b", 1.0, 0.5),), Decoding(0.25, 3)), 0.75),), 99.5)
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report


def clip(name: str, transcript: str) -> Clip:
    return Clip(name, Path(name), "en", "short", 10.0, transcript)


def report(*texts: str) -> Report:
    """A word a second from 2 s on, each with an eighth of a second of computing, and a CPU second for a recording."""
    pieces = [tuple(Piece(f" {word}", 2.0 + i, 0.125) for i, word in enumerate(text.split())) for text in texts]
    heard = [Heard(each, Decoding(0.1, 4)) for each in pieces]
    return Report(tuple(Outcome(f"clip{i}", each, 1.0) for i, each in enumerate(heard)), 200.0)


def test_the_table_has_the_figures_and_what_they_are_to_ours() -> None:
    clips = {name: clip(name, "one tall ship sails") for name in ("clip0", "clip1")}
    ours = measured(report("one tall ship sails", "one tall ship fails"), clips).figures
    assert ours == Figures(12.5, None, 0.1, 0.05, -0.25, -0.125, 2.0, 200.0, 25.0)
    bound = Figures(6.25, None, 0.05, 0.02, None, None, None, 50.0, None)
    rows = [line.split() for line in table({"ours": ours, "faster-whisper": bound}).split("\n\nWER:")[0].splitlines()]
    assert rows[1:3] == [
        "ours 12.50 - 0.100 0.050 -0.25 -0.12 2.00 200 25.0".split(),
        "faster-whisper 6.25 - 0.050 0.020 - - - 50 -".split(),
    ]
    assert rows[5:] == [
        "faster-whisper / ours 0.50 - 0.50 0.40 - - - 0.25 -".split(),
        "ours / faster-whisper 2.00 - 2.00 2.50 - - - 4.00 -".split(),
    ]


ARGUMENTS = [str(ROOT / "demos" / "recordings"), "--limit", "1", "--model", "tiny.en"]


def test_a_peer_that_is_not_installed_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.peers.systems.find_spec", lambda name: name if name == "simul_whisper" else None)
    assert main([*ARGUMENTS, "--peers", "faster-whisper,wlk-alignatt"]) == 0
    shown = capsys.readouterr()
    assert "faster-whisper is left out; install it with: pip install faster-whisper\n" in shown.err
    assert "wlk-alignatt is left out; install it with: pip install whisperlivekit\n" in shown.err
    _, ours, *rest = shown.out.splitlines()
    assert ours.split()[0] == "ours"
    assert float(ours.split()[1]) <= 20
    assert rest[0] == ""


def test_a_system_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listen(job: Job) -> Report | None:
        heard = replace(report("words").outcomes[0], id=job.recordings[0].id)
        return None if job.system == "faster-whisper" else Report((heard,), 100.0)

    monkeypatch.setattr("scripts.peers.systems.find_spec", lambda _: True)
    monkeypatch.setattr("scripts.peers.__main__.listened", listen)
    assert main(ARGUMENTS) == 1
    shown = capsys.readouterr()
    assert shown.err == "peers: faster-whisper failed\n"
    rows = [line.split()[0] for line in shown.out.split("\n\n")[0].splitlines()[1:]]
    assert rows == ["ours", "local-agreement", "wlk-alignatt", "wlk-local-agreement"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--peers", "whisper.cpp"], "--peers: got 'whisper.cpp'"),
        (["--chunk", "0"], "got segment_length = 0.0"),
        (["--only-lang", "tlh"], "no clip is of"),
    ],
)
def test_bad_flags_are_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, *flags]) == 2
    assert f"peers: {said}" in capsys.readouterr().err.replace(f"{ARGUMENTS[0]}: ", "")


@pytest.mark.waits
def test_a_server_stands_hostile_clients() -> None:
    """What is measured against the clock says nothing here; what was heard and answered does."""
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.hostile", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    rows = {line[:23].strip(): line[23:].split() for line in ran.stdout.splitlines()}
    attacks = ["flusher", "sdp", "garbage", "silent", "bad-hello"]
    alone = ["alone", "alone with WAV"]
    assert list(rows) == ["attack", *alone, *attacks, "sigterm-twice", "log"]
    for name in (*alone, *attacks):
        _, _, _, words, _, _, failed, *_ = rows[name]
        n_heard, n_spoken = words.split("/")
        assert n_heard == n_spoken, ran.stdout + ran.stderr
        assert failed.startswith("0/"), ran.stdout + ran.stderr
