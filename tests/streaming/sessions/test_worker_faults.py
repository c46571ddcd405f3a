"""What goes wrong in the inference thread: each fault ends the session it belongs to, and no other."""

from dataclasses import replace

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import EncoderStatus, FallbackEncoder
from simul_whisper.mel import Mel
from streaming.events import Failed
from streaming.sessions.session import SessionEndedError
from streaming.sessions.worker import WorkerBusyError
from tests.sounds import silence
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, text_of
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
    with running(made(replace(MODEL, encoder=FallbackEncoder(EncoderStatus("tones"), Trapped)))) as worker:
        trapped, free = worker.open(voice=OFF), worker.open(voice=OFF)
        free.submit(safe.samples[:50_000])
        said(trapped, speech_of([1, 2, Trapped.TRAP, 3]).samples)
        assert collected(trapped)[-1] == Failed("internal", "RuntimeError: trapped")
        free.submit(safe.samples[50_000:])
        free.end()
        assert text_of(collected(free)) == safe.text
        assert trapped.submit(silence(1)) == SAMPLE_RATE if not trapped.is_over else True
        assert worker.health().is_ready
        assert worker.metrics().sessions_failed == 1


def test_what_only_the_model_can_refuse_is_an_event() -> None:
    with running(made()) as worker:
        handle = worker.open(replace(CONFIG, language="klingon"))
        (event,) = collected(handle)
    assert isinstance(event, Failed)
    assert event.code == "config"
    assert "klingon" in event.message


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


def test_a_listener_that_cannot_be_told_is_given_up() -> None:
    def gone() -> None:
        raise RuntimeError("event loop is closed")

    with running(made()) as worker:
        lost = said(worker.open(voice=OFF, notify=gone))
        assert text_of(collected(said(worker.open(voice=OFF)))) == SPEECH.text
        worker.stop(PATIENCE_S)
    assert lost.is_over
    assert lost.events() == []


def test_a_listener_that_has_gone_frees_its_place() -> None:
    with running(made(max_sessions=1)) as worker:
        gone = worker.open(voice=OFF)
        gone.submit(SPEECH.samples)
        with pytest.raises(WorkerBusyError, match="1 sessions open"):
            worker.open()
        gone.close()
        gone.close()
        assert text_of(collected(said(worker.open(voice=OFF)))) == SPEECH.text
        assert gone.events() == []
        assert worker.metrics().sessions_refused == 1
