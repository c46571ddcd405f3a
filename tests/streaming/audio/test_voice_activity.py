"""Voice activity on our recordings and on sounds that are no speech; the rule itself with a scripted detector."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, ConfigError
from streaming.audio.gate import OpenGate
from streaming.audio.speech import Gate, GateEvent, Offset, Onset, Pause, Speech
from streaming.audio.voice_activity import CHUNK_SAMPLES, VoiceGate
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.properties import examples
from tests.sounds import NOT_SPEECH, noise, silence

Samples = NDArray[np.float32]


def passed(gate: Gate, pieces: Sequence[Samples]) -> list[GateEvent]:
    """Everything that comes out, with contiguous speech joined."""
    joined: list[GateEvent] = []
    for event in [event for piece in pieces for event in gate.feed(piece)] + gate.end():
        last = joined[-1] if joined else None
        if isinstance(event, Speech) and isinstance(last, Speech):
            assert last.start_sample + len(last.samples) == event.start_sample
            joined[-1] = Speech(np.concatenate([last.samples, event.samples]), last.start_sample)
        else:
            joined.append(event)
    return joined


def spans_s(events: Sequence[GateEvent]) -> list[tuple[float, float]]:
    onsets = [event.sample / SAMPLE_RATE for event in events if isinstance(event, Onset)]
    offsets = [event.sample / SAMPLE_RATE for event in events if isinstance(event, Offset)]
    return list(zip(onsets, offsets, strict=True))


class Script:
    """A detector that says, for each chunk, how loud its first sample is."""

    def process_samples(self, samples: Sequence[float]) -> float:
        return samples[0]


def scripted(probabilities: Sequence[float], **options: float) -> list[GateEvent]:
    gate = VoiceGate(VoiceConfig(**options))  # type: ignore[arg-type]
    gate._detector = Script()  # type: ignore[assignment]
    return passed(gate, [np.repeat(np.array(probabilities, np.float32), CHUNK_SAMPLES)])


# The rule


def test_an_utterance_has_its_lead_in_and_the_silence_that_ended_it() -> None:
    chunk_s = CHUNK_SAMPLES / SAMPLE_RATE
    events = scripted(
        [0.0] * 10 + [0.9] * 5 + [0.0] * 20,
        vad_lead_in=3 * chunk_s,
        vad_silence=4 * chunk_s,
        vad_min_speech=2 * chunk_s,
    )
    onset, speech, offset = events
    assert onset == Onset(10 * CHUNK_SAMPLES)
    assert isinstance(speech, Speech)
    assert speech.start_sample == 7 * CHUNK_SAMPLES
    assert len(speech.samples) == (3 + 5 + 4) * CHUNK_SAMPLES
    assert offset == Offset(15 * CHUNK_SAMPLES)


def test_a_pause_is_told_once_and_what_follows_waits_for_more_speech() -> None:
    options = {"vad_pause": 0.2, "vad_silence": 0.7, "vad_lead_in": 0.0, "vad_min_speech": 0.0}
    quiet = [0.0] * 12
    onset, first, pause, second, again, offset = scripted([0.9] * 5 + quiet + [0.9] + [0.0] * 40, **options)
    assert (onset, pause, again) == (Onset(0), Pause(5 * CHUNK_SAMPLES), Pause(18 * CHUNK_SAMPLES))
    assert isinstance(first, Speech)
    assert isinstance(second, Speech)
    # 0.2 s are 7 chunks.
    assert len(first.samples) == (5 + 7) * CHUNK_SAMPLES
    assert (second.start_sample, len(second.samples)) == (12 * CHUNK_SAMPLES, (5 + 1 + 7) * CHUNK_SAMPLES)
    assert offset == Offset(18 * CHUNK_SAMPLES)


def test_a_dip_that_is_no_pause_comes_with_the_speech_after_it() -> None:
    gate = VoiceGate(VoiceConfig(vad_min_speech=0.0))
    gate._detector = Script()  # type: ignore[assignment]
    speaking, quiet = np.full(CHUNK_SAMPLES, 0.9, np.float32), np.zeros(3 * CHUNK_SAMPLES, np.float32)
    gate.feed(speaking)
    assert gate.feed(quiet) == []
    (speech,) = gate.feed(speaking)
    assert isinstance(speech, Speech)
    assert (speech.start_sample, len(speech.samples)) == (CHUNK_SAMPLES, 4 * CHUNK_SAMPLES)


def test_between_the_two_limits_speech_goes_on_but_does_not_begin() -> None:
    assert scripted([0.4] * 100) == []
    (span,) = spans_s(scripted([0.9] * 10 + [0.4] * 100 + [0.0] * 100))
    assert span == (0.0, 110 * CHUNK_SAMPLES / SAMPLE_RATE)


def test_a_click_is_no_speech() -> None:
    assert scripted(([0.9] * 3 + [0.1]) * 30) == []


def test_lead_in_never_repeats_audio_of_the_utterance_before() -> None:
    events = scripted([0.9] * 10 + [0.0] * 5 + [0.9] * 10, vad_silence=0.1, vad_lead_in=2.0)
    first, second = (event for event in events if isinstance(event, Speech))
    assert second.start_sample == first.start_sample + len(first.samples)


@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=60),
    lead_in=st.sampled_from([0.0, 0.05, 0.3]),
    pause=st.sampled_from([0.1, 10.0]),
    quiet=st.sampled_from([0.1, 0.2]),
)
def test_utterances_are_closed_in_order_and_hold_the_audio_as_it_was(
    probabilities: list[float], lead_in: float, pause: float, quiet: float
) -> None:
    audio = np.repeat(np.array(probabilities, np.float32), CHUNK_SAMPLES)
    events = scripted(probabilities, vad_lead_in=lead_in, vad_pause=pause, vad_silence=quiet)
    letters = {Onset: "on ", Speech: "speech ", Pause: "pause ", Offset: "off "}
    assert re.fullmatch("(on speech (pause speech )*(pause )?off )*", "".join(letters[type(each)] for each in events))
    end, is_open = 0, False
    for event in events:
        if isinstance(event, Speech):
            assert event.start_sample == end if is_open else event.start_sample >= end
            end, is_open = event.start_sample + len(event.samples), True
            assert np.array_equal(event.samples, audio[event.start_sample : end])
        elif isinstance(event, Onset):
            assert end <= event.sample
        else:
            assert event.sample <= end
            is_open = is_open and not isinstance(event, Offset)


# The detector


@pytest.mark.parametrize("name", NOT_SPEECH)
def test_what_is_not_speech_does_not_pass(name: str) -> None:
    assert passed(VoiceGate(VoiceConfig()), [NOT_SPEECH[name]]) == []


def test_the_silence_between_two_remarks_is_left_out(kettle: Recording) -> None:
    events = passed(VoiceGate(VoiceConfig()), [kettle.samples])
    first, *_, last = spans_s(events)
    assert len(spans_s(events)) == 2
    assert first == pytest.approx((0.35, 3.1), abs=0.15)
    assert last == pytest.approx((10.9, 16.1), abs=0.4)
    n_passed = sum(len(event.samples) for event in events if isinstance(event, Speech))
    assert n_passed < len(kettle.samples) - 6 * SAMPLE_RATE


@examples(5)
@given(cuts=st.lists(st.integers(0, 17 * SAMPLE_RATE), max_size=40))
def test_the_cut_of_the_audio_never_matters(kettle: Recording, whole: list[GateEvent], cuts: list[int]) -> None:
    pieces = np.split(kettle.samples, sorted(min(cut, len(kettle.samples)) for cut in cuts))
    events = passed(VoiceGate(VoiceConfig()), pieces)
    assert len(events) == len(whole)
    for event, expected in zip(events, whole, strict=True):
        if isinstance(event, Speech) and isinstance(expected, Speech):
            assert event.start_sample == expected.start_sample
            assert np.array_equal(event.samples, expected.samples)
        else:
            assert event == expected


@pytest.fixture(scope="module")
def whole(recordings: Mapping[str, Recording]) -> list[GateEvent]:
    return passed(VoiceGate(VoiceConfig()), [recordings["kettle"].samples])


def test_positions_count_from_where_it_is_told(captions: Recording) -> None:
    audio = np.concatenate([noise(2, 0.001), captions.samples, silence(1)])
    expected = spans_s(passed(VoiceGate(VoiceConfig()), [audio]))
    moved = spans_s(passed(VoiceGate(VoiceConfig(), 10 * SAMPLE_RATE), [audio]))
    assert np.array(moved) == pytest.approx(np.array(expected) + 10)


def test_speech_that_breaks_off_is_closed_at_the_end(captions: Recording) -> None:
    for n in (2 * SAMPLE_RATE, 2 * SAMPLE_RATE + 100):
        events = passed(VoiceGate(VoiceConfig()), [captions.samples[:n]])
        assert isinstance(events[-1], Offset)
        last = next(event for event in events if isinstance(event, Speech))
        assert last.start_sample + len(last.samples) == n


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("limit", [{}, {"OMP_THREAD_LIMIT": "3"}])
def test_the_detector_works_in_the_thread_that_asks_it(limit: dict[str, str]) -> None:
    # Threads of its own made it twenty times slower. In a process of its own, because libraries read this once.
    program = """
import os, numpy as np
from streaming.audio.voice_activity import VoiceGate
from streaming.settings import VoiceConfig
before = len(os.listdir("/proc/self/task"))
VoiceGate(VoiceConfig()).feed(np.zeros(16000, np.float32))
print(len(os.listdir("/proc/self/task")) - before, os.environ.get("OMP_THREAD_LIMIT"))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | limit
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", str(limit.get("OMP_THREAD_LIMIT"))]


# Settings


def test_an_open_gate_lets_everything_through() -> None:
    events = OpenGate(7).feed(silence(1)) + OpenGate().feed(silence(0)) + OpenGate().end()
    (speech,) = events
    assert isinstance(speech, Speech)
    assert (speech.start_sample, len(speech.samples)) == (7, SAMPLE_RATE)


@pytest.mark.parametrize(
    "options",
    [
        {"vad": 1},
        {"vad_threshold": 1},
        {"vad_silence": 0},
        {"vad_lead_in": -1},
        {"vad_silence": "1"},
        {"vad_lead_in": True},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        VoiceConfig(**options)
