"""How tests listen: audio cut into pieces, put into the engine one by one, and what must be true of what comes out."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    Answer,
    Ask,
    Model,
    PaddedAlignAttWhisper,
    Pieces,
    Timing,
    Update,
    Word,
)
from streaming.evaluation.scoring import word_edits
from tests.tones import Speech, tone_model

Samples = NDArray[np.float32]
MODEL = tone_model()


def listener(model: Model = MODEL, **settings: Any) -> PaddedAlignAttWhisper:
    return PaddedAlignAttWhisper(AlignAttConfig(**{"language": "en", **settings}), model)


def quick_listener(model: Model, **settings: Any) -> PaddedAlignAttWhisper:
    """One whose windows are padded little: real weights take seconds for 30 s of them."""
    return listener(model, **{"padding_len": 1.0, **settings})


def pieces(samples: Samples, sizes: Iterable[int]) -> list[Samples]:
    """Cut samples into pieces of these sizes, the rest in one."""
    ends = [min(int(end), len(samples)) for end in np.cumsum([0, *sizes])]
    return [samples[start:end] for start, end in pairwise([*ends, len(samples)])]


def every(seconds: float, samples: Samples) -> list[Samples]:
    """Cut samples into pieces of this length; the last one may be shorter."""
    size = round(seconds * SAMPLE_RATE)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def listen(whisper: PaddedAlignAttWhisper, chunks: Iterable[Samples]) -> list[Update]:
    """Insert and infer chunk by chunk, then to the end."""
    updates = []
    for chunk in chunks:
        whisper.insert_audio(chunk)
        updates.append(untimed(whisper.infer()))
    return [*updates, untimed(whisper.infer(is_last=True))]


def cut_short(work: Pieces[Any], answer: Callable[[Ask], Answer], n_pieces: int) -> tuple[Any, int]:
    """Do so many pieces of work and then cut it short; return its result, and how many pieces that came after took."""
    n_cut = 0
    try:
        ask = next(work)
        for _ in range(n_pieces):
            ask = work.send(answer(ask))
        while True:
            n_cut += 1
            ask = work.send(replace(answer(ask), is_cut_short=True))
    except StopIteration as done:
        return done.value, n_cut


def untimed(update: Update) -> Update:
    """Without how long it took, which differs."""
    return replace(update, timing=Timing())


def words_of(updates: Iterable[Update]) -> list[Word]:
    return [word for update in updates for word in update.words]


def text_of(updates: Iterable[Update]) -> str:
    return "".join(update.text for update in updates)


def n_errors(transcript: str, text: str) -> int:
    """Words of English speech that are wrong, missing or too many."""
    return word_edits(transcript, text, "en").errors


def assert_heard(updates: list[Update], speech: Speech) -> None:
    """Every word once, in order, where it was said; clocks that only go on."""
    words = words_of(updates)
    assert "".join(word.text for word in words) == speech.text
    # Punctuation that is decided later is a word of its own.
    spoken = [word for word in words if word.text.startswith(" ")]
    assert len(spoken) == len(speech.words)
    for word, start in zip(spoken, speech.starts, strict=True):
        assert word.start_s == pytest.approx(start / SAMPLE_RATE, abs=0.3)
        assert word.start_s <= word.end_s <= word.start_s + 1
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))
    assert all(before.keep_from_sample <= after.keep_from_sample for before, after in pairwise(updates))
    assert all(before.audio_end_s <= after.audio_end_s for before, after in pairwise(updates))
    assert updates[-1].audio_end_s == pytest.approx(len(speech.samples) / SAMPLE_RATE)
