"""The Starlette application: who is let in, and what stands at which address."""

import logging
import time
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from simul_whisper import language_names
from streaming.events import Reason
from streaming.protocols.native import PATH
from streaming.server.access import Access
from streaming.server.connection import Connection
from streaming.server.limits import RateLimiter
from streaming.server.prometheus import CONTENT_TYPE, PrometheusMetrics
from streaming.server.registry import SessionRegistry
from streaming.server.resumable import ResumableSessions
from streaming.sessions.request import Refusal

logger = logging.getLogger(__name__)

_MODEL_PATH = "/v1/model"
_PAGE = Path(__file__).parents[1] / "web"
# An inference that takes longer will not come back.
_HUNG_S = 120.0


class _Endpoints:
    """Everything but the page and health asks for the token."""

    def __init__(self, registry: SessionRegistry, access: Access) -> None:
        self._registry, self._access = registry, access
        self._rate_limiter = RateLimiter(registry.limits.connections_per_minute, time.monotonic)
        self._metrics = PrometheusMetrics(registry)
        self._sessions = ResumableSessions(registry)

    async def stream(self, socket: WebSocket) -> None:
        # Browsers show their pages no reason for a refused handshake, so it is accepted, and the reason told.
        await socket.accept()
        connection = Connection(socket, self._registry, self._sessions)
        self._registry.n_connections += 1
        try:
            self._check(socket)
            await connection.run()
        except Refusal as error:
            await connection.refuse(error)
        except Exception:
            logger.exception("a connection has failed")
            await connection.refuse(Refusal(Reason.INTERNAL, "the server has a bug; its log says more"))
        finally:
            self._registry.n_connections -= 1

    def _check(self, socket: WebSocket) -> None:
        address = socket.client.host if socket.client else ""
        if not self._rate_limiter.lets_through(address):
            n = self._registry.limits.connections_per_minute
            raise Refusal(
                Reason.TOO_MANY_CONNECTIONS, f"more than {n} connections a minute came from {address}; wait a little"
            )
        if not self._access.allows_origin(socket.headers):
            raise Refusal(
                Reason.ORIGIN,
                "this page comes from elsewhere and may not connect; the server can allow it with --origin",
            )
        if not self._knows_token(socket):
            raise Refusal(Reason.UNAUTHORIZED, "the token is missing or wrong")

    def _knows_token(self, connection: HTTPConnection) -> bool:
        return self._access.knows_token(connection.headers, connection.query_params)

    async def health(self, _: Request) -> Response:
        """Status 200 when ready; `live` says whether the server need not be started anew."""
        health = self._registry.pool.health()
        is_live = health.is_alive and health.busy_s < _HUNG_S
        told = {
            "live": is_live,
            "ready": is_live and health.is_ready and not self._registry.is_stopping,
            "state": health.state.value,
            "busy_s": round(health.busy_s, 3),
            "message": health.message,
        }
        return JSONResponse(told, status_code=200 if told["ready"] else 503)

    async def model(self, request: Request) -> Response:
        """What the model can do, and what a session that asks for nothing gets; status 503 before it is ready."""
        if not self._knows_token(request):
            return _unauthorized()
        health, config = self._registry.pool.health(), self._registry.config
        if not health.is_ready:
            return JSONResponse({"message": health.message or f"the model is {health.state.value}"}, 503)
        names = language_names(health.languages)
        told = {
            "name": health.model,
            "languages": [{"code": code, "name": name} for code, name in names.items()],
            "tasks": health.tasks,
            "language": config.language,
            "task": config.task,
        }
        return JSONResponse(told)

    async def metrics(self, request: Request) -> Response:
        if not self._knows_token(request):
            return _unauthorized()
        return Response(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE})


class _Page(StaticFiles):
    """Browsers ask each time whether their copy of the page is still the server's."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _unauthorized() -> Response:
    return PlainTextResponse("unauthorized\n", 401, {"WWW-Authenticate": "Bearer"})


async def _no_page(_: Request) -> Response:
    return PlainTextResponse(f"simul-whisper: WebSocket at {PATH}, also {_MODEL_PATH}, /health and /metrics\n")


def create_app(registry: SessionRegistry, access: Access | None = None) -> Starlette:
    """Return the application that serves the sessions of `registry`; run it with `ws=UvicornWebSocket`."""
    endpoints = _Endpoints(registry, access or Access())
    routes: list[BaseRoute] = [
        WebSocketRoute(PATH, endpoints.stream),
        Route(_MODEL_PATH, endpoints.model),
        Route("/health", endpoints.health),
        Route("/metrics", endpoints.metrics),
    ]
    has_page = (_PAGE / "index.html").is_file()
    routes.append(Mount("/", _Page(directory=_PAGE, html=True)) if has_page else Route("/", _no_page))
    return Starlette(routes=routes)
