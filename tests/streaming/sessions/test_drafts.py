"""Drafts stay calm, and what was never said goes."""

import pytest

from simul_whisper import StopReason, Update, Word
from streaming.sessions.drafts import steady


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(f" {word}", 0.0, 1.0, 1.0, "en") for word in text.split())


@pytest.mark.parametrize(
    ("before", "told", "draft", "shown"),
    [
        ("one two three", "", "one", "one two three"),
        ("one two three", "one", "two", "two three"),
        ("one two three", "one two three four", "", ""),
        ("one two three", "one", "too", "too"),
        ("one two three", "won", "two", "two"),
        ("one", "", "one two", "one two"),
    ],
)
def test_a_draft_that_only_gets_shorter_stays_as_it_was(before: str, told: str, draft: str, shown: str) -> None:
    assert steady(words(before), update_of(told, draft, StopReason.EDGE)) == words(shown)


def update_of(told: str, draft: str, stop: StopReason) -> Update:
    return Update(words(told), draft, stop, "en", 0.0, 0, False, draft_words=words(draft))


@pytest.mark.parametrize("stop", [StopReason.NO_SPEECH, StopReason.LOOP, StopReason.REWIND])
def test_a_draft_that_was_never_said_does_not_stay(stop: StopReason) -> None:
    assert steady(words("thank you"), update_of("", "", stop)) == ()
