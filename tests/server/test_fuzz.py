"""schemathesis over /openapi.json: whatever it makes up, nothing is answered by a 5xx, and answers have the shapes that are promised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from loadlab.server.openapi import document
from tests.server.running import Running, running

CHECKS = [schemathesis.checks.not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]
schema = schemathesis.openapi.from_dict(document(("m",)))


@pytest.fixture(scope="module")
def endless() -> Iterator[Running]:
    """Fast enough for the longest answer that a made-up request may ask for."""
    with running(speed=1e5) as server:
        yield server
        assert server.get("/health")[0] == 200


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_nothing_made_up_breaks_the_server(endless: Running, case: schemathesis.Case) -> None:
    response = case.call(base_url=endless.url, timeout=20)
    case.validate_response(response, checks=CHECKS)
