"""Which model a session gets, of those that a server has."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig
from streaming.events import Reason
from streaming.sessions.model_choice import ModelOffer, ModelOffers
from streaming.sessions.request import Refusal, SessionRequest

BOTH = ("transcribe", "translate")
TINY = ModelOffer("tiny.en", ("en",), ("transcribe",))
BASE = ModelOffer("base", ("en", "de", "es"), BOTH)
SMALL = ModelOffer("small", ("en", "de", "es"), BOTH)
OFFERS = ModelOffers((TINY, BASE, SMALL), {"es": "small"})


def chosen(name: str = "", offers: ModelOffers = OFFERS, targets: tuple[str, ...] = (), **settings: object) -> str:
    request = SessionRequest(engine=settings, model=name)
    return offers.chosen(request, replace(request.engine_config(AlignAttConfig()), targets=targets)).name


def test_the_one_that_is_named_or_the_first() -> None:
    assert chosen() == chosen(language="en") == "tiny.en"
    assert [chosen(name) for name in OFFERS.names] == ["tiny.en", "base", "small"]


def test_the_one_for_the_language_unless_another_is_named() -> None:
    assert chosen(language="es") == "small"
    assert chosen("base", language="es") == "base"


def test_none_that_does_not_know_the_language_where_another_does() -> None:
    assert chosen(language="de") == chosen(languages=["de", "en"]) == "base"
    # Nobody knows that one, which the model will say.
    assert chosen(language="fi") == chosen("tiny.en", ModelOffers((TINY,)), language="fi") == "tiny.en"


def test_who_wants_the_language_detected_gets_one_that_knows_several() -> None:
    assert chosen(language="auto") == "base"
    # As it is where nothing is said of it.
    assert chosen() == chosen("tiny.en", language="auto") == chosen(offers=ModelOffers((TINY,)), language="auto")


def test_none_that_cannot_translate_where_another_can() -> None:
    assert chosen(task="translate") == chosen(targets=("en",)) == "base"


def test_one_of_which_nothing_is_known_may_be_able_to() -> None:
    assert chosen(offers=ModelOffers((ModelOffer("new"), BASE)), language="fi") == "new"


def test_refusals_name_what_there_is() -> None:
    with pytest.raises(Refusal, match=r"^got model 'nothing', expected tiny\.en or base or small$"):
        chosen("nothing")
    with pytest.raises(Refusal, match=r"^tiny\.en does not know German; base or small can$") as refused:
        chosen("tiny.en", language="de")
    assert refused.value.reason is Reason.CONFIG
    with pytest.raises(Refusal, match=r"^tiny\.en cannot translate; base or small can$"):
        chosen("tiny.en", task="translate")


@given(name=st.text())
def test_whatever_is_asked_for_is_told_in_one_short_line(name: str) -> None:
    if name and name not in OFFERS.names:
        with pytest.raises(Refusal) as refused:
            chosen(name)
        told = str(refused.value)
        assert told.isascii()
        assert told.isprintable()
        assert len(told) < 1_000
