"""The engine with real weights, as apps use it; windows are padded little, so that this takes seconds.

test_stream.py says more of what needs no weights.
"""

import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    AudioEncoder,
    AudioFormatError,
    ConfigError,
    Features,
    Mel,
    Model,
    ModelInfo,
    PaddedAlignAttWhisper,
    Step,
    StopReason,
    TextDecoder,
    Update,
)
from streaming.evaluation.scoring import word_edits
from tests.conftest import Recording
from tests.listener import every, listen, n_errors, quick_listener, text_of, untimed, words_of
from tests.properties import examples

ROOT = Path(__file__).parents[2]


class RecordingEncoder:
    """Passes windows on and keeps how many frames of audio each had."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self._encoder, self.description = encoder, encoder.description
        self.content_frames: list[int] = []

    def encode(self, mel: Mel) -> Features:
        self.content_frames.append(mel.content_frames)
        return self._encoder.encode(mel)


class RecordingDecoder:
    """Passes tokens on and keeps them."""

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        self.tokens: list[Sequence[Sequence[int]]] = []

    def begin(self, features: Features) -> Any:
        return self._decoder.begin(features)

    def step(self, state: Any, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        self.tokens.append(tokens)
        return self._decoder.step(state, tokens, logits_at)

    def select(self, state: Any, beams: Sequence[int], length: int | None = None) -> None:
        self._decoder.select(state, beams, length)


def test_a_program_may_bring_its_own_encoder_and_decoder(captions: Recording, tiny: Model) -> None:
    encoder, decoder = RecordingEncoder(tiny.encoder), RecordingDecoder(tiny.decoder)
    own = tiny.using(encoder, decoder)
    assert (own.info.encoder_backend, own.info.encoder) == ("own", tiny.info.encoder)
    assert (own.info.decoder_backend, own.info.decoder) == ("own", "RecordingDecoder")
    assert (own.info.pipeline, own.info.did_fallback, own.info.decoder_did_fallback) == ("own", False, False)
    chunks = every(2, captions.samples[: 4 * SAMPLE_RATE])
    assert listen(quick_listener(own), chunks) == listen(quick_listener(tiny), chunks)
    assert encoder.content_frames
    assert decoder.tokens
    assert tiny.using() == tiny


def test_the_demo_prints_what_is_said(
    captions: Recording, tiny: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = ROOT / "demos"
    monkeypatch.setattr("sys.argv", ["embed.py", str(demos / "recordings" / "captions.flac")])
    monkeypatch.setattr("simul_whisper.whisper.load_model", lambda config, progress: tiny)  # noqa: ARG005
    runpy.run_path(str(demos / "embed.py"), run_name="__main__")
    assert n_errors(captions.transcript, capsys.readouterr().out) <= 2


def test_the_last_word_before_a_silence_ends_where_its_sound_ends(kettle: Recording, tiny: Model) -> None:
    speech = kettle.samples[len(kettle.samples) - 5 * SAMPLE_RATE :]
    silence = np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE).astype(np.float32) * 1e-4
    words = words_of(listen(PaddedAlignAttWhisper(AlignAttConfig(), tiny), every(1, np.concatenate([speech, silence]))))
    assert "".join(word.text for word in words).endswith(" hot.")
    assert words[-1].end_s <= 5.0


def test_info_says_what_runs_where(tiny: Model) -> None:
    info = quick_listener(tiny).info
    assert isinstance(info, ModelInfo)
    assert info.name == "tiny.en"
    assert info.languages == ("en",)
    assert info.decoder.startswith(("mlx (", "onnx ("))
    assert info.load_duration_s > 0


# Pieces


def test_speech_in_pieces_of_one_second_is_written_down(tiny: Model, kettle: Recording, captions: Recording) -> None:
    for recording in (kettle, captions):
        found = listen(quick_listener(tiny), every(1.0, recording.samples))
        assert n_errors(recording.transcript, text_of(found)) <= 2
        assert sum(bool(update.words) for update in found) > 3


@settings(examples(4), derandomize=True)
@given(cuts=st.lists(st.integers(0, 8 * SAMPLE_RATE), max_size=12))
def test_the_size_of_the_pieces_never_changes_the_words(
    tiny: Model, captions: Recording, uncut: list[Update], cuts: list[int]
) -> None:
    whisper, found = quick_listener(tiny), list[Update]()
    for part in every(4.0, captions.samples[: 8 * SAMPLE_RATE]):
        start = 4 * SAMPLE_RATE * len(found)
        for piece in np.split(part, sorted(cut - start for cut in cuts if 0 <= cut - start <= len(part))):
            whisper.insert_audio(piece)
        found.append(untimed(whisper.infer()))
    found.append(untimed(whisper.infer(is_last=True)))
    assert found == uncut


@pytest.fixture(scope="module")
def uncut(tiny: Model, captions: Recording) -> list[Update]:
    return listen(quick_listener(tiny), every(4.0, captions.samples[: 8 * SAMPLE_RATE]))


@pytest.mark.parametrize("n_samples", [1, 2, 159, 320, 321])
def test_a_stream_of_a_few_samples_says_nothing(tiny: Model, n_samples: int) -> None:
    whisper = quick_listener(tiny)
    whisper.insert_audio(np.full(n_samples, 0.1, np.float32))
    assert whisper.infer().words == ()
    last = whisper.infer(is_last=True)
    assert last.audio_end_s == n_samples / SAMPLE_RATE
    assert len(last.words) <= 1


def test_samples_are_copied(tiny: Model, captions: Recording) -> None:
    buffer, whisper = captions.samples[:64_000].copy(), quick_listener(tiny)
    whisper.insert_audio(buffer)
    buffer[:] = 0
    untouched = quick_listener(tiny)
    untouched.insert_audio(captions.samples[:64_000])
    assert whisper.infer(is_last=True).words == untouched.infer(is_last=True).words != ()


def test_minutes_at_once_are_decoded_window_by_window(tiny: Model, lighthouse: Recording) -> None:
    encoder = RecordingEncoder(tiny.encoder)
    whisper = quick_listener(tiny.using(encoder=encoder), audio_max_len=20.0)
    whisper.insert_audio(np.tile(lighthouse.samples, 2))
    update = whisper.infer(is_last=True)
    assert max(encoder.content_frames) * 0.02 <= 20.0
    assert update.audio_end_s == 2 * len(lighthouse.samples) / SAMPLE_RATE
    assert update.audio_end_s - update.keep_from_sample / SAMPLE_RATE <= 20.0
    assert update.timing.windows == len(encoder.content_frames)
    edits = word_edits(f"{lighthouse.transcript} {lighthouse.transcript}", update.text, "en")
    assert edits.errors / edits.n_reference <= 0.1
    times = [time for word in update.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)


# The end


def test_no_audio_is_no_text(tiny: Model) -> None:
    whisper = quick_listener(tiny)
    for is_last in (False, True, True):
        update = whisper.infer(is_last=is_last)
        assert (update.words, update.draft, update.stop) == ((), "", StopReason.WAITING)
        assert (update.audio_end_s, update.keep_from_sample, update.is_last) == (0.0, 0, is_last)
    whisper.insert_audio(np.zeros(0, np.float32))
    assert whisper.infer(is_last=True).timing.windows == 0


@pytest.mark.parametrize(("name", "last_word"), [("kettle", "hot"), ("captions", "back"), ("lighthouse", "home")])
def test_the_last_word_comes_even_when_the_last_piece_is_short(
    tiny: Model, recordings: dict[str, Recording], name: str, last_word: str
) -> None:
    speech = recordings[name].samples[-6 * SAMPLE_RATE :]
    end = np.flatnonzero(np.abs(speech) > 0.02)[-1]
    whisper = quick_listener(tiny, audio_min_len=1.0)
    found = listen(whisper, [speech[: end - 1600], speech[end - 1600 : end + 800]])
    assert re.sub(r"\W", "", found[-1].words[-1].text if found[-1].words else "") == last_word


@pytest.mark.parametrize("last_word", ["keep", "drop"])
def test_what_becomes_of_last_words_does_not_touch_the_end(tiny: Model, captions: Recording, last_word: str) -> None:
    found = listen(quick_listener(tiny, last_word=last_word), every(1.0, captions.samples))
    assert n_errors(captions.transcript, text_of(found)) <= 2
    assert text_of(found).rstrip(" .").endswith("back")


# Words


def test_words_do_not_go_back_and_stay_within_the_audio(tiny: Model, kettle: Recording) -> None:
    found = listen(quick_listener(tiny), every(0.7, kettle.samples[: 9 * SAMPLE_RATE]))
    times = [time for word in words_of(found) for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[-1] <= 9 + 0.5
    for update in found:
        assert all(0 < word.probability <= 1 for word in update.words)
        assert all(word.start_s <= update.audio_end_s for word in update.words)
        assert "\ufffd" not in update.text + update.draft
        assert update.text == "".join(word.text for word in update.words)
    assert all(re.fullmatch(r" ?\S+", word.text) for word in words_of(found))


def test_words_are_timed_where_they_are_spoken(tiny: Model, captions: Recording) -> None:
    """A pause before the speech moves all words by its length."""
    pause_s = 2.0
    late = np.concatenate([np.zeros(round(pause_s * SAMPLE_RATE), np.float32), captions.samples])
    on_time, moved = (
        [word for word in words_of(listen(quick_listener(tiny), every(2.0, samples))) if word.is_spoken][-5:]
        for samples in (captions.samples, late)
    )
    assert [word.text.strip(" .,") for word in moved] == [word.text.strip(" .,") for word in on_time]
    for before, after in zip(on_time, moved, strict=True):
        assert after.start_s - before.start_s == pytest.approx(pause_s, abs=0.3)


# Utterances


def test_the_next_utterance_begins_on_the_same_clock_without_the_old_audio(tiny: Model, captions: Recording) -> None:
    whisper, first_s = quick_listener(tiny), 4.0
    first = listen(whisper, [captions.samples[: round(first_s * SAMPLE_RATE)]])
    whisper.refresh_segment()
    assert whisper.infer(is_last=True).timing.windows == 0
    second = listen(whisper, every(2.0, captions.samples))
    assert second[0].keep_from_sample == first_s * SAMPLE_RATE
    assert second[-1].audio_end_s == first_s + len(captions.samples) / SAMPLE_RATE
    assert words_of(second)[0].start_s >= first_s
    assert words_of(first)[-1].end_s <= words_of(second)[0].start_s
    assert n_errors(captions.transcript, text_of(second)) <= 2


def test_a_new_utterance_equals_a_new_listener_with_its_context(tiny: Model, captions: Recording) -> None:
    whisper = quick_listener(tiny)
    first = listen(whisper, [captions.samples])
    whisper.refresh_segment()
    second = listen(whisper, [captions.samples])
    informed = listen(quick_listener(tiny, init_prompt=text_of(first)), [captions.samples])
    assert [word.text for word in words_of(second)] == [word.text for word in words_of(informed)]


# Silence and noise


def test_silence_says_nothing(tiny: Model, base: Model) -> None:
    for model in (tiny, base):
        found = listen(quick_listener(model), every(2.0, np.zeros(10 * SAMPLE_RATE, np.float32)))
        assert text_of(found) == ""
        assert "".join(update.draft for update in found) == ""


@pytest.mark.parametrize("loudness", [0.001, 0.03, 0.3])
def test_noise_says_nothing(tiny: Model, loudness: float) -> None:
    noise = np.random.default_rng(7).normal(0, loudness, 10 * SAMPLE_RATE).astype(np.float32)
    assert text_of(listen(quick_listener(tiny), every(2.0, noise))) == ""


# Models, listeners, languages


def test_listeners_who_take_turns_hear_what_each_hears_alone(
    tiny: Model, captions: Recording, kettle: Recording
) -> None:
    audio = [every(2.0, each.samples[: 6 * SAMPLE_RATE]) for each in (captions, kettle, captions)]
    options: list[dict[str, Any]] = [{}, {"init_prompt": "Tea and kettles."}, {"decoder_type": "beam", "beam_size": 2}]
    alone = [listen(quick_listener(tiny, **option), parts) for option, parts in zip(options, audio, strict=True)]
    listeners = [quick_listener(tiny, **option) for option in options]
    together: list[list[Update]] = [[], [], []]
    for turn in zip(*audio, strict=True):
        for whisper, found, piece in zip(listeners, together, turn, strict=True):
            whisper.insert_audio(piece)
            found.append(untimed(whisper.infer()))
    for whisper, found in zip(listeners, together, strict=True):
        found.append(untimed(whisper.infer(is_last=True)))
    assert together == alone


def test_two_models_live_side_by_side(tiny: Model, base: Model, captions: Recording) -> None:
    listeners = [quick_listener(tiny), quick_listener(base)]
    texts = ["", ""]
    for piece in every(6.0, captions.samples):
        for n, whisper in enumerate(listeners):
            whisper.insert_audio(piece)
            texts[n] += whisper.infer().text
    for n, whisper in enumerate(listeners):
        texts[n] += whisper.infer(is_last=True).text
        assert n_errors(captions.transcript, texts[n]) <= 2
    assert listeners[0].info.name != listeners[1].info.name


def test_a_listener_may_use_the_model_of_another(tiny: Model) -> None:
    first = quick_listener(tiny)
    assert PaddedAlignAttWhisper(AlignAttConfig(), model=first.model).model is first.model is tiny


# Search


def test_beam_search_writes_down_what_is_said(tiny: Model, captions: Recording) -> None:
    found = listen(quick_listener(tiny, beam_size=2), every(2.0, captions.samples))
    assert n_errors(captions.transcript, text_of(found)) <= 2


def test_a_beam_of_one_is_greedy(tiny: Model, captions: Recording) -> None:
    audio = every(2.0, captions.samples[: 6 * SAMPLE_RATE])
    greedy = listen(quick_listener(tiny, decoder_type="greedy"), audio)
    beam = listen(quick_listener(tiny, beam_size=1), audio)
    assert beam == greedy


# What is refused


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tiny.en", {"language": "de"}),
        ("tiny.en", {"task": "translate"}),
        ("base", {"language": "xx"}),
        ("base", {"language": "english please"}),
        ("base", {"language": "yue"}),
        ("tiny.en", {"static_init_prompt": "lighthouse " * 300}),
        ("tiny.en", {"audio_max_len": 31.0}),
        ("tiny.en", {"audio_min_len": 16.0}),
        ("tiny.en", {"frame_threshold": 0}),
        ("tiny.en", {"task": "summarise"}),
    ],
)
def test_what_a_model_cannot_do_is_refused_at_once(
    tiny: Model, base: Model, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        quick_listener({"tiny.en": tiny, "base": base}[name], **options)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(1600, np.int16),
        np.zeros((1600, 2), np.float32),
        np.zeros((1, 1600), np.float32),
        np.full(1600, np.nan, np.float32),
        np.full(1600, np.inf, np.float32),
        np.full(1600, 20_000.0, np.float32),
    ],
    ids=["int16", "stereo", "batch", "nan", "infinite", "unscaled"],
)
def test_what_is_not_audio_is_refused_and_leaves_the_stream_as_it_was(tiny: Model, samples: Any) -> None:
    whisper = quick_listener(tiny)
    with pytest.raises(AudioFormatError):
        whisper.insert_audio(samples)
    assert whisper.infer(is_last=True).audio_end_s == 0


def test_special_tokens_in_a_prompt_are_text(tiny: Model, captions: Recording) -> None:
    prompt = "<|endoftext|> <|startofprev|> <|nospeech|>"
    whisper = quick_listener(tiny, init_prompt=prompt, static_init_prompt=prompt)
    whisper.insert_audio(captions.samples[:48_000])
    assert not {"<", "|"} & set(whisper.infer(is_last=True).text.replace(prompt, ""))


def test_a_config_handed_over_may_be_changed_without_effect(tiny: Model, captions: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
    whisper = PaddedAlignAttWhisper(config, model=tiny)
    config.language, config.audio_min_len, config.decoder_type = "de", 15.0, "nonsense"
    audio = every(2.0, captions.samples[:64_000])
    found, expected = listen(whisper, audio), listen(quick_listener(tiny), audio)
    assert found == expected


def test_audio_below_the_minimum_waits(tiny: Model, captions: Recording) -> None:
    whisper = quick_listener(tiny, audio_min_len=2.0)
    whisper.insert_audio(captions.samples[:31_999])
    assert whisper.infer().timing.windows == 0
    whisper.insert_audio(captions.samples[31_999:32_000])
    assert whisper.infer().timing.windows == 1
