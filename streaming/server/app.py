"""The Starlette application: who is let in, and what stands at which address."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from simul_whisper import language_names
from streaming.events import Reason
from streaming.protocols.catalogue import ENTRIES
from streaming.protocols.native import PATH
from streaming.server.access import Access, given_token
from streaming.server.connection import Connection
from streaming.server.dialects import Dialects, WebSocketDoor
from streaming.server.doorway import Doorway
from streaming.server.openai_rest import OpenAiRest
from streaming.server.prometheus import CONTENT_TYPE, PrometheusMetrics
from streaming.server.proxy import Prefixed, Proxy
from streaming.server.reception import Reception, not_called
from streaming.server.registry import SessionRegistry
from streaming.server.resumable import ResumableSessions
from streaming.server.uvicorn_http import CALLER
from streaming.sessions.pool import Health
from streaming.sessions.request import Refusal
from streaming.tracing import Trace, enter

logger = logging.getLogger(__name__)

_MODEL_PATH, _HEALTH_PATH, _METRICS_PATH = "/v1/model", "/health", "/metrics"
_NATIVE = "native"
_NOT_KEPT = {"Cache-Control": "no-store"}
_PAGE = Path(__file__).parents[1] / "web"
# An inference that takes longer will not come back.
_HUNG_S = 120.0


@dataclass(frozen=True)
class Apps:
    """public: serves the sessions. admin: for those who run it. by_dialect: of dialects with ports of their own."""

    public: ASGIApp
    admin: ASGIApp
    by_dialect: Mapping[str, ASGIApp]


class _Endpoints:
    """Everything but the page and health asks for the token."""

    def __init__(self, registry: SessionRegistry, access: Access, reception: Reception, doorway: Doorway) -> None:
        self._registry, self._access, self._reception = registry, access, reception
        self._metrics = PrometheusMetrics(registry, doorway)
        self._sessions = ResumableSessions(registry)

    async def stream(self, socket: WebSocket) -> None:
        # Browsers show their pages no reason for a refused handshake, so it is accepted, and the reason told.
        try:
            await socket.accept()
        except WebSocketDisconnect:
            return
        enter(Trace(_NATIVE))
        connection = Connection(socket, self._registry, self._sessions)
        self._registry.n_connections += 1
        name = None
        try:
            token = given_token(socket.headers, socket.query_params)
            name = self._reception.welcome(socket, token)
            self._registry.connections_by_dialect[_NATIVE] += 1
            await connection.run()
        except Refusal as error:
            await connection.refuse(error)
        except Exception:
            logger.exception("a connection%s has failed", f" of {name}" if name else "")
            await connection.refuse(Refusal(Reason.INTERNAL, "the server has a bug; its log says more"))
        finally:
            self._registry.n_connections -= 1

    def _client_name(self, connection: HTTPConnection) -> str | None:
        return self._access.client_name(connection.headers, connection.query_params)

    async def health(self, _: Request) -> Response:
        """Status 200 when ready; `live` says whether the server need not be started anew."""
        health = self._registry.pool.health()
        is_live = health.is_alive and health.busy_s < _HUNG_S
        told: dict[str, Any] = {
            "live": is_live,
            "ready": is_live and health.is_ready and not self._registry.is_stopping,
            "state": health.state.value,
            "busy_s": round(health.busy_s, 3),
            "message": health.message,
            "places": health.together.n_places,
        }
        if health.others:
            told["models"] = {each.model: each.state.value for each in health.all}
        return JSONResponse(told, 200 if told["ready"] else 503, _NOT_KEPT)

    async def model(self, request: Request) -> Response:
        """What the model can do, and what a session that asks for nothing gets; status 503 before it is ready.

        Where there are several, what any of them can do, and what each can.
        """
        if self._client_name(request) is None:
            return _unauthorized()
        health, config = self._registry.pool.health(), self._registry.config
        if not health.is_ready:
            return JSONResponse({"message": health.message or f"the model is {health.state.value}"}, 503, _NOT_KEPT)
        translations, of_any = self._registry.translations, self._abilities(health.together)
        targets = [each["code"] for each in of_any["targets"]]
        told = {
            "name": health.model,
            **of_any,
            "language": config.language,
            "task": config.task,
            "first_targets": [target for target in translations.first if target in targets],
            "most_targets": self._registry.client_limits.targets,
            "translator": translations.translator_name,
            "voices": _named(self._registry.speech.languages),
            "most_speech": self._registry.client_limits.speech,
        }
        if health.others:
            told["models"] = [
                {"name": each.model, "state": each.state.value, **self._abilities(each)} for each in health.all
            ]
        return JSONResponse(told, headers=_NOT_KEPT)

    def _abilities(self, health: Health) -> dict[str, Any]:
        """Return what a model can do, whatever language a session asks for."""
        targets = self._registry.translations.targets(health, replace(self._registry.config, language="auto"))
        return {"languages": _named(health.languages), "tasks": health.tasks, "targets": _named(targets)}

    async def metrics(self, request: Request) -> Response:
        if self._client_name(request) is None:
            return _unauthorized()
        return Response(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE, **_NOT_KEPT})


class _Page(StaticFiles):
    """Browsers ask each time whether their copy of the page is still the server's."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _KnownHosts:
    """Answers requests by a name that the server has not, but for its health, which is no secret."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if CALLER in scope and scope["client"]:
            scope[CALLER].comes_from(scope["client"][0])
        if scope["type"] == "http" and scope["path"] != _HEALTH_PATH:
            request = HTTPConnection(scope)
            if not self._access.knows_host(request.headers):
                app = PlainTextResponse(f"{not_called(request.headers.get('host', ''))}\n", 421, _NOT_KEPT)
        await app(scope, receive, send)


def _named(codes: Iterable[str]) -> list[dict[str, str]]:
    return [{"code": code, "name": name} for code, name in language_names(codes).items()]


def _unauthorized() -> Response:
    return PlainTextResponse("unauthorized\n", 401, {"WWW-Authenticate": "Bearer", **_NOT_KEPT})


async def _is_socket(request: Request) -> Response:
    why = f"{request.url.path} is a WebSocket, and no page: connect a client that speaks its protocol\n"
    return PlainTextResponse(why, 426, {"Upgrade": "websocket", **_NOT_KEPT})


async def _no_page(_: Request) -> Response:
    return PlainTextResponse(f"simul-whisper: WebSocket at {PATH}, also {_MODEL_PATH}, /health and /metrics\n")


def create_apps(
    registry: SessionRegistry,
    access: Access,
    doorway: Doorway,
    dialects: Dialects | None = None,
    proxy: Proxy | None = None,
    *,
    has_admin_port: bool = False,
) -> Apps:
    """Return the applications of a server's ports. Raises ConfigError for a prefix that is an address of its own.

    Run them with `http=UvicornHttp` and `ws=UvicornWebSocket`. has_admin_port: whether metrics are told there only.
    """
    reception = Reception(registry, access)
    endpoints, door = _Endpoints(registry, access, reception, doorway), WebSocketDoor(registry, reception, dialects)
    rest = OpenAiRest(registry, reception, dialects or Dialects())
    health, metrics = Route(_HEALTH_PATH, endpoints.health), Route(_METRICS_PATH, endpoints.metrics)
    routes: list[BaseRoute] = [WebSocketRoute(PATH, endpoints.stream), Route(_MODEL_PATH, endpoints.model), health]
    routes += [*([] if has_admin_port else [metrics]), *door.routes(), *rest.routes()]
    routes += [Route(each.path, _is_socket) for each in routes if isinstance(each, WebSocketRoute)]
    proxy = proxy or Proxy()
    proxy.check_prefix(each.path for each in routes if isinstance(each, Route | WebSocketRoute))
    has_page = (_PAGE / "index.html").is_file()
    routes.append(Mount("/", _Page(directory=_PAGE, html=True)) if has_page else Route("/", _no_page))

    def of(routes: Iterable[BaseRoute]) -> ASGIApp:
        return _KnownHosts(Starlette(routes=list(routes)), access)

    ports = [entry for entry in ENTRIES if entry.port and not entry.is_stream]
    by_dialect = {entry.name: of([door.route_of_all(entry), Route("/{path:path}", _is_socket)]) for entry in ports}
    public = of(routes)
    return Apps(Prefixed(public, proxy.root_path) if proxy.root_path else public, of([health, metrics]), by_dialect)
