"""docs/serving.md and the dashboard name what the server has, and its example of a gateway file loads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadlab.server.gateway_spec import load_gateway
from loadlab.server.metrics import _FAMILIES
from tests.docs.introspection import keys_of, tables_in
from tests.server.running import Running, running

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "serving.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DOCS / "grafana" / "loadlab-serve.json").read_text(encoding="utf-8"))


def test_the_gateway_file_of_the_page_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "gateway.toml"
    path.write_text(block)
    assert load_gateway(path).keys["team-a"].requests_per_s == 2


@pytest.mark.parametrize(
    "table", tables_in(["loadlab.server.gateway_spec", "loadlab.server.response_faults"]), ids=lambda table: table.__name__
)
def test_every_key_is_documented(table: type) -> None:
    for key in keys_of(table):
        assert re.search(rf"\b{key}\b", TEXT), f"{table.__name__}.{key}"


@pytest.fixture(scope="module")
def page() -> str:
    with running(speed=50) as server:
        answered(server)
        return server.get("/metrics")[1].decode()


def answered(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    assert server.post("/v1/chat/completions", body)[0] == 200


def test_the_dashboard_asks_for_metrics_that_are_there(page: str) -> None:
    exported = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    asked = {name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in metrics_in(target["expr"])}
    assert asked
    assert asked <= exported | {f"{name}_bucket" for name in exported}
    assert {f"vllm:{name}" for name in _FAMILIES} <= exported


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:vllm:|loadlab:|DCGM_)\w+", expression))


def test_the_page_is_prometheus_text(page: str) -> None:
    """Every sample stands under its family; histogram buckets never decrease and end at the count."""
    family, last = "", {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            family, last = line.split()[2], {}
        elif not line.startswith("#"):
            name, value = re.fullmatch(r"(\S+?)(?:\{.*\})? (\S+)", line).groups()  # type: ignore[union-attr]
            assert name in (family, f"{family}_bucket", f"{family}_count", f"{family}_sum"), line
            labels = re.sub(r',?le="[^"]*"', "", line.partition("{")[2].rpartition("}")[0])
            if name.endswith("_bucket"):
                assert float(value) >= last.get(labels, 0.0), line
                last[labels] = float(value)
            elif name.endswith("_count") and last:
                assert float(value) == last[labels], line
