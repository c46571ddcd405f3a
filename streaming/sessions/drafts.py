"""What a listener is shown of drafts, so that text does not flicker. Pure."""

from collections.abc import Iterable

from simul_whisper import StopReason, Update, Word

# After these, what was drafted was most likely never said.
_TAKING_BACK = (StopReason.NO_SPEECH, StopReason.LOOP, StopReason.REWIND)


def steady(before: tuple[Word, ...], update: Update) -> tuple[Word, ...]:
    """Return the draft to show after an update, where `before` was shown.

    A new one that only breaks off sooner hesitates: what it leaves out stays, because it would mostly come back.
    """
    told, draft, n = update.words, update.draft_words, len(update.words)
    if update.is_last or update.stop in _TAKING_BACK:
        return draft
    rest = before[n:] if texts(before[:n]) == texts(told) else ()
    return rest if texts(rest[: len(draft)]) == texts(draft) else draft


def texts(words: Iterable[Word]) -> list[str]:
    """Return what is read of words; their times alone are no news."""
    return [word.text for word in words]
