"""Which alignment heads are believed: those given, the model's own, those published for its name."""

from dataclasses import replace

import pytest

from simul_whisper.errors import WeightsError
from simul_whisper.weights import Dims
from simul_whisper.weights.heads import PUBLISHED, choose_heads, published_heads

TINY = Dims(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)
TINY_HEADS = ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
LATER_HALF = tuple((layer, head) for layer in (2, 3) for head in range(6))


def dims_of(name: str) -> Dims:
    n_layer, n_head, n_vocab = PUBLISHED[name][0]
    return replace(TINY, n_text_layer=n_layer, n_text_head=n_head, n_vocab=n_vocab)


def test_published_heads_are_what_openai_published() -> None:
    assert published_heads("tiny", TINY) == TINY_HEADS
    turbo = ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))
    assert published_heads("turbo", dims_of("large-v3-turbo")) == turbo
    counts = {"tiny.en": 8, "base.en": 5, "base": 8, "small.en": 19, "small": 10, "medium.en": 18, "medium": 6}
    counts |= {"large-v1": 9, "large-v2": 23, "large-v3": 10}
    assert {name: len(published_heads(name, dims_of(name))) for name in counts} == counts


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "openai/whisper-tiny",
        "Systran/faster-whisper-tiny",
        "mlx-community/whisper-tiny-mlx-q4",
        "whisper-tiny-8bit",
    ],
)
def test_names_of_the_same_model(name: str) -> None:
    assert published_heads(name, TINY) == TINY_HEADS


@pytest.mark.parametrize("name", ["my-model", "distil-tiny", "whisper-tiny-german", "tiny.en", "base", "teeny", ""])
def test_another_model_gets_no_published_heads(name: str) -> None:
    assert published_heads(name, TINY) == ()
    with pytest.raises(WeightsError, match=r"no alignment heads; give them as alignment_heads"):
        choose_heads(name, TINY, None, ())


def test_a_name_with_other_dimensions_gets_no_published_heads() -> None:
    assert published_heads("tiny", replace(TINY, n_text_layer=2)) == ()
    assert published_heads("large", dims_of("large-v2")) == ()


def test_given_heads_win_over_own_and_own_over_published() -> None:
    assert choose_heads("tiny", TINY, ((1, 1),), ((0, 0),)) == ((1, 1),)
    assert choose_heads("tiny", TINY, None, ((0, 0),)) == ((0, 0),)
    assert choose_heads("tiny", TINY, (), ()) == TINY_HEADS


def test_what_a_converter_writes_for_want_of_heads_is_the_last_choice() -> None:
    assert choose_heads("tiny", TINY, None, LATER_HALF) == TINY_HEADS
    assert choose_heads("my-model", TINY, None, LATER_HALF) == LATER_HALF


def test_heads_that_a_distilled_model_kept_from_its_teacher_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"alignment head \(7, 0\) does not exist in a decoder of 2 layers"):
        choose_heads("distil", replace(TINY, n_text_layer=2), None, ((0, 0), (7, 0)))
