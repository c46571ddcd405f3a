"""What the engine asks for is done here, and nowhere else: by an encoder and a decoder, for one listener or several.

What several ask for is done together where the backends can: a step of the decoder waits for its weights, which then
come from memory once for all, and a GPU encodes several windows in little more time than one. Whether it pays is
measured by `scripts/batching.py`, and each backend says so by `most_together`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from simul_whisper.decoders import BatchingDecoder, Step, TextDecoder, limits_of
from simul_whisper.encoders import AudioEncoder, BatchingEncoder, Features
from simul_whisper.pieces import Answer, Ask, Begin, Encode, Read

_Result = TypeVar("_Result")
_AnyAsk = TypeVar("_AnyAsk", Encode, Read)


def answer(encoder: AudioEncoder, decoder: TextDecoder, ask: Ask) -> Answer:
    """Do what is asked for. Raises what the backends raise."""
    started = time.perf_counter()
    value = _done(encoder, decoder, ask)
    return Answer(value, time.perf_counter() - started)


def answer_all(encoder: AudioEncoder, decoder: TextDecoder, asks: Sequence[Ask]) -> list[Answer | Exception]:
    """Do what several listeners ask for; an error is the answer to the ask that it comes of, and to no other.

    Of what is done together, each has a share of the time: by its rows in a step, and of windows an equal one.
    """
    if len(asks) == 1:
        return [_tried(partial(answer, encoder, decoder, asks[0]))]
    answers, ready = dict[int, Answer | Exception](), dict[int, Ask]()
    for n, ask in enumerate(asks):
        # Once, whether a step is then made together or alone.
        selected = _tried(partial(_selected, decoder, ask))
        if isinstance(selected, Exception):
            answers[n] = selected
        else:
            ready[n] = selected
    if isinstance(encoder, BatchingEncoder):
        answers |= _encoded(encoder, {n: ask for n, ask in ready.items() if isinstance(ask, Encode)})
    if isinstance(decoder, BatchingDecoder):
        answers |= _read(decoder, {n: ask for n, ask in ready.items() if isinstance(ask, Read)})
    alone = {n: _tried(partial(answer, encoder, decoder, ask)) for n, ask in ready.items() if n not in answers}
    return [(answers | alone)[n] for n in range(len(asks))]


def _done(encoder: AudioEncoder, decoder: TextDecoder, ask: Ask) -> Any:
    if isinstance(ask, Encode):
        return encoder.encode(ask.mel)
    if isinstance(ask, Begin):
        return decoder.begin(ask.features) if limits_of(decoder) == ask.limits else None
    _selected(decoder, ask)
    return decoder.step(ask.state, ask.tokens, ask.logits_at)


def _selected(decoder: TextDecoder, ask: Ask) -> Ask:
    """Select what of a text goes on, and return what else is asked for."""
    if not isinstance(ask, Read) or ask.selection is None:
        return ask
    decoder.select(ask.state, ask.selection.beams, ask.selection.length)
    return replace(ask, selection=None)


def _encoded(encoder: BatchingEncoder, asks: Mapping[int, Encode]) -> dict[int, Answer]:
    """Encode windows of equal length together."""

    def n_frames(n: int) -> int:
        return asks[n].mel.n_frames

    def encode(chosen: Sequence[Encode]) -> list[Features]:
        # A part of what they have in common would keep all of it as long as one listener needs it.
        return [features.copy() for features in encoder.encode_together([ask.mel for ask in chosen])]

    found = dict[int, Answer]()
    for _, alike in groupby(sorted(asks, key=n_frames), n_frames):
        found |= _together({n: asks[n] for n in alike}, encoder.most_together, encode, lambda _: 1)
    return found


def _read(decoder: BatchingDecoder, asks: Mapping[int, Read]) -> dict[int, Answer]:
    """Read texts on together."""

    def step(chosen: Sequence[Read]) -> list[Step] | None:
        tokens, logits_at = [ask.tokens for ask in chosen], [ask.logits_at for ask in chosen]
        return decoder.step_together([ask.state for ask in chosen], tokens, logits_at)

    return _together(asks, decoder.most_together, step, lambda ask: sum(map(len, ask.tokens)))


def _together(
    asks: Mapping[int, _AnyAsk],
    most: int,
    do: Callable[[Sequence[_AnyAsk]], Sequence[Any] | None],
    share: Callable[[_AnyAsk], int],
) -> dict[int, Answer]:
    """Answer as many as may be, so many at a time; the others are left to be answered one by one."""
    found = dict[int, Answer]()
    for numbers in _cut(asks, most):
        chosen = [asks[n] for n in numbers]
        started = time.perf_counter()
        values = _tried(partial(do, chosen)) if len(chosen) > 1 else None
        # After an error nothing was done: one by one it shows whose it is.
        if values is None or isinstance(values, Exception):
            continue
        share_s = (time.perf_counter() - started) / sum(map(share, chosen))
        answers = [Answer(value, share_s * share(ask)) for value, ask in zip(values, chosen, strict=True)]
        found |= zip(numbers, answers, strict=True)
    return found


def _cut(numbers: Iterable[int], most: int) -> list[list[int]]:
    left = list(numbers)
    return [left[start : start + most] for start in range(0, len(left), most)]


def _tried(do: Callable[[], _Result]) -> _Result | Exception:
    """Return what is done, or why it cannot be: an error ends the session that it belongs to, which is not here."""
    try:
        return do()
    except Exception as error:
        return error
