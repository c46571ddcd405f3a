"""What goes wrong in the inference thread: each fault ends the session it belongs to, and no other."""

from dataclasses import replace

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.events import Ended, Failed, Reason
from streaming.sessions.request import Refusal
from streaming.sessions.session import SessionEndedError
from tests.sounds import silence
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import MODEL, SPEECH, collected, made, running, said
from tests.tones import ToneEncoder, heard, random_words, speech_of


class Trapped(ToneEncoder):
    """Raises when it hears the trap."""

    TRAP = 7

    def encode(self, mel: Mel) -> Features:
        features = super().encode(mel)
        if self.TRAP in {word for word, _ in heard(features)}:
            raise RuntimeError("trapped")
        return features


def test_a_session_whose_inference_raises_ends_and_the_others_go_on() -> None:
    safe = speech_of([word for word in random_words(30, 2) if word != Trapped.TRAP])
    with running(made(replace(MODEL, encoder=FallbackEncoder(BackendStatus("tones"), Trapped)))) as worker:
        trapped, free = worker.open(voice=OFF), worker.open(voice=OFF)
        free.submit(safe.samples[:50_000])
        trapped.submit(speech_of([1, 2, Trapped.TRAP, 3]).samples)
        trapped.flush()
        assert collected(trapped)[-1] == Failed(Reason.INTERNAL, "RuntimeError: trapped")
        free.submit(safe.samples[50_000:])
        free.end()
        assert text_of(collected(free)) == safe.text
        assert trapped.submit(silence(1)) == SAMPLE_RATE
        assert worker.health().is_ready
        assert counted(worker.metrics())["sessions_failed_total"] == 1


def test_what_only_the_model_can_refuse_is_an_event() -> None:
    with running(made()) as worker:
        handle = worker.open(replace(CONFIG, language="yue"))
        (event,) = collected(handle)
    assert isinstance(event, Failed)
    assert event.reason is Reason.CONFIG
    assert "Cantonese (yue)" in event.message


def test_bad_audio_and_bad_settings_are_refused_where_they_come_from() -> None:
    with running(made()) as worker:
        handle = worker.open(voice=OFF)
        with pytest.raises(AudioFormatError):
            handle.submit(np.array([np.nan], np.float32))
        with pytest.raises(ConfigError):
            worker.open(replace(CONFIG, frame_threshold=0))
        assert text_of(collected(said(handle))) == SPEECH.text
        with pytest.raises(SessionEndedError):
            handle.submit(silence(1))
        with pytest.raises(SessionEndedError):
            handle.end()


def test_a_listener_that_cannot_be_told_is_told_no_more() -> None:
    n_told = 0

    def gone() -> None:
        nonlocal n_told
        n_told += 1
        raise RuntimeError("event loop is closed")

    with running(made()) as worker:
        lost = worker.open(voice=OFF)
        lost.log.add_waker(gone)
        said(lost)
        assert text_of(collected(said(worker.open(voice=OFF)))) == SPEECH.text
        worker.stop(PATIENCE_S)
    assert n_told == 1
    assert text_of(lost.log.cursor().read()) == SPEECH.text


def test_a_listener_that_has_gone_frees_its_place() -> None:
    with running(made(max_sessions=1)) as worker:
        gone = worker.open(voice=OFF)
        gone.submit(SPEECH.samples)
        with pytest.raises(Refusal, match="a session is open"):
            worker.open()
        gone.clear()
        gone.end()
        assert isinstance(collected(gone)[-1], Ended)
        assert text_of(collected(said(worker.open(voice=OFF)))) == SPEECH.text
        assert counted(worker.metrics())["sessions_refused_total"] == 1
