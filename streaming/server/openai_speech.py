"""Text that clients of OpenAI's REST dialect have spoken: within bounds, and told while it is still being made."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from anyio import fail_after

from simul_whisper import SimulWhisperError, VoiceError, speakable
from streaming.audio.encoding import SoundEncoder
from streaming.events import Reason
from streaming.protocols.openai_errors import RequestError
from streaming.protocols.openai_rest import EVENTS
from streaming.protocols.openai_speech import (
    CONTENT_TYPES,
    MOST_BYTES,
    SpeechAsked,
    audio_event,
    done_event,
    read_speech,
)
from streaming.protocols.reading import refuse
from streaming.server.exchange import Exchange
from streaming.server.limits import Limits
from streaming.server.speech import Speech
from streaming.server.uploads import Places
from streaming.server.wire import Gone
from streaming.sessions.request import Refusal
from streaming.stages.speech import TIMEOUT_S


class SpeechMaker:
    """That of a server. As many voices speak at a time as there are places; one that hangs keeps its own for good.

    timeout_s: how long a client waits for the next sound.
    """

    def __init__(self, speech: Speech, limits: Limits, timeout_s: float = TIMEOUT_S) -> None:
        self._speech, self._limits, self._timeout_s = speech, limits, timeout_s
        self._places = Places(limits.max_spoken, limits.spoken_per_address, "texts", "spoken")
        # Threads that may run: a client who goes gives up its place, and its thread ends a little later.
        self._free = asyncio.Semaphore(limits.max_spoken)

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request that was let in. Raises Refusal, and Gone when the client goes meanwhile."""
        body = await self._body(exchange)
        asked = read_speech(body, self._speech.by_language)
        with self._places.taken(exchange.caller.network):
            telling, going = asyncio.create_task(self._tell(exchange, asked)), asyncio.create_task(exchange.gone())
            try:
                await asyncio.wait([telling, going], return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_told = telling.done()
                for task in (telling, going):
                    task.cancel()
                await asyncio.gather(telling, going, return_exceptions=True)
        if not is_told:
            raise Gone(is_for_good=True)
        telling.result()

    async def _body(self, exchange: Exchange) -> bytes:
        body = b""
        try:
            with fail_after(self._limits.head_s):
                while not exchange.is_heard_out:
                    message = await exchange.receive()
                    if message["type"] == "http.disconnect":
                        raise Gone(is_for_good=True)
                    body += message["body"]
                    if len(body) > MOST_BYTES:
                        refuse(Reason.MESSAGE_TOO_BIG, f"a request may have {MOST_BYTES} bytes at most")
        except TimeoutError as error:
            late = f"the request was not sent within {self._limits.head_s:g} s"
            raise Refusal(Reason.IDLE, late) from error
        return body

    async def _tell(self, exchange: Exchange, asked: SpeechAsked) -> None:
        pieces = self._pieces(asked)
        while (data := await self._next(pieces)) is not None:
            await exchange.begin_pieces(EVENTS if asked.is_stream else CONTENT_TYPES[asked.form])
            await exchange.say(audio_event(data).encode() if asked.is_stream else data)
        if asked.is_stream:
            await exchange.say(done_event().encode())
        await exchange.end()

    async def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        """Return the next piece; None after the last. Raises Refusal when it does not come."""
        try:
            with fail_after(self._timeout_s):
                await self._free.acquire()
                return await _in_thread(lambda: next(pieces, None), self._free.release)
        except TimeoutError as error:
            silent = f"the text cannot be spoken: the voice has said nothing for {self._timeout_s:g} s"
            raise Refusal(Reason.ENGINE, silent) from error

    def _pieces(self, asked: SpeechAsked) -> Iterator[bytes]:
        """Yield the pieces of the file, none of them empty. Raises Refusal where nothing can be said."""
        assert self._speech.voices
        try:
            speakable(asked.text, asked.language)
        except VoiceError as error:
            raise RequestError(str(error), "input") from error
        try:
            voice, has_sound = self._speech.voices.voice(asked.language), False
            encoder = SoundEncoder(asked.form, voice.rate)
            speed = self._speech.config.speed if asked.speed is None else asked.speed
            for sound in voice.speak(asked.text, asked.language, speed):
                has_sound = True
                if data := encoder.feed(sound):
                    yield data
        except SimulWhisperError as error:
            raise Refusal(Reason.ENGINE, f"the text cannot be spoken: {error}") from error
        if not has_sound:
            raise RequestError("the text has nothing in it that can be spoken", "input")
        if data := encoder.end():
            yield data


def _in_thread(work: Callable[[], bytes | None], done: Callable[[], None]) -> "asyncio.Future[bytes | None]":
    """Have something done by a thread that nobody has to wait for, not even the end of the program.

    done: called by the loop once it has ended, whether somebody waited for it or not.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes | None] = loop.create_future()

    def tell(found: bytes | None, error: Exception | None) -> None:
        done()
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(found)

    def run() -> None:
        found, failure = None, None
        try:
            found = work()
        except Exception as error:
            failure = error
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, found, failure)

    try:
        threading.Thread(target=run, name="speech", daemon=True).start()
    except RuntimeError as error:
        # The system has no thread left.
        loop.call_soon(tell, None, error)
    return future
