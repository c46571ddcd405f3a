"""Which language is spoken, and which is written, over tones and with real weights."""

from collections.abc import Sequence

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, ConfigError, Model, StopReason
from simul_whisper.decoders import Step
from streaming.evaluation.scoring import word_edits
from tests.conftest import Recording
from tests.listener import MODEL, assert_heard, every, listen, listener, n_errors, quick_listener, text_of, words_of
from tests.tones import WORDS, ToneDecoder, ToneState, english, random_words, speech_of, tone_model


def test_a_language_is_detected_once_there_is_enough_to_hear() -> None:
    speech = speech_of(random_words(10, 12))
    updates = listen(listener(tone_model("de"), language="auto", language_min_len=2.5), every(1, speech.samples))
    assert [update.language for update in updates[:3]] == [None, None, "de"]
    assert [update.stop for update in updates[:2]] == [StopReason.WAITING] * 2
    assert {update.language for update in updates[2:]} == {"de"}
    assert_heard(updates, speech)


def test_a_language_is_detected_in_whatever_there_is_at_the_end() -> None:
    whisper = listener(tone_model("de"), language="auto")
    whisper.insert_audio(speech_of([4]).samples)
    assert whisper.infer(is_last=True).text == WORDS[4]
    assert whisper.language == "de"


class _Unsure(ToneDecoder):
    """Takes whatever begins with one word for German, and all else for English, and never is quite sure."""

    TELLING = 4
    CERTAINTY = 4.0

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        if tokens[0][-1] == self._tokenizer.sot:
            languages = self._tokenizer.languages
            likely = "de" if self._is_german(state) else "en"
            for language in languages:
                step.logits[..., self._tokenizer.language_tokens[languages.index(language)]] = 0.0
            step.logits[..., self._tokenizer.language_tokens[languages.index(likely)]] = self.CERTAINTY
        return step

    def _is_german(self, state: ToneState) -> bool:
        return bool(state.said) and state.said[0][0] == self._tokens[self.TELLING][0]


GERMAN, ENGLISH = [_Unsure.TELLING, *range(5, 20)], [*range(5, 20)]


@pytest.mark.parametrize(("certainty", "windows"), [(_Unsure.CERTAINTY, 1), (2 * _Unsure.CERTAINTY, 0)])
def test_an_unsure_language_is_decided_again_at_the_end_though_nothing_more_was_said(
    certainty: float, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Unsure, "CERTAINTY", certainty)
    whisper = listener(tone_model(decoder=_Unsure(MODEL.tokenizer, "en")), language="auto")
    speech = speech_of(GERMAN[:10])
    whisper.insert_audio(speech.samples)
    first = whisper.infer(at_pause=True)
    last = whisper.infer(is_last=True)
    assert (first.text, last.text, last.timing.windows) == (speech.text, "", windows)
    assert first.language == last.language == "de"


@pytest.mark.parametrize("n_words", [1, 12])
def test_a_language_guessed_from_a_short_utterance_holds_no_longer(n_words: int) -> None:
    whisper = listener(tone_model(decoder=_Unsure(MODEL.tokenizer, "en")), language="auto")
    first = speech_of([_Unsure.TELLING, *range(5, 4 + n_words)])
    updates = listen(whisper, [first.samples])
    assert updates[-1].language == whisper.language == "de"
    assert text_of(updates) == first.text
    whisper.refresh_segment()
    # Five seconds of speech decide for good.
    expected = "en" if n_words == 1 else "de"
    assert listen(whisper, every(1, speech_of(range(5, 20)).samples))[-1].language == expected


def test_words_of_an_unclear_language_are_written_before_their_audio_is_let_go() -> None:
    """Few words, and then a silence longer than the window."""
    speech = speech_of(ENGLISH[:5])
    samples = np.concatenate([speech.samples, np.zeros(20 * SAMPLE_RATE, np.float32)])
    whisper = listener(tone_model(decoder=_Unsure(MODEL.tokenizer, "en")), language="auto")
    assert text_of(listen(whisper, every(1, samples))) == speech.text


