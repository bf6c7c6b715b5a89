"""Locust's own page, on loopback: what the workers told, as its statistics; its charts and its Stop button work."""

from __future__ import annotations

from typing import Any

from locust.env import Environment

from loadlab.engines.messages import ROW

ADDRESS = "127.0.0.1"
_AT = {name: k for k, name in enumerate(ROW)}


class WebPage:
    """The page of one master. A line of its table per worker: classes and prompts are in our own report."""

    def __init__(self, environment: Environment, port: int) -> None:
        self._request = environment.events.request
        environment.create_web_ui(ADDRESS, port)

    def add(self, worker: int, rows: list[list[Any]]) -> None:
        """Rows that a worker told."""
        for row in rows:
            due_s, end_s, outcome = row[_AT["scheduled_s"]], row[_AT["finished_s"]], row[_AT["outcome"]]
            if due_s is None or end_s is None:
                continue
            self._request.fire(  # type: ignore[no-untyped-call]
                request_type="HTTP",
                name=f"worker {worker}",
                response_time=1e3 * (end_s - due_s),
                response_length=row[_AT["output_tokens"]] or 0,
                exception=None if outcome == "ok" else RuntimeError(str(row[_AT["cause"]] or outcome)),
                context={},
            )
