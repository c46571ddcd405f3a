"""Voxtral under the policy, by a model whose every word and place are known."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    BackendError,
    ConfigError,
    Model,
    ModelError,
    PaddedAlignAttWhisper,
    StopReason,
    Update,
    WeightsError,
    load_model,
)
from simul_whisper.voxtral.heads import FILE
from tests import fixture_voxtral
from tests.fixture_voxtral import DIRECTORY, held_out, told, without_heads
from tests.listener import cut_short, every, listen, listener, pieces, text_of, untimed, words_of
from tests.properties import examples


@pytest.fixture(scope="module")
def model() -> Model:
    return fixture_voxtral.model()


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(AlignAttConfig(model_path=str(without_heads(tmp_path_factory.mktemp("voxtral")))))


def test_each_word_is_committed_once_its_sound_has_been_heard(model: Model) -> None:
    speech = held_out(0)
    found = told(model, speech, every(1, speech.samples))
    assert found.text == speech.text
    assert sum(found.passes[late] for late in (-1, 0)) >= 0.8 * found.n_said
    assert max(found.passes) <= 2


def test_without_heads_two_passes_agree(unaligned: Model) -> None:
    speech = held_out(0)
    found = told(unaligned, speech, every(1, speech.samples))
    assert found.text == speech.text
    assert found.passes[0] + found.passes[1] >= 0.8 * found.n_said
    assert "LocalAgreement" in unaligned.info.decoder


def test_a_window_that_loses_its_beginning_neither_loses_nor_repeats_a_word(model: Model, unaligned: Model) -> None:
    speech = held_out(1, n=16, spoken="de")
    for each in (model, unaligned):
        updates = listen(listener(each, language="de", audio_max_len=6), every(2, speech.samples))
        assert text_of(updates).strip() == speech.text
        assert updates[-1].keep_from_sample > 0


def test_a_pass_that_is_cut_short_after_the_window_was_cut_changes_no_word(unaligned: Model) -> None:
    speech = held_out(1, n=12, spoken="de")
    whisper, updates = listener(unaligned, language="de", audio_max_len=6), list[Update]()
    for chunk in every(2, speech.samples):
        whisper.insert_audio(chunk)
        updates.append(cut(whisper) if updates and updates[-1].keep_from_sample else whisper.infer())
    assert StopReason.CUT_SHORT in {update.stop for update in updates}
    assert text_of([*updates, whisper.infer(is_last=True)]).strip() == speech.text


def cut(whisper: PaddedAlignAttWhisper) -> Update:
    """Infer, and end the pass at its first step."""
    update, _ = cut_short(whisper.inference(), whisper.model.answer, 0)
    return cast(Update, update)


@examples(4)
@given(cuts=st.lists(st.lists(st.floats(0, 1), max_size=4), min_size=3, max_size=3), is_aligned=st.booleans())
def test_cutting_the_audio_differently_changes_nothing(
    model: Model, unaligned: Model, cuts: list[list[float]], is_aligned: bool
) -> None:
    speech, chosen = held_out(2, n=6), model if is_aligned else unaligned
    chunks = every(1.3, speech.samples)[: len(cuts)]
    expected = listen(listener(chosen), chunks)
    other, updates = listener(chosen), []
    for chunk, fractions in zip(chunks, cuts, strict=True):
        for piece in pieces(chunk, np.diff([0, *(int(fraction * len(chunk)) for fraction in sorted(fractions))])):
            other.insert_audio(piece)
        updates.append(untimed(other.infer()))
    updates.append(untimed(other.infer(is_last=True)))
    assert updates == expected


@examples(6)
@given(
    # Of which the model reads each rightly.
    seed=st.sampled_from(range(6)),
    sizes=st.lists(st.sampled_from([1, 4_000, 16_000, 30_000, 100_000]), max_size=5),
    is_aligned=st.booleans(),
)
def test_any_schedule_hears_every_word_once(
    model: Model, unaligned: Model, seed: int, sizes: list[int], is_aligned: bool
) -> None:
    speech = held_out(seed, n=5)
    updates = listen(listener(model if is_aligned else unaligned), pieces(speech.samples, sizes))
    assert text_of(updates).strip() == speech.text


@pytest.mark.parametrize("spoken", ["en", "de"])
def test_the_language_is_heard(model: Model, spoken: str) -> None:
    speech = held_out(3, n=6, spoken=spoken)
    whisper = listener(model, language="auto")
    assert text_of(listen(whisper, every(2, speech.samples))).strip() == speech.text
    assert whisper.language == spoken


@pytest.mark.parametrize(
    "settings", [{"decoder_type": "beam", "beam_size": 3}, {"terms": ["untranslatable"]}], ids=["beam", "terms"]
)
def test_it_is_searched_like_any_other(model: Model, settings: dict[str, Any]) -> None:
    speech = held_out(9, n=6)
    assert text_of(listen(listener(model, **settings), every(2, speech.samples))).strip() == speech.text


def test_words_of_later_utterances_are_parted_too(model: Model) -> None:
    whisper, first, second = listener(model), held_out(5, n=3), held_out(6, n=3)
    updates = listen(whisper, [first.samples])
    whisper.refresh_segment()
    updates += listen(whisper, [second.samples])
    assert text_of(updates) == f" {first.text} {second.text}"


def test_words_stand_where_they_were_said(model: Model) -> None:
    speech = held_out(7, n=8)
    words = words_of(listen(listener(model), every(1, speech.samples)))
    for word, (start, end) in zip(words, speech.spans, strict=True):
        assert word.start_s == pytest.approx((start + end) / 2 / SAMPLE_RATE, abs=0.3)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"task": "translate"}, r"^Voxtral transcribes under the policy and does not translate; .*$"),
        ({"targets": ["en"]}, r"^this model writes no English translation; .*$"),
        ({"init_prompt": "Hello"}, r"^got init_prompt, but this model is shown no text before the transcript; .*$"),
        ({"static_init_prompt": "Hello"}, r"^got static_init_prompt, but .*$"),
        ({"language": "ja"}, r"^Voxtral does not know Japanese \(ja\), but en, .*$"),
        ({"language": "auto", "languages": ["en", "ja"]}, r"^Voxtral does not know Japanese"),
    ],
)
def test_what_it_cannot_do_is_refused_at_once(model: Model, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        listener(model, **settings)


@pytest.mark.parametrize("settings", [{"decoder_backend": "onnx"}, {"backend": "ctranslate2"}])
def test_what_cannot_run_it_is_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match=r"[Vv]oxtral"):
        load_model(AlignAttConfig(model_path=str(DIRECTORY), **settings))


def test_too_little_memory_is_said_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.voxtral.memory.available_memory", lambda: 100_000)
    monkeypatch.setattr("simul_whisper.voxtral.choice.MlxLanguage", None)
    with pytest.raises(ModelError, match=r"^voxtral: its weights need 0\.0 GB of memory, and 0\.0 GB are free; "):
        load_model(AlignAttConfig(model_path=str(DIRECTORY)))


def test_the_text_is_that_of_a_model_that_reads_all_at_once(model: Model) -> None:
    speech, generation = held_out(8, n=6), model.generation()
    written = generation.transcript(generation.features(speech.samples), "en")
    assert "".join(piece.text for piece in written) == speech.text
    assert text_of(listen(listener(model), every(1.5, speech.samples))).strip() == speech.text


def test_heads_that_it_has_not_are_refused(tmp_path: Path) -> None:
    directory = without_heads(tmp_path)
    with pytest.raises(WeightsError, match=r"alignment head \(9, 0\) does not exist"):
        load_model(AlignAttConfig(model_path=str(directory), alignment_heads=[[9, 0]]))
    (directory / FILE).write_text('{"alignment_heads": [[9, 0]]}', "utf-8")
    with pytest.raises(WeightsError, match=rf"{FILE}: alignment head \(9, 0\) does not exist"):
        load_model(AlignAttConfig(model_path=str(directory)))
