"""The program as our code runs it: audio in a file, progress, and an end whenever nobody listens any more."""

import wave
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import BackendError
from streaming.engines.whisper_cli import Asked, WhisperCli, wav_file
from streaming.events import Language, Recognised, Words
from tests.streaming.engines import stand_in


def test_audio_is_written_in_16_bits(tmp_path: Path) -> None:
    samples = np.array([0.0, 1.0, -1.0, 0.25, -1e-9], np.float32)
    with wav_file(tmp_path / "a.wav") as write:
        write(samples[:2])
        write(samples[2:])
    with wave.open(str(tmp_path / "a.wav")) as audio:
        assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (16_000, 1, 2)
        assert np.frombuffer(audio.readframes(9), "<i2").tolist() == [0, 32767, -32768, 8192, 0]


def test_audio_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"a\.wav: cannot be written: No such file"), wav_file(tmp_path / "b/a.wav"):
        pass
    with pytest.raises(BackendError, match="cannot be written: No space left"), wav_file(Path("/dev/full")) as write:
        write(np.zeros(100_000, np.float32))


def test_it_tells_how_far_it_is_and_then_its_events(tmp_path: Path) -> None:
    program = WhisperCli(str(stand_in.write_program(tmp_path)), str(stand_in.write_model(tmp_path)))
    with wav_file(tmp_path / "a.wav") as write:
        write(np.zeros(32_000, np.float32))
    # The program itself counts beyond the end.
    assert list(program.run(tmp_path / "a.wav", Asked())) == [0, 47, 94, 100]
    language, *passages, last = program.events(tmp_path / "a.wav", 2.0, Asked())
    assert language == Language("en")
    assert [passage.text for passage in passages if isinstance(passage, Words)] == [" Hello, world.", " Bye."]
    assert last == Recognised(2.0)


def test_whoever_stops_taking_stops_it(tmp_path: Path) -> None:
    program = WhisperCli(str(stand_in.write_program(tmp_path)), str(stand_in.write_model(tmp_path, hangs=True)))
    with wav_file(tmp_path / "a.wav") as write:
        write(np.zeros(32_000, np.float32))
    running = program.run(tmp_path / "a.wav", Asked())
    assert next(running) == 0
    # It would sleep for minutes, and `close` waits for its end.
    running.close()  # type: ignore[attr-defined]
