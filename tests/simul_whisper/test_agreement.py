"""LocalAgreement: what two readings have in common, where words are placed, and which are still in a window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.agreement import FoundAgain, n_agreed, placed, quietest
from simul_whisper.alignatt import AlignedToken
from simul_whisper.audio import SAMPLES_PER_FRAME, AudioChunk
from simul_whisper.commit import CommitRule
from simul_whisper.committed_tokens import CommittedToken
from simul_whisper.config import AlignAttConfig
from tests.fakes import tokenizer_of
from tests.properties import examples

TOKENIZER = tokenizer_of("base")
WORDS = " one two three four five six seven eight nine ten eleven twelve supercalifragilistic untranslatable".split()


def tokens(*words: str) -> list[int]:
    return [token for word in words for token in TOKENIZER.encode(f" {word}")]


def read(*words: str) -> list[AlignedToken]:
    return [AlignedToken(token, 0, -0.1) for token in tokens(*words)]


def committed(*words: str) -> list[CommittedToken]:
    return [CommittedToken(token, 0, -0.1) for token in tokens(*words)]


def window(loud: list[bool], start_sample: int = 0) -> AudioChunk:
    """A window with so many frames, loud or not."""
    return AudioChunk(np.repeat(np.array(loud, np.float32), SAMPLES_PER_FRAME), start_sample)


def frames(found: tuple[AlignedToken, ...]) -> list[int]:
    return [each.frame for each in found]


def test_words_are_spread_over_what_is_loud() -> None:
    loud = [False] * 10 + [True] * 10 + [False] * 50 + [True] * 10
    assert frames(placed(read("one", "two", "three", "four"), (), window(loud), None, 80)) == [12, 17, 72, 77]


def test_what_was_read_before_stays_where_it_was() -> None:
    loud, waiting = [True] * 100, [CommittedToken(token, 20 * SAMPLES_PER_FRAME, 0.0) for token in tokens("one")]
    found = placed(read("one", "two", "three"), waiting, window(loud), 5 * SAMPLES_PER_FRAME, 100)
    assert frames(found) == [20, 40, 80]
    # What was misread is placed anew, behind what is committed.
    assert frames(placed(read("two"), waiting, window(loud), 49 * SAMPLES_PER_FRAME, 100)) == [74]


@examples(40)
@given(
    loud=st.lists(st.booleans(), min_size=1, max_size=40),
    n_words=st.integers(0, 14),
    n_waiting=st.integers(0, 14),
    decided=st.none() | st.integers(-20, 60),
    start=st.integers(0, 30),
)
def test_places_are_in_the_window_and_in_order(
    loud: list[bool], n_words: int, n_waiting: int, decided: int | None, start: int
) -> None:
    words, start_sample = WORDS[:n_words], start * SAMPLES_PER_FRAME
    waiting = [
        CommittedToken(token, start_sample + n * SAMPLES_PER_FRAME, 0.0)
        for n, token in enumerate(tokens(*WORDS[:n_waiting]))
    ]
    sample = None if decided is None else start_sample + decided * SAMPLES_PER_FRAME
    found = frames(placed(read(*words), waiting, window(loud, start_sample), sample, len(loud)))
    assert found == sorted(found)
    assert all(0 <= frame < len(loud) for frame in found)


@examples(40)
@given(
    n_said=st.integers(1, 8),
    n_left=st.integers(0, 7),
    n_new=st.integers(0, 4),
    cut_short=st.booleans(),
    n_placed=st.integers(0, 9),
)
def test_words_that_are_still_in_the_window_are_found_again(
    n_said: int, n_left: int, n_new: int, cut_short: bool, n_placed: int
) -> None:
    n_left = min(n_left, n_said - 1)
    said, new = WORDS[:n_said], WORDS[n_said : n_said + n_new]
    again = FoundAgain(TOKENIZER)
    again.cut(committed(*said))
    assert again.is_due
    # Of the word that is cut in two, something else may be heard.
    beginning = ["un"] if cut_short else []
    kept, rest = again.parted(read(*beginning, *said[n_left:], *new), n_placed)
    assert [each.token for each in kept] == tokens(*said[n_left:])
    assert [each.token for each in rest] == tokens(*new)
    assert not again.is_due


def test_a_text_with_nothing_in_common_is_believed_to_hold_what_was_placed_in_it() -> None:
    again = FoundAgain(TOKENIZER)
    again.cut(committed("one", "two", "three", "four"))
    kept, rest = again.parted(read("six", "seven", "eight", "nine"), len(tokens("two", "three", "four")))
    assert [each.token for each in kept] == tokens("two", "three", "four")
    assert [each.token for each in rest] == tokens("nine")
    # One or two may only have been misplaced.
    again.cut(committed("one", "two"))
    kept, rest = again.parted(read("six", "seven"), len(tokens("two")))
    assert (kept, [each.token for each in rest]) == ((), tokens("six", "seven"))


def test_a_window_that_is_cut_again_before_it_was_read_may_still_hold_all_of_its_text() -> None:
    again = FoundAgain(TOKENIZER)
    again.cut(committed("one", "two", "three", "four"))
    again.cut(committed("four"))
    kept, rest = again.parted(read("two", "three", "four", "five"), len(tokens("four")))
    assert ([each.token for each in kept], [each.token for each in rest]) == (
        tokens("two", "three", "four"),
        tokens("five"),
    )


def test_audio_is_cut_where_it_is_quiet() -> None:
    loud = [True] * 30 + [False] * 6 + [True] * 60
    assert 30 <= (quietest(window(loud, 640), 640 + 40 * SAMPLES_PER_FRAME) - 640) / SAMPLES_PER_FRAME <= 36
    far = quietest(window(loud), 90 * SAMPLES_PER_FRAME)
    assert 65 * SAMPLES_PER_FRAME <= far < len(loud) * SAMPLES_PER_FRAME


def test_two_passes_must_agree_however_likely_a_word_is() -> None:
    rule, end = CommitRule(AlignAttConfig(), TOKENIZER), AlignedToken(TOKENIZER.eot, 100, 0.0)
    first, second = read("one", "two"), read("one", "three")
    assert rule.n_committed(first, end, "en", 100, is_aligned=False) == 0
    assert rule.n_committed(second, end, "en", 100, is_aligned=False) == len(tokens("one"))
    assert rule.n_committed(read("three"), end, "en", 100, is_aligned=False) == len(tokens("three"))


def test_what_no_two_passes_agree_on_is_written_before_its_audio_goes() -> None:
    rule, end = CommitRule(AlignAttConfig(), TOKENIZER), AlignedToken(TOKENIZER.eot, 400, 0.0)
    assert rule.n_committed(read("one", "two"), end, "en", 400, is_aligned=False) == len(tokens("one", "two"))


@pytest.mark.parametrize(("text", "before", "n"), [("ab", "abc", 2), ("", "a", 0), ("ba", "ab", 0), ("abd", "abc", 2)])
def test_how_far_two_readings_agree(text: str, before: str, n: int) -> None:
    assert n_agreed(list(text.encode()), list(before.encode())) == n
