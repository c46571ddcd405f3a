"""Recordings that are uploaded as OpenAI's clients do it, and the names of the model that they ask for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from streaming.audio.containers import decoded_recording
from streaming.events import Failed, Reason
from streaming.protocols.catalogue import REST
from streaming.protocols.dialect import bearer_token
from streaming.protocols.openai_errors import RequestError, error_body, error_event, status_of
from streaming.protocols.openai_form import Asked, read_form
from streaming.protocols.openai_rest import EVENTS, JSON, Answer, model_body, models_body
from streaming.server.dialects import Dialects
from streaming.server.exchange import Exchange
from streaming.server.hosted import HostedSession, undecoded
from streaming.server.log_reader import LogReader
from streaming.server.openai_speech import SpeechMaker
from streaming.server.reception import Reception, seat
from streaming.server.registry import SessionRegistry
from streaming.server.uploads import Form, Places, read_upload
from streaming.server.wire import Gone, SlowReaderError
from streaming.sessions.event_log import LogGapError
from streaming.sessions.request import Refusal
from streaming.tracing import Trace, enter

logger = logging.getLogger(__name__)

_TRANSCRIPTIONS, _TRANSLATIONS, _MODELS = "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models"
_SPEECH = "/v1/audio/speech"
# What a client that is refused has to say the rest.
_REST_S = 2.0

_Handler = Callable[[Exchange], Awaitable[None]]


def upload_paths(dialects: Dialects) -> frozenset[str]:
    """Return the paths to which bodies may be sent."""
    return frozenset((_TRANSCRIPTIONS, _TRANSLATIONS, _SPEECH) if REST in dialects.names else ())


class OpenAiRest:
    """What stands at the paths of the dialect."""

    def __init__(self, registry: SessionRegistry, reception: Reception, dialects: Dialects) -> None:
        self._registry, self._reception, self._dialects = registry, reception, dialects
        limits = registry.limits
        # Each recording is held in memory.
        self._places = Places(limits.max_uploads, limits.uploads_per_address, "recordings", "decoded")
        self._speech = SpeechMaker(registry.speech, limits)
        self._created_s = int(time.time())
        self.patience_s = registry.limits.slow_reader_s

    def routes(self) -> list[BaseRoute]:
        if REST not in self._dialects.names:
            return []
        return [
            Route(_TRANSCRIPTIONS, _Endpoint(self, "POST", self._transcribe)),
            Route(_TRANSLATIONS, _Endpoint(self, "POST", self._translate)),
            Route(_SPEECH, _Endpoint(self, "POST", self._speak)),
            Route(_MODELS, _Endpoint(self, "GET", self._models)),
            Route(f"{_MODELS}/{{name:path}}", _Endpoint(self, "GET", self._model)),
        ]

    async def serve(self, exchange: Exchange, handler: _Handler) -> None:
        """Answer a request, in any case in the form of the dialect."""
        enter(Trace(REST))
        self._registry.n_connections += 1
        try:
            await self._answer(exchange, handler)
        except Gone:
            pass
        except SlowReaderError:
            self._registry.errors[Reason.SLOW_READER.value] += 1
            exchange.give_up()
        finally:
            exchange.caller.free_place()
            self._registry.n_connections -= 1

    async def _answer(self, exchange: Exchange, handler: _Handler) -> None:
        try:
            await handler(exchange)
        except Refusal as refusal:
            await self._refuse(exchange, refusal)
        except (Gone, SlowReaderError):
            raise
        except Exception:
            logger.exception("a request has failed")
            await self._refuse(exchange, Refusal(Reason.INTERNAL, "the server has a bug; its log says more"))

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        self._registry.errors[refusal.reason.value] += 1
        if exchange.has_begun and not exchange.is_events:
            # There is no place in a sound for an error: the client sees that it breaks off.
            exchange.give_up()
            return
        if exchange.has_begun:
            await exchange.say(error_event(refusal).encode())
            await exchange.end()
            return
        if refusal.reason is not Reason.IDLE:
            await exchange.hear_out(_REST_S)
        headers = {"www-authenticate": "Bearer"} if refusal.reason is Reason.UNAUTHORIZED else {}
        await exchange.answer(status_of(refusal), JSON, error_body(refusal), headers)

    def _let_in(self, exchange: Exchange) -> None:
        """Raises Refusal."""
        self._reception.let_in(exchange.request, exchange.caller, bearer_token(exchange.request.headers))

    # Models

    async def _models(self, exchange: Exchange) -> None:
        self._let_in(exchange)
        await exchange.answer(200, JSON, models_body(self._dialects.served(self._registry), self._created_s))

    async def _model(self, exchange: Exchange) -> None:
        self._let_in(exchange)
        served, name = self._dialects.served(self._registry), exchange.request.path_params["name"]
        await exchange.answer(200, JSON, model_body(served, name, self._created_s))

    # Recordings

    async def _transcribe(self, exchange: Exchange) -> None:
        await self._take(exchange, is_translation=False)

    async def _translate(self, exchange: Exchange) -> None:
        await self._take(exchange, is_translation=True)

    async def _speak(self, exchange: Exchange) -> None:
        self._seat(exchange)
        await self._speech.answer(exchange)

    def _seat(self, exchange: Exchange) -> None:
        """Let in somebody who wants more than to look something up. Raises Refusal."""
        exchange.caller.charge()
        self._let_in(exchange)
        self._registry.check_open(exchange.caller.network)
        seat(exchange.caller)
        self._registry.connections_by_dialect[REST] += 1

    async def _take(self, exchange: Exchange, *, is_translation: bool) -> None:
        self._seat(exchange)
        with self._places.taken(exchange.caller.network):
            form = await self._received(exchange)
            asked = read_form(form.fields, self._dialects.served(self._registry), is_translation=is_translation)
            await self._decode(exchange, form, asked)

    async def _received(self, exchange: Exchange) -> Form:
        """Read the form. Raises Refusal, at once when the server is being stopped: it could not be decoded any more."""
        headers = exchange.request.headers
        kind, length = headers.get("content-type", ""), headers.get("content-length", "")
        reading = asyncio.create_task(read_upload(kind, length, exchange.receive, self._registry.limits))
        tasks = [reading, asyncio.create_task(self._registry.stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_read = reading.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not is_read:
            self._registry.check_open(exchange.caller.network)
        return reading.result()

    async def _decode(self, exchange: Exchange, form: Form, asked: Asked) -> None:
        if form.file is None:
            raise RequestError("you must provide a file, the recording", "file")
        hosted = self._registry.open(asked.session, exchange.caller.network)
        telling = asyncio.create_task(self._tell(exchange, hosted, asked))
        tasks = [telling, asyncio.create_task(self._feed(hosted, form.file)), asyncio.create_task(exchange.gone())]
        try:
            await asyncio.wait([telling, tasks[-1]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_told = telling.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            hosted.has_reader = False
            self._registry.close(hosted)
        if not is_told:
            raise Gone(is_for_good=True)
        telling.result()

    async def _feed(self, hosted: HostedSession, recording: bytearray) -> None:
        """Decode a recording as far as there is room. What goes wrong ends the session, and is told as its end."""
        try:
            async with aclosing(decoded_recording(recording)) as decoded:
                async for samples in decoded:
                    if hosted.is_stopped:
                        return
                    hosted.feed(samples.tobytes())
                    await hosted.find_room(self._registry.limits.stall_s)
            hosted.end()
        except Exception as error:
            hosted.stop(*undecoded(error, "recording"))

    async def _tell(self, exchange: Exchange, hosted: HostedSession, asked: Asked) -> None:
        """Answer with all that the session says; at once, if that was asked for."""
        answer, reader = Answer(asked, self._registry.config.language), LogReader(hosted.log)
        try:
            while not reader.cursor.is_done:
                reader.news.clear()
                for event in reader.cursor.read():
                    if isinstance(event, Failed):
                        raise Refusal(event.reason, event.message)
                    news = answer.tell(event)
                    if news and asked.is_stream:
                        await exchange.begin_pieces(EVENTS)
                        await exchange.say(news.encode())
                if not reader.cursor.is_done:
                    await reader.news.wait()
        except LogGapError as error:
            raise SlowReaderError from error
        finally:
            reader.close()
        if asked.is_stream:
            await exchange.begin_pieces(EVENTS)
            await exchange.say(answer.last_events().encode())
            await exchange.end()
        else:
            await exchange.answer(200, answer.content_type, answer.body())


class _Endpoint:
    """An application of ASGI, for requests with this method."""

    def __init__(self, rest: OpenAiRest, method: str, handler: _Handler) -> None:
        self._rest, self._method, self._handler = rest, method, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._rest.patience_s)
        is_right = exchange.method == self._method or (exchange.method, self._method) == ("HEAD", "GET")
        await self._rest.serve(exchange, self._handler if is_right else self._refuse)

    async def _refuse(self, exchange: Exchange) -> None:
        raise RequestError(f"got {exchange.method}, expected {self._method}", None, "method_not_allowed", 405)
