"""Paths to what answers them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import orjson

from loadlab import __version__
from loadlab.server import dialect
from loadlab.server.connection import Request
from loadlab.server.errors import ApiError
from loadlab.server.exchange import Asker
from loadlab.server.limits import Limits
from loadlab.server.question import Catalogue, Question, read_chat, read_completion
from loadlab.server.service import Service
from loadlab.server.shapes import invalid

Handler = Callable[[Request], None]
Read = Callable[[dict[str, Any], Catalogue, Limits], Question]


class App:
    """The routes of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: dict[str, dict[str, Handler]] = {
            "/health": {"GET": _health},
            "/version": {"GET": _version},
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": lambda request: self._generate(request, read_chat)},
            "/v1/completions": {"POST": lambda request: self._generate(request, read_completion)},
        }

    def answer(self, request: Request) -> None:
        """Answers any request; what goes wrong in here is a 500 and a line on stderr, never a lost connection."""
        try:
            self._handler(request)(request)
        except ApiError as error:
            request.connection.respond(error.status, orjson.dumps(error.body), headers=error.headers)
        except Exception:  # the server must outlive any one request
            traceback.print_exc(file=sys.stderr)
            bug = ApiError(500, "Internal server error", kind="InternalServerError")
            request.connection.respond(500, orjson.dumps(bug.body))

    def _handler(self, request: Request) -> Handler:
        methods = self._routes.get(request.path)
        if methods is None and request.path.startswith("/v1/models/"):
            methods = {"GET": self._model}
        if methods is None:
            return _not_found
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        return handler or (lambda refused: _not_allowed(refused, methods))

    def _models(self, request: Request) -> None:
        service = self._service
        cards = [dialect.model_card(name, service.started_s, service.window_tokens(name)) for name in service.models]
        request.connection.respond(200, orjson.dumps({"object": "list", "data": cards}))

    def _model(self, request: Request) -> None:
        service, name = self._service, request.path.removeprefix("/v1/models/")
        if name not in service.models:
            raise ApiError(404, f"The model `{name[:200]}` does not exist.", kind="NotFoundError", param="model")
        request.connection.respond(200, orjson.dumps(dialect.model_card(name, service.started_s, service.window_tokens(name))))

    def _generate(self, request: Request, read: Read) -> None:
        question = read(json_body(request), self._service, self._service.limits)
        self._service.ask(question, Asker(request_id=request.headers.get("x-request-id")), request.connection)


def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises ApiError in vLLM's words."""
    if not request.body:
        raise invalid("missing", "Field required", "body", None)
    if not request.is_json:
        raise ApiError(415, "Unsupported Media Type: Only 'application/json' is allowed", kind="Unsupported Media Type")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise invalid("json_invalid", "JSON decode error", f"body.{error.pos}", {}) from None
    if not isinstance(body, dict):
        raise invalid("dict_type", "Input should be a valid dictionary", "body", body)
    return body


def _health(request: Request) -> None:
    request.connection.respond(200)


def _version(request: Request) -> None:
    request.connection.respond(200, orjson.dumps({"version": f"loadlab {__version__}"}))


def _not_found(request: Request) -> None:
    request.connection.respond(404, b'{"detail":"Not Found"}')


def _not_allowed(request: Request, methods: dict[str, Handler]) -> None:
    allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])]).encode()
    request.connection.respond(405, b'{"detail":"Method Not Allowed"}', headers=((b"allow", allowed),))
