"""Paths to what answers them."""

from __future__ import annotations

import sys
import traceback
import zlib
from collections.abc import Callable
from typing import Any

import orjson

from loadlab import __version__
from loadlab.server import dialect, request_shapes
from loadlab.server.admin import PATH as ADMIN_PATH
from loadlab.server.admin import Admin
from loadlab.server.connection import Request
from loadlab.server.errors import ApiError, unknown_model
from loadlab.server.exchange import Asker
from loadlab.server.gateway import Gateway
from loadlab.server.lake import Lake
from loadlab.server.limits import Limits
from loadlab.server.metrics import Metrics
from loadlab.server.openapi import document
from loadlab.server.prompts import chat_prompt
from loadlab.server.question import Catalogue, Question, read_chat, read_completion, read_embedding
from loadlab.server.service import Service
from loadlab.server.shapes import check, invalid
from loadlab.wire.tokens import CHARS_PER_TOKEN

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
VECTOR_DIMENSIONS = 1024  # of an embedding that does not say

Handler = Callable[[Request], None]
Read = Callable[[dict[str, Any], Catalogue, Limits], Question]


class App:
    """The routes of one service, behind its gateway."""

    def __init__(
        self, service: Service, gateway: Gateway, metrics: Metrics, *, lake: Lake | None = None, admin: Admin | None = None
    ) -> None:
        self._service = service
        self._gateway = gateway
        self._metrics = metrics
        self._lake = lake
        self._admin = admin
        self._routes: dict[str, dict[str, Handler]] = {
            "/health": {"GET": _health},
            "/version": {"GET": _version},
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": lambda request: self._generate(request, read_chat)},
            "/v1/completions": {"POST": lambda request: self._generate(request, read_completion)},
            "/v1/embeddings": {"POST": self._embed},
            "/tokenize": {"POST": self._tokenize},
            "/metrics": {"GET": self._page},
            "/openapi.json": {"GET": lambda request: request.connection.respond(200, orjson.dumps(document(service.models)))},
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
        if methods is None and request.path == ADMIN_PATH and self._admin is not None:
            return self._admin.answer
        if methods is None:
            return _not_found
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        return handler or (lambda refused: _not_allowed(refused, methods))

    def _models(self, request: Request) -> None:
        self._gateway.authenticate(request.headers)
        service = self._service
        cards = [dialect.model_card(name, service.started_s, service.window_tokens(name)) for name in service.models]
        request.connection.respond(200, orjson.dumps({"object": "list", "data": cards}))

    def _model(self, request: Request) -> None:
        self._gateway.authenticate(request.headers)
        service, name = self._service, request.path.removeprefix("/v1/models/")
        if name not in service.models:
            raise ApiError(404, f"The model `{name[:200]}` does not exist.", kind="NotFoundError", param="model")
        request.connection.respond(200, orjson.dumps(dialect.model_card(name, service.started_s, service.window_tokens(name))))

    def _generate(self, request: Request, read: Read) -> None:
        def ask(asker: Asker) -> None:
            question = read(json_body(request), self._service, self._service.limits)
            self._gateway.authorise(asker, question)
            self._service.ask(question, asker, request.connection, is_filtered=self._gateway.is_filtered(question))

        self._admitted(request, ask)

    def _embed(self, request: Request) -> None:
        def embed(asker: Asker) -> None:
            body = json_body(request)
            question = read_embedding(body, self._service, self._service.limits)
            self._gateway.authorise(asker, question)
            dimensions, encoding = body.get("dimensions") or VECTOR_DIMENSIONS, body.get("encoding_format") or "float"
            is_filtered = self._gateway.is_filtered(question)
            self._service.embed(question, asker, request.connection, int(dimensions), encoding, is_filtered=is_filtered)

        self._admitted(request, embed)

    def _admitted(self, request: Request, ask: Callable[[Asker], None]) -> None:
        """Lets whoever may ask do so. A refusal is counted and logged; raises it again."""
        asker = None
        try:
            asker = self._gateway.authenticate(request.headers)
            ask(asker)
        except ApiError as error:
            self._metrics.note_refusal(error)
            if self._lake is not None:
                self._lake.note_refusal(asker, error)
            raise

    def _page(self, request: Request) -> None:
        request.connection.respond(200, self._metrics.page(), content_type=METRICS_TYPE)

    def _tokenize(self, request: Request) -> None:
        """Tokens as the common rule counts them; an id is a hash of the token's text, since there is no vocabulary."""
        self._gateway.authenticate(request.headers)
        body = json_body(request)
        check(body, request_shapes.TOKENIZE)
        if ("prompt" in body) == ("messages" in body):
            raise ApiError(400, "one of prompt and messages is needed, and only one.", param="prompt")
        model = body.get("model") or self._service.models[0]
        if model not in self._service.models:
            raise unknown_model(model, self._service.models)
        text = body["prompt"] if "prompt" in body else chat_prompt(body["messages"], [], self._service.image_tokens(model)).text
        strings = [text[at : at + CHARS_PER_TOKEN] for at in range(0, len(text), CHARS_PER_TOKEN)]
        answer = {
            "count": len(strings),
            "max_model_len": self._service.window_tokens(model),
            "tokens": [zlib.crc32(string.encode("utf-8", "surrogatepass")) >> 15 for string in strings],
            "token_strs": strings if body.get("return_token_strs") else None,
        }
        request.connection.respond(200, orjson.dumps(answer))


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
