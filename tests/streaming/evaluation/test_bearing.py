"""How the number of listeners that a server bears is found, and said."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE
from streaming.audio.wave_file import WaveFile
from streaming.cli import main
from streaming.client import RefusedError
from streaming.evaluation import bearing
from streaming.evaluation.bearing import Search, trial_of
from streaming.evaluation.load import Listening
from tests.streaming.serving import Served, s16, serving
from tests.tones import random_words, speech_of


@given(st.integers(0, 5_000))
def test_the_number_is_found_to_a_sixteenth_in_few_trials(borne: int) -> None:
    search, n_trials = Search(), 0
    while (n := search.next()) is not None:
        search.note(n, is_borne=n <= borne)
        n_trials += 1
    assert search.n_borne <= borne
    assert n_trials <= 20
    if borne <= 4_096:
        assert borne - search.n_borne <= max(1, borne // 16)


def test_a_trial_counts_the_words_of_those_who_were_let_in() -> None:
    slow = Listening("", (2.0, 3.0), 0.0)
    trial = trial_of([Listening("", (1.0, 2.0), 0.0), RefusedError("too_many_sessions", "full", 9.0), slow])
    assert (trial.n_clients, trial.n_admitted, trial.n_words) == (3, 2, 4)
    assert (trial.in_time, trial.median_s, trial.p95_s) == (0.75, 2.0, 3.0)
    assert trial.refusal == "too_many_sessions: full"
    assert not trial.is_borne
    assert trial_of([Listening("", (1.0,), 0.0)]).is_borne
    assert math.isnan(trial_of([Listening("", (), 0.0)]).in_time)
    assert not trial_of([]).is_borne


@pytest.fixture
def _trials_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearing, "SETTLED_S", 0.1)
    monkeypatch.setattr(bearing, "_ARRIVALS_S", 0.2)
    monkeypatch.setattr(bearing, "_MOST", 4)


@pytest.mark.usefixtures("_trials_are_short")
def test_the_command_says_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speech.wav"
    file = WaveFile(path, SAMPLE_RATE)
    file.write(s16(speech_of(random_words(3, 1)).samples))
    file.close()

    def found(served: Served) -> list[str]:
        command = ["load", f"ws://127.0.0.1:{served.port}", str(path), "--find", "--trial-s", "1.5"]
        assert main(command) == 0
        return capsys.readouterr().out.splitlines()

    with serving() as served:
        _, *rows, last = found(served)
    assert [row.split()[:4] for row in rows] == [["2", "at", "once", "2"], ["4", "at", "once", "4"]]
    assert last == "the server bears 4 listeners at once, with 95 % of the words within 2.5 s"
    with serving(max_sessions=1) as served:
        _, row, last = found(served)
    assert row.split()[:4] == ["2", "at", "once", "1"]
    assert last.startswith(
        "the server lets in 1 at once, with 100.0 % of the words within 2.5 s, and refuses more: too"
    )
    assert "try again in" in last
