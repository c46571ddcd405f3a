"""OpenAI's form of errors, for requests of HTTP. Pure.

Source: the package `openai`, and what the service answers.
"""

import json

from streaming.events import Reason
from streaming.protocols.dialect import Served
from streaming.protocols.reading import ProtocolError, shown
from streaming.sessions.request import Refusal

_STATUSES = {
    Reason.UNAUTHORIZED: 401,
    Reason.ORIGIN: 403,
    Reason.IDLE: 408,
    Reason.MESSAGE_TOO_BIG: 413,
    Reason.HOST: 421,
    Reason.TOO_MANY_CONNECTIONS: 429,
    Reason.TOO_MANY_SESSIONS: 429,
    Reason.ENGINE: 500,
    Reason.INTERNAL: 500,
    Reason.NOT_READY: 503,
    Reason.OVERLOADED: 503,
    Reason.STOPPING: 503,
    Reason.STOPPED: 503,
}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class RequestError(ProtocolError):
    """What is asked for cannot be had. param: which field asks for it; code, status: as the service has them."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(Reason.BAD_VALUE, message)
        self.param, self.code, self.status = param, code, status


def status_of(refusal: Refusal) -> int:
    """Return the status of HTTP that goes with it."""
    return refusal.status if isinstance(refusal, RequestError) else _STATUSES.get(refusal.reason, 400)


def error_body(refusal: Refusal) -> str:
    """Return the service's form of an error."""
    status = status_of(refusal)
    kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
    param = code = None
    if isinstance(refusal, RequestError):
        param, code = refusal.param, refusal.code
    told = {"message": str(refusal), "type": kind, "param": param, "code": code or _CODES.get(status)}
    return json.dumps({"error": told})


def error_event(refusal: Refusal) -> str:
    """Return how a stream of events ends that has begun and cannot go on."""
    return f"data: {error_body(refusal)}\n\n"


def check_model(served: Served, name: str) -> None:
    """Raises RequestError for a model that is not served."""
    if not name or not served.has_model(name):
        message = f"The model {shown(name)} does not exist here; this server has {', '.join(served.names)}"
        raise RequestError(message, "model", "model_not_found", 404)
