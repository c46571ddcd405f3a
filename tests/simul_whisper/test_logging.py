"""What the engine logs: where the time of a pass goes, if that is asked for, and nothing else."""

import logging
import re
import sys

import pytest

from simul_whisper import SAMPLE_RATE, Model, Timing
from tests.conftest import Recording
from tests.listener import quick_listener

LINE = re.compile(r"(mel|encode|language|prefill|step \d+|commit) (\d+\.\d+) ms")


@pytest.mark.parametrize("settings", [{}, {"decoder_type": "beam"}, {"language": "auto"}], ids=str)
def test_the_stages_of_a_call_are_logged_and_add_up_to_its_time(
    captions: Recording, base: Model, caplog: pytest.LogCaptureFixture, settings: dict[str, str]
) -> None:
    caplog.set_level(logging.DEBUG, "simul_whisper")
    whisper = quick_listener(base, **settings)
    for start_s in (0, 1, 3):
        caplog.clear()
        whisper.insert_audio(captions.samples[start_s * SAMPLE_RATE : (start_s + 2) * SAMPLE_RATE])
        timing = whisper.infer(is_last=start_s == 3).timing
        lines = [LINE.fullmatch(message) for message in caplog.messages]
        assert {each.levelno for each in caplog.records} == {logging.DEBUG}
        logged = [(line[1], float(line[2])) for line in lines if line]
        assert len(logged) == len(lines)
        assert [name for name, _ in logged] == [name for name, _ in timing.stages()]
        assert sum(ms for _, ms in logged) == pytest.approx(1000 * timing.total_s, rel=0.05)
        steps = [name for name, _ in logged if name.startswith("step")]
        assert steps == [f"step {n}" for n in range(1, len(timing.step_s) + 1)]


def test_the_times_of_several_passes_add_up(captions: Recording, tiny: Model) -> None:
    whisper = quick_listener(tiny, audio_max_len=4.0)
    whisper.insert_audio(captions.samples[: 9 * SAMPLE_RATE])
    timing = whisper.infer(is_last=True).timing
    assert timing.windows > 2
    assert sum(stage_s for _, stage_s in timing.stages()) == pytest.approx(timing.total_s, rel=0.05)
    assert Timing.sum_of([timing, timing]).total_s == 2 * timing.total_s


def test_nothing_is_logged_or_counted_unless_it_is_asked_for(
    captions: Recording, tiny: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "simul_whisper")
    monkeypatch.setattr(Timing, "stages", lambda _timing: sys.exit("the stages were gone through"))
    whisper = quick_listener(tiny)
    whisper.insert_audio(captions.samples[: 2 * SAMPLE_RATE])
    assert whisper.infer().timing.windows == 1
    assert caplog.records == []
