"""/admin/faults: faults on demand, of the cluster and of answers, for whoever has the token and sits on this machine."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import typing
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.schema import read_table
from loadlab.server.connection import Request
from loadlab.server.errors import ApiError, UnauthorisedError
from loadlab.server.response_faults import ResponseFault
from loadlab.server.service import Service
from loadlab.simulator.faults import Fault, Misconfigured
from loadlab.units import PS_PER_S

PATH = "/admin/faults"
_RESPONSE_KINDS: dict[str, type] = {cls.kind: cls for cls in typing.get_args(ResponseFault)}
_CLUSTER_KINDS: dict[str, type] = {cls.kind: cls for cls in typing.get_args(Fault) if cls is not Misconfigured}


class Admin:
    """Injects faults into a service. A cluster's fault begins `after_s` simulated seconds from now, where the cluster file has `at_s`."""

    def __init__(self, service: Service, token: str) -> None:
        self._service = service
        self._token = token.encode()

    def answer(self, request: Request) -> None:
        """GET lists what waits, POST adds a fault, DELETE forgets those of answers that still wait."""
        self._check(request)
        match request.method:
            case "GET" | "HEAD":
                pass
            case "POST":
                self._add(request)
            case "DELETE":
                self._service.faults.clear()
            case _:
                request.connection.respond(405, b'{"detail":"Method Not Allowed"}', headers=((b"allow", b"GET, POST, DELETE"),))
                return
        faults = self._service.faults
        waiting = [{"kind": fault.kind, **dataclasses.asdict(fault), "left": left} for fault, left in faults.waiting()]
        answer = {"waiting": waiting, "struck": faults.struck, "now_s": self._service.real_time.now_ps / PS_PER_S}
        request.connection.respond(200, orjson.dumps(answer))

    def _check(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)
        if scheme.lower() != "bearer" or not is_right or not _is_local(request.peer):
            raise UnauthorisedError

    def _add(self, request: Request) -> None:
        try:
            table = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise ApiError(400, f"the body is not JSON: {error.msg}") from None
        if not isinstance(table, dict):
            raise ApiError(400, "the body must be an object with a kind")
        kind = table.pop("kind", None)
        try:
            if kind in _RESPONSE_KINDS:
                self._service.faults.add(read_table(_RESPONSE_KINDS[kind], table, "fault"))
            elif kind in _CLUSTER_KINDS:
                self._inject(_CLUSTER_KINDS[kind], table)
            else:
                raise ApiError(400, f"kind must be one of {', '.join([*_RESPONSE_KINDS, *_CLUSTER_KINDS])}", param="kind")
        except (InputError, ValueError) as error:
            raise ApiError(400, str(error)) from None

    def _inject(self, cls: type, table: dict[str, Any]) -> None:
        after_s = table.pop("after_s", 0)
        if isinstance(after_s, bool) or not isinstance(after_s, int | float) or not 0 <= after_s <= 1e7:
            raise ValueError("after_s must be seconds from now, at least 0")
        now_s = self._service.real_time.now_ps / PS_PER_S
        self._service.real_time.inject(read_table(cls, table | {"at_s": now_s + after_s}, "fault"))


def _is_local(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
