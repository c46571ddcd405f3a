"""What clients may ask for: refused by name, whatever it is that it does not go together with."""

from typing import Any

import pytest

from simul_whisper import AlignAttConfig
from streaming.events import Reason
from streaming.sessions.request import ENGINE_OPTIONS, Refusal, SessionRequest
from streaming.settings import ClientLimits, VoiceConfig


def test_what_is_asked_for_changes_the_servers_settings() -> None:
    request = SessionRequest(engine={"language": "de", "beam_size": 2}, voice={"vad_silence": 2.0})
    config = request.engine_config(AlignAttConfig(frame_threshold=30))
    assert (config.language, config.beam_size, config.frame_threshold) == ("de", 2, 30)
    assert request.voice_config(VoiceConfig(vad_threshold=0.7)) == VoiceConfig(vad_silence=2.0, vad_threshold=0.7)


@pytest.mark.parametrize(
    ("engine", "defaults"),
    [
        ({"segment_length": 3.0}, {"audio_max_len": 5.0}),
        ({"audio_max_len": 5.0}, {"segment_length": 4.0}),
        ({"last_word": "cif"}, {}),
        ({"beam_size": 1000}, {}),
        ({"task": "sing"}, {}),
        ({"model_path": "/etc"}, {}),
    ],
)
def test_the_impossible_is_refused_also_where_only_the_server_makes_it_so(
    engine: dict[str, Any], defaults: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refused:
        SessionRequest(engine=engine).engine_config(AlignAttConfig(**defaults))
    assert refused.value.reason is Reason.CONFIG
    assert next(iter(engine)) in str(refused.value)


@pytest.mark.parametrize(
    ("engine", "limits", "said"),
    [
        ({"beam_size": 6}, {}, "beam_size = 6, but clients may ask for 5 at most"),
        ({"beam_size": 9}, {"beam_size": 8}, "beam_size = 9, but clients may ask for 8 at most"),
        ({"audio_max_len": 30.0}, {}, "audio_max_len = 30, but clients may ask for 20 at most"),
        ({"window_min_len": 30.0}, {}, "window_min_len = 30, but clients may ask for 20 at most"),
        ({"padding_len": 30.0}, {}, "padding_len = 30, but clients may ask for 20 at most"),
        ({"segment_length": 0.1}, {}, "segment_length = 0.1, but clients may ask for 0.2 at least"),
        ({"max_tokens_per_second": 100}, {}, "max_tokens_per_second = 100, but clients may ask for 20 at most"),
        ({"terms": ["Ada", "Grace"]}, {"terms": 1}, "number of terms = 2, but clients may ask for 1 at most"),
        ({"init_prompt": "a" * 600, "static_init_prompt": "b" * 401}, {}, "characters of prompts = 1001, but"),
    ],
)
def test_clients_may_not_ask_for_more_than_the_limits(
    engine: dict[str, Any], limits: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        SessionRequest(engine=engine).engine_config(AlignAttConfig(), ClientLimits(**limits))
    assert refused.value.reason is Reason.CONFIG
    assert SessionRequest(engine=engine).engine_config(AlignAttConfig(**engine), ClientLimits(**limits))


@pytest.mark.parametrize("voice", [{"vad_silence": 99}, {"vad": 1}, {"loud": True}])
def test_impossible_voice_activity_is_refused(voice: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=next(iter(voice))) as refused:
        SessionRequest(voice=voice).voice_config(VoiceConfig())
    assert refused.value.reason is Reason.CONFIG


def test_clients_name_no_files_and_no_machines() -> None:
    assert not [name for name in ENGINE_OPTIONS if "path" in name or "backend" in name or "model" in name]