def test_text_guessed_in_another_language_is_no_context() -> None:
    model = tone_model(decoder=_Unsure(MODEL.tokenizer, "en"))
    whisper = listener(model, language="auto")
    listen(whisper, [speech_of(GERMAN[:1]).samples])
    whisper.refresh_segment()
    updates = listen(whisper, every(1, speech_of(ENGLISH).samples))
    assert updates[-1].language == "en"
    decoder = model.decoder.load()
    assert isinstance(decoder, ToneDecoder)
    assert not any(MODEL.tokenizer.sot_prev in prompt for prompt in decoder.prompts)


class _Sure(_Unsure):
    """The same, without doubt."""

    CERTAINTY = 12.0


class _Switching(_Sure):
    """Takes for German what is mostly later words."""

    FIRST_GERMAN = 12

    def _is_german(self, state: ToneState) -> bool:
        german = {token for word in self._tokens[self.FIRST_GERMAN :] for token in word}
        return 2 * sum(token in german for token, _ in state.said) > len(state.said)


# What it takes for English, and for German.
EARLIER, LATER = [*range(2, _Switching.FIRST_GERMAN)], [*range(_Switching.FIRST_GERMAN, 20)]


def test_a_new_utterance_in_another_language_is_written_in_that() -> None:
    whisper = listener(tone_model(decoder=_Switching(MODEL.tokenizer, "en")), language="auto")
    listen(whisper, every(1, speech_of(EARLIER).samples))
    whisper.refresh_segment()
    updates = listen(whisper, every(1, speech_of(LATER).samples))
    words = words_of(updates)
    assert [update.language for update in updates[:2]] == ["en", "de"]
    assert text_of(updates) == speech_of(LATER).text
    assert {word.language for word in words} == {"de"}


def test_a_language_that_changes_inside_an_utterance_loses_no_word_and_says_none_twice() -> None:
    speech = speech_of([*EARLIER, *EARLIER[1:], *LATER, *LATER[:-1], *LATER])
    whisper = listener(tone_model(decoder=_Switching(MODEL.tokenizer, "en")), language="auto")
    updates = listen(whisper, every(1, speech.samples))
    assert [update.language for update in updates][:: len(updates) - 1] == ["en", "de"]
    assert text_of(updates) == speech.text
    assert words_of(updates)[-1].language == "de"


def test_what_was_said_before_the_language_changes_is_translated() -> None:
    """What comes before the change is noticed is taken for German still, and so is its translation."""
    speech = speech_of([*LATER, *LATER[:-1], *EARLIER, *EARLIER[1:], *EARLIER])
    whisper = listener(tone_model(decoder=_Switching(MODEL.tokenizer, "en")), language="auto", targets=["en"])
    updates = listen(whisper, every(1, speech.samples))
    words = [word for update in updates for word in update.words]
    expected = [
        english(speech_of([WORDS.index(word.text)])).text if word.language == "de" else word.text for word in words
    ]
    assert text_of(updates) == speech.text
    assert [word.text for update in updates for word in update.translation] == expected


def test_a_name_in_another_language_changes_nothing() -> None:
    speech = speech_of([*EARLIER, *EARLIER[1:], *LATER[:3], *EARLIER])
    whisper = listener(tone_model(decoder=_Switching(MODEL.tokenizer, "en")), language="auto")
    updates = listen(whisper, every(1, speech.samples))
    assert {update.language for update in updates} == {"en"}
    assert text_of(updates) == speech.text


def test_a_short_answer_does_not_change_the_language() -> None:
    whisper = listener(tone_model(decoder=_Sure(MODEL.tokenizer, "en")), language="auto")
    for said in (ENGLISH, GERMAN[:2], ENGLISH):
        updates = listen(whisper, every(1, speech_of(said).samples))
        assert {word.language for word in words_of(updates)} == {"en"}
        assert text_of(updates) == speech_of(said).text
        whisper.refresh_segment()


def test_a_language_that_was_asked_for_never_changes() -> None:
    whisper = listener(tone_model(decoder=_Sure(MODEL.tokenizer, "en")), language="fr")
    for said in (ENGLISH, GERMAN):
        assert {update.language for update in listen(whisper, every(1, speech_of(said).samples))} == {"fr"}
        whisper.refresh_segment()


