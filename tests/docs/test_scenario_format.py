"""The examples in docs/scenario-format.md are files that load."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import numpy as np
import pytest

from loadlab.scenario import limits
from loadlab.scenario.arrivals import MAX_STATES, Arrivals
from loadlab.scenario.build import build_plan
from loadlab.scenario.delays import DelayLaw
from loadlab.scenario.files import MAX_EXPERIMENTS, is_campaign, load_campaign, load_scenario
from loadlab.scenario.lengths import CountLaw
from loadlab.scenario.load import Load
from tests.docs.introspection import keys_of, tables_in

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenario-format.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
ALL_BLOCKS = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
BLOCKS = [block for block in ALL_BLOCKS if block.startswith("schema")]
(PIECE,) = (block for block in ALL_BLOCKS if not block.startswith("schema"))


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {i}" for i in range(1, len(BLOCKS) + 1)])
def test_every_example_loads_and_becomes_plans(tmp_path: Path, block: str) -> None:
    home = tmp_path / "examples"
    home.mkdir()
    path = home / "example.toml"
    path.write_text(block)
    scenarios = [e.scenario for e in load_campaign(path).experiments] if is_campaign(path) else [load_scenario(path)]
    for scenario in scenarios:
        assert len(build_plan(scenario, 1)) == getattr(scenario.load, "requests", None)


def test_the_piece_about_modes_fits_into_the_worked_example(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(BLOCKS[0] + PIECE)
    plan = build_plan(load_scenario(path), 1)
    assert [plan.mode.names[code] for code in np.unique(plan.mode.codes[plan.mode.codes >= 0])] == ["deliberative", "fast"]


def test_the_document_states_the_limits_of_the_code() -> None:
    for limit in (limits.MAX_REQUESTS, limits.MAX_SEGMENTS, limits.MAX_IMAGES, limits.MAX_STAYS, MAX_STATES, MAX_EXPERIMENTS):
        assert f"{limit:,}" in TEXT
    assert f"{limits.MAX_SPAN_S // 86400} days" in TEXT


def test_the_document_has_an_example_of_each_kind_of_file() -> None:
    assert [block.splitlines()[0] for block in BLOCKS] == ['schema = "loadlab/scenario/1"', 'schema = "loadlab/campaign/1"']


@pytest.mark.parametrize("union", [Arrivals, CountLaw, DelayLaw, Load], ids=["arrivals", "counts", "delays", "loads"])
def test_every_law_and_load_is_documented_with_all_its_keys(union: object) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    for member in typing.get_args(union):
        keys = [field.name for field in dataclasses.fields(member)]
        assert any(row.startswith(f"| `{member.kind}`") and all(f"`{key}`" in row for key in keys) for row in rows), member


MODULES = [f"loadlab.scenario.{name}" for name in ("model", "load", "arrivals", "lengths", "delays", "sessions")]
BUILT = {"Campaign", "Experiment", "Texts"}  # of what was read; no file has their fields


@pytest.mark.parametrize("table", [t for t in tables_in(MODULES) if t.__name__ not in BUILT], ids=lambda table: table.__name__)
def test_every_key_of_a_table_is_documented(table: type) -> None:
    for key in keys_of(table):
        assert re.search(rf"`{key}[`.]", TEXT), f"{table.__name__}.{key}"


def test_the_worked_example_is_the_file_that_the_command_runs() -> None:
    file = (DOCUMENT.parents[1] / "scenarios" / "support-desk.toml").read_text(encoding="utf-8")
    assert file.partition("\n")[2] == BLOCKS[0]
