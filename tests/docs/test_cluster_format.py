"""docs/cluster-format.md names every key of a cluster file, and its examples load and fit."""

from __future__ import annotations

import dataclasses
import enum
import re
from pathlib import Path

import pytest

from loadlab.catalog.specs import Quantisation
from loadlab.simulator import spec
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from tests.docs.introspection import keys_of, tables_in

TEXT = (Path(__file__).parents[2] / "docs" / "cluster-format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
TABLES = tables_in(["loadlab.simulator.spec", "loadlab.simulator.faults"])


@pytest.mark.parametrize("block", BLOCKS, ids=["plain", "everything"])
def test_every_example_is_a_cluster_that_fits(tmp_path: Path, block: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(block)
    assert SimulatedCluster(load_cluster(path), str(path)).serves


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_of_a_cluster_file_is_documented(table: type) -> None:
    for key in keys_of(table):
        assert re.search(rf"`{key}[`.]", TEXT), f"{table.__name__}.{key}"


@pytest.mark.parametrize("table", [t for t in TABLES if isinstance(getattr(t, "kind", None), str)], ids=lambda table: table.__name__)
def test_every_kind_is_documented(table: type) -> None:
    kind = vars(table)["kind"]
    row = next((line for line in TEXT.splitlines() if line.startswith(f"| `{kind}` |")), "")
    assert row or f'`kind = "{kind}"`' in TEXT
    if row:  # a fault: its row has all of its keys
        assert all(f"`{field.name}`" in row for field in dataclasses.fields(table))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choice", [*(v for v in vars(spec).values() if isinstance(v, enum.EnumMeta) and v.__module__ == spec.__name__), Quantisation]
)
def test_every_value_of_a_choice_is_documented(choice: type[enum.Enum]) -> None:
    for member in choice:
        assert f"`{member.value}`" in TEXT, member