def test_silence_before_speech_is_not_waited_through() -> None:
    speech = speech_of(GERMAN, lead_samples=6 * SAMPLE_RATE)
    updates = listen(
        listener(tone_model(decoder=_Sure(MODEL.tokenizer, "en")), language="auto"), every(1, speech.samples)
    )
    assert [update.language for update in updates[:9]] == [None] * 6 + ["de"] * 3
    assert_heard(updates, speech)


class _Describing(_Unsure):
    """Hears a noise that it would describe, if in English; in any other language it writes fluent nonsense."""

    CERTAINTY = 3.0

    def step(self, state: ToneState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        step = super().step(state, tokens, logits_at)
        languages = self._tokenizer.languages
        if self._tokenizer.language_tokens[languages.index("en")] in [*state.beams[0], *tokens[0]]:
            unsure = [self._tokenizer.encode(word)[0] for word in (" cat", " tree", " stone")]
            step.logits[..., unsure] = 0.0
            step.logits[..., self._tokenizer.encode(" [")[0]] = 4.0
        return step


def test_a_noise_is_not_written_in_the_language_where_nonsense_is_fluent() -> None:
    model = tone_model(decoder=_Describing(MODEL.tokenizer, "en"))
    updates = listen(listener(model, language="auto"), every(1, speech_of(ENGLISH).samples))
    assert updates[-1].language is None
    assert text_of(updates) == ""


def test_only_the_languages_that_may_be_spoken_are_detected() -> None:
    model = tone_model(decoder=_Sure(MODEL.tokenizer, "en"))
    whisper = listener(model, language="auto", languages=["fr", "German"])
    updates = listen(whisper, every(1, speech_of(GERMAN).samples))
    assert updates[-1].language == "de"
    assert text_of(updates) == speech_of(GERMAN).text


def test_of_one_language_nothing_is_detected() -> None:
    whisper = listener(tone_model(), language="auto", languages=["fr"])
    assert whisper.language == "fr"


def test_a_language_that_was_asked_for_may_be_none_of_those_that_are_detected() -> None:
    assert listener(tone_model(), language="es", languages=["de", "fr"]).language == "es"


@pytest.mark.parametrize(("name", "languages"), [("tiny.en", ["en", "de"]), ("base", ["en", "yue"])])
def test_a_language_that_the_model_does_not_know_cannot_be_allowed(name: str, languages: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"German \(de\)|Cantonese \(yue\)"):
        listener(tone_model(name=name), language="auto", languages=languages)


def test_an_english_model_needs_no_language() -> None:
    whisper = listener(tone_model(name="tiny.en"), language="auto")
    assert whisper.language == "en"


def test_an_english_model_knows_its_language(tiny: Model) -> None:
    assert quick_listener(tiny, language="auto").language == "en"


def test_the_language_is_detected_once_there_is_enough_audio_and_then_known(base: Model, captions: Recording) -> None:
    whisper = quick_listener(base, language="auto", language_min_len=2.0)
    whisper.insert_audio(captions.samples[:16_000])
    early = whisper.infer()
    assert (early.language, early.words, early.stop) == (None, (), StopReason.WAITING)
    found = listen(whisper, [captions.samples[16_000:96_000]])
    assert whisper.language == found[-1].language == "en"
    whisper.refresh_segment()
    whisper.insert_audio(captions.samples[96_000:112_000])
    assert whisper.infer().language == whisper.language == "en"


def test_the_language_of_a_short_stream_is_detected_at_its_end(base: Model, captions: Recording) -> None:
    whisper = quick_listener(base, language="auto", language_min_len=20.0)
    whisper.insert_audio(captions.samples)
    assert whisper.infer().language is None
    update = whisper.infer(is_last=True)
    assert update.language == "en"
    assert n_errors(captions.transcript, update.text) <= 2


@pytest.mark.parametrize("language", ["de", "ja"])
def test_a_translation_is_english_whatever_is_spoken(language: str) -> None:
    speech = speech_of(random_words(20, 18))
    whisper = listener(tone_model(language), language=language, task="translate")
    assert_heard(listen(whisper, every(1, speech.samples)), english(speech))


def test_translating_english_gives_english(base: Model, captions: Recording) -> None:
    found = listen(quick_listener(base, task="translate"), [captions.samples])
    edits = word_edits(captions.transcript, text_of(found), "en")
    assert edits.errors / edits.n_reference <= 0.5
