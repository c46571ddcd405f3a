"""What drafts are worth: by hand, and properties of any text that a session could tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import Word
from streaming.evaluation.drafts import Shown, shown
from streaming.evaluation.figures import summary
from streaming.evaluation.replay import Emission
from streaming.events import Draft, Event, Words
from tests.streaming.evaluation.results import result

# Few words, so that drafts are now and then right.
TEXTS = st.lists(st.sampled_from([" a", " b", " c"]), max_size=4)


def told(ready_s: float, words: str, draft: str | None = None) -> Emission:
    """draft: None where the session tells none, since it has not changed."""
    events: list[Event] = [Words(_words(words), ready_s)] if words else []
    return Emission((*events, *([] if draft is None else [Draft(_words(draft))])), ready_s, ready_s, 0.0)


def _words(text: str) -> tuple[Word, ...]:
    return (Word(text, 0.0, 0.0, 1.0),) if text else ()


def test_a_word_is_shown_when_it_stands_there_for_good() -> None:
    found = shown(
        [
            told(1.0, "", " The tide"),
            told(2.0, " The", " time turns"),
            told(3.0, "", " Tide turns,"),
            told(4.0, " tide turns.", ""),
        ],
        "en",
    )
    # "tide" was there after a second, and was taken back.
    assert found.delays_s == [1.0, 3.0, 2.0]
    assert (found.n_drafted, found.n_right) == (6, 5)
    # First "tide"; then "time" and what stood behind it.
    assert found.n_taken_back == 3


def test_a_draft_that_has_not_changed_is_told_once_and_stays() -> None:
    found = shown([told(1.0, "", " no"), told(2.0, " no", None), told(3.0, " no", "")], "en")
    assert found == Shown([1.0, 2.0], n_drafted=1, n_right=1, n_taken_back=0)


@pytest.mark.parametrize(
    ("draft", "n_right"),
    [
        (" he lives here", 3),
        (" lives here", 2),
        (" he always lives here", 3),
        (" she lives there", 1),
        # Its words are said much later.
        (" and so", 0),
        ("", 0),
    ],
)
def test_words_are_right_where_they_follow(draft: str, n_right: int) -> None:
    found = shown([told(1.0, "", draft), told(2.0, " he lives here with his dog, and so on", "")], "en")
    assert (found.n_drafted, found.n_right) == (len(draft.split()), n_right)
    assert found.delays_s.count(1.0) == n_right


def test_characters_are_the_words_of_languages_without_spaces() -> None:
    found = shown([told(1.0, "", "潮时"), told(2.0, "潮水", "")], "zh")
    assert found == Shown([1.0, 2.0], n_drafted=2, n_right=1, n_taken_back=1)


def test_a_word_is_shown_when_all_of_it_is() -> None:
    assert shown([told(1.0, " 1", ",250"), told(2.0, ",250", "")], "en").delays_s == [1.0]
    assert shown([told(1.0, " 1", ""), told(2.0, ",250", "")], "en").delays_s == [2.0]
    assert shown([told(1.0, " 1", ",3"), told(2.0, "", "")], "en").delays_s == [1.0]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_nothing_is_shown_later_than_it_is_committed(pieces: list[tuple[list[str], list[str]]]) -> None:
    emissions = [told(float(i), "".join(words), "".join(draft)) for i, (words, draft) in enumerate(pieces)]
    found, committed = shown(emissions, "en"), result(*emissions).delays_ca_s
    assert len(found.delays_s) == len(committed)
    assert all(seen <= sure for seen, sure in zip(found.delays_s, committed, strict=True))
    assert 0 <= found.n_right <= found.n_drafted
    assert shown(
        [told(each.ready_s, "".join(words), "") for each, (words, _) in zip(emissions, pieces, strict=True)], "en"
    ) == Shown(committed)


def test_figures_of_drafts_are_there_where_drafts_are() -> None:
    drafted = result(told(1.0, "", " The tide turned"), told(4.0, " The tide turns.", ""), has_drafts=True)
    found = summary([drafted], "transcribe")
    # An even pace would say a word every 4/3 s; the third, which waited for all of the audio, is the last that counts.
    assert found["laal_shown_s"] == pytest.approx((1 + (1 - 4 / 3) + (4 - 8 / 3)) / 3, abs=1e-3)
    assert (found["drafts_right"], found["flicker"]) == (66.7, 0.333)
    undrafted = result(told(1.0, " The tide turns."), has_drafts=True)
    assert summary([undrafted], "transcribe")["laal_shown_s"] == summary([undrafted], "transcribe")["laal_ca_s"]
    plain = result(told(4.0, " The tide turns."))
    assert plain.shown is None
    found = summary([plain], "transcribe")
    assert (found["laal_shown_s"], found["drafts_right"], found["flicker"]) == (None, None, None)
