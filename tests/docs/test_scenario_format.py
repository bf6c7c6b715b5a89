"""The examples in docs/scenario-format.md are files that load."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from loadlab.scenario import limits
from loadlab.scenario.arrivals import MAX_STATES, Arrivals, arrival_times_s
from loadlab.scenario.build import build_plan
from loadlab.scenario.delays import DelayLaw
from loadlab.scenario.files import MAX_EXPERIMENTS, is_campaign, load_campaign, load_scenario
from loadlab.scenario.joint import Joint
from loadlab.scenario.lengths import CountLaw, draw
from loadlab.scenario.load import Load
from loadlab.scenario.reuse import Reuse, draw_pieces
from loadlab.schema import read_table
from tests.docs.introspection import keys_of, tables_in

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenario-format.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
ALL_BLOCKS = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
BLOCKS = [block for block in ALL_BLOCKS if block.startswith("schema")]
PIECES = [block for block in ALL_BLOCKS if block.startswith("[")]  # more tables for the worked example
ONE_EACH = [line for block in ALL_BLOCKS if block not in BLOCKS + PIECES for line in block.splitlines()]  # a law a line
LAWS: dict[str, object] = {
    "arrivals": Arrivals,
    "prompt_tokens": CountLaw,
    "think_s": DelayLaw,
    "joint": Joint,
    "load": Load,
    "reuse": Reuse,
}


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {i}" for i in range(1, len(BLOCKS) + 1)])
def test_every_example_loads_and_becomes_plans(tmp_path: Path, block: str) -> None:
    home = tmp_path / "examples"
    home.mkdir()
    path = home / "example.toml"
    path.write_text(block)
    scenarios = [e.scenario for e in load_campaign(path).experiments] if is_campaign(path) else [load_scenario(path)]
    for scenario in scenarios:
        assert len(build_plan(scenario, 1)) == getattr(scenario.load, "requests", None)


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.splitlines()[0])
def test_every_piece_fits_into_the_worked_example(tmp_path: Path, piece: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(BLOCKS[0] + piece)
    assert len(build_plan(load_scenario(path), 1)) >= 600


def test_the_modes_of_the_piece_about_them_are_dealt(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(BLOCKS[0] + next(piece for piece in PIECES if piece.startswith("[classes.chat.modes")))
    plan = build_plan(load_scenario(path), 1)
    assert [plan.mode.names[code] for code in np.unique(plan.mode.codes[plan.mode.codes >= 0])] == ["deliberative", "fast"]


def _one_law(line: str) -> tuple[str, object]:
    """The law of a line such as `arrivals = { .. }`: its key, and what it becomes."""

    @dataclasses.dataclass(frozen=True)
    class Holder:
        law: object

    ((key, table),) = tomllib.loads(line).items()
    Holder.__annotations__["law"] = LAWS[key]
    return key, read_table(Holder, {"law": table}, "docs").law


@pytest.mark.parametrize("line", ONE_EACH, ids=lambda line: line[:40])
def test_every_example_of_a_law_is_one(line: str) -> None:
    key, law = _one_law(line)
    if key == "arrivals":
        times = arrival_times_s(law, default_rng(1), duration_s=600)  # type: ignore[arg-type]
        assert len(times) > 3
    if key == "prompt_tokens":
        assert draw(law, 9, default_rng(1)).min() >= 1  # type: ignore[arg-type]
    if key == "reuse":
        _, ids = draw_pieces(law, np.full(500, 1500), default_rng(1))  # type: ignore[arg-type]
        assert 1 - len(np.unique(ids)) / len(ids) > 0.3, "its prompts begin alike"


def test_every_law_has_an_example_with_all_its_keys() -> None:
    tables = [next(iter(tomllib.loads(line).items())) for line in ONE_EACH]
    written = {(key, table.get("kind")): set(table) - {"kind"} for key, table in tables}
    for key, union in LAWS.items():
        for member in typing.get_args(union) or (union,):
            assert written[key, getattr(member, "kind", None)] == {field.name for field in dataclasses.fields(member)}, member


def test_the_document_states_the_limits_of_the_code() -> None:
    for limit in (
        limits.MAX_REQUESTS,
        limits.MAX_SEGMENTS,
        limits.MAX_IMAGES,
        limits.MAX_STAYS,
        limits.MAX_JUMPS,
        MAX_STATES,
        MAX_EXPERIMENTS,
    ):
        assert f"{limit:,}" in TEXT
    assert f"{limits.MAX_SPAN_S // 86400} days" in TEXT


def test_the_document_has_an_example_of_each_kind_of_file() -> None:
    assert {block.splitlines()[0] for block in BLOCKS} == {'schema = "loadlab/scenario/1"', 'schema = "loadlab/campaign/1"'}


@pytest.mark.parametrize("union", LAWS.values(), ids=LAWS)
def test_every_law_and_load_is_documented_with_all_its_keys(union: object) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    for member in typing.get_args(union):
        keys = [field.name for field in dataclasses.fields(member)]
        assert any(row.startswith(f"| `{member.kind}`") and all(f"`{key}`" in row for key in keys) for row in rows), member


MODULES = [
    f"loadlab.scenario.{name}"
    for name in (
        "model",
        "load",
        "arrivals",
        "renewal",
        "profiles",
        "states",
        "clusters",
        "lengths",
        "joint",
        "delays",
        "sessions",
        "reuse",
        "applications",
        "traffic_class",
    )
]
MODULES += ["loadlab.wire.template", "loadlab.wire.openai"]
BUILT = {"Campaign", "Experiment", "Texts", "Blanks", "OpenAIOptions"}  # of what was read; no file has their fields


@pytest.mark.parametrize("table", [t for t in tables_in(MODULES) if t.__name__ not in BUILT], ids=lambda table: table.__name__)
def test_every_key_of_a_table_is_documented(table: type) -> None:
    for key in keys_of(table):
        assert re.search(rf"`{key}[`.]", TEXT), f"{table.__name__}.{key}"


def test_the_worked_example_is_the_file_that_the_command_runs() -> None:
    file = (DOCUMENT.parents[1] / "scenarios" / "support-desk.toml").read_text(encoding="utf-8")
    assert file[file.index("schema = ") :] == BLOCKS[0]
