"""Attacks by those who may use the server and want all of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from scripts.hostile.repetition import forever
from scripts.hostile.target import Outcome, Target
from scripts.hostile.wire import Over, Wire, hello

_BYTES_PER_S = 32_000
_PROMPT = " ".join(["lighthouse"] * 200)
_HEAVIEST = {
    "decoder_type": "beam",
    "beam_size": 16,
    "audio_max_len": 30.0,
    "window_min_len": 30.0,
    "segment_length": 0.2,
    "init_prompt": _PROMPT,
    "max_context_tokens": 220,
    "max_tokens_per_second": 100.0,
    "vad": False,
}
_FLUSHES_PER_S, _FLUSHED_S = 200, 0.1
# They are to be translated when the next piece comes.
_CHOICES_PER_PIECE = 10

Options = dict[str, Any]


async def heavy_fast(target: Target, outcome: Outcome) -> None:
    """Two clients ask for the most that is allowed, and send as fast as the server takes it."""
    await _with_heaviest(target, outcome, 2, speed=None)


async def heavy_realtime(target: Target, outcome: Outcome) -> None:
    """Two clients ask for the most that is allowed, and send at the pace of speech."""
    await _with_heaviest(target, outcome, 2, speed=1.0)


async def fast(target: Target, outcome: Outcome) -> None:
    """Four clients ask for nothing, and send as fast as the server takes it."""

    async def deed(wire: Wire) -> NoReturn:
        await wire.greet(hello())
        await wire.converse(_speak(wire, target, 1.0, speed=None))

    await forever(target, outcome, 4, deed)


async def flusher(target: Target, outcome: Outcome) -> None:
    """One client asks for all words 200 times a second, a tenth of a second of speech before each."""

    async def speak(wire: Wire) -> None:
        async for piece in _pieces(target, _FLUSHED_S, speed=_FLUSHED_S * _FLUSHES_PER_S):
            await wire.send(piece)
            await wire.say({"type": "flush"})

    async def deed(wire: Wire) -> NoReturn:
        await wire.greet(hello(options={"vad": False}))
        await wire.converse(speak(wire))

    await forever(target, outcome, 1, deed)


async def clearer(target: Target, outcome: Outcome) -> None:
    """One client sends as fast as it goes, and takes back what it has sent, so that it never has to wait."""

    async def speak(wire: Wire) -> None:
        async for piece in _pieces(target, 5.0, speed=None):
            await wire.send(piece)
            await wire.say({"type": "clear"})

    async def deed(wire: Wire) -> NoReturn:
        await wire.greet(hello())
        await wire.converse(speak(wire))

    await forever(target, outcome, 1, deed)


async def chooser(target: Target, outcome: Outcome) -> None:
    """Four clients speak, and a hundred times a second choose to be translated into all they may, or nothing."""

    async def speak(wire: Wire, targets: list[str]) -> None:
        async for piece in _pieces(target, 0.1, speed=1.0):
            await wire.send(piece)
            for n in range(_CHOICES_PER_PIECE):
                await wire.say({"type": "targets", "targets": targets if n % 2 else []})

    async def deed(wire: Wire) -> NoReturn:
        ready = await wire.greet(hello())
        most = ready.get("limits", {}).get("targets", 0)
        await wire.converse(speak(wire, (ready.get("targets") or [])[:most]))

    await forever(target, outcome, 4, deed)


async def opener(target: Target, outcome: Outcome) -> None:
    """Eight clients open sessions, say a second of speech and are gone without a word, as fast as it goes."""

    async def deed(wire: Wire) -> str:
        await wire.greet(hello())
        await wire.send(target.pcm[:_BYTES_PER_S])
        return "dropped"

    await forever(target, outcome, 8, deed)


async def _speak(wire: Wire, target: Target, piece_s: float, speed: float | None) -> None:
    async for piece in _pieces(target, piece_s, speed):
        await wire.send(piece)


async def _pieces(target: Target, piece_s: float, speed: float | None) -> AsyncIterator[bytes]:
    """Yield the speech, over and over. speed: 1 is as people speak; None: as fast as it is asked for."""
    loop, step = asyncio.get_running_loop(), 2 * round(piece_s * _BYTES_PER_S / 2)
    due_at, start = loop.time(), 0
    while True:
        yield target.pcm[start : start + step]
        start = start + step if start + step < len(target.pcm) else 0
        due_at += piece_s / speed if speed else 0
        await asyncio.sleep(max(0.0, due_at - loop.time()))


# The most that is allowed


async def _with_heaviest(target: Target, outcome: Outcome, n_clients: int, speed: float | None) -> None:
    options = await _allowed(target, outcome)

    async def deed(wire: Wire) -> NoReturn:
        await wire.greet(hello(options=options))
        await wire.converse(_speak(wire, target, 1.0 if speed is None else 0.1, speed))

    await forever(target, outcome, n_clients, deed)


async def _allowed(target: Target, outcome: Outcome) -> Options:
    """Return the heaviest options that are not refused."""
    options: Options = dict(_HEAVIEST)
    while True:
        wire = await Wire.open(target)
        try:
            ready = await wire.greet(hello(options=options))
        except Over as over:
            outcome.answers[over.answer] += 1
            if over.answer != "config":
                return options
            options = lighter(options, over.message, await _limits(target))
        else:
            assert ready["type"] == "ready", ready
            outcome.answers[f"let in with {_shown(options)}"] += 1
            return options
        finally:
            wire.abort()


def _shown(options: Options) -> str:
    beams, window_s = options.get("beam_size", "default"), options.get("audio_max_len", "default")
    return f"beams {beams}/window {window_s}/prompt {len(options.get('init_prompt', ''))}"


async def _limits(target: Target) -> Options:
    """Return what the server says that it allows; nothing where it does not say."""
    wire = await Wire.open(target)
    try:
        limits: Options = (await wire.greet(hello())).get("limits", {})
    except Over:
        return {}
    finally:
        wire.abort()
    return limits


def lighter(options: Options, refusal: str, limits: Options) -> Options:
    """Return what to ask for next: what the limits say, else the same without what the refusal names."""
    within = clamped(options, limits)
    if within != options:
        return within
    named = next((name for name in options if name in refusal), None)
    return {name: value for name, value in options.items() if name != named} if named else {}


def clamped(options: Options, limits: Options) -> Options:
    within = dict(options)
    if "prompt_chars" in limits and "init_prompt" in within:
        within["init_prompt"] = within["init_prompt"][: limits["prompt_chars"]]
    for name in set(within) & set(limits):
        choose = max if name == "segment_length" else min
        within[name] = choose(within[name], limits[name])
    return within
