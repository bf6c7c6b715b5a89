"""`loadlab fleet`: planned and played on a small cluster; a late autoscaler and a lost region seen; what it writes and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import ROOT, SCENARIOS, Command

STUDY = ROOT / "reports" / "t4-study" / "capacity"
DESK = SCENARIOS / "demand" / "support-desk.toml"

# A request is one step of prefill and 50 of decode: 4.1 s alone; 20 at once, so that one replica serves 4.6 a second at most.
CLUSTER = """
schema = "loadlab/cluster/1"
name = "tiny"
[pools.llm]
serves = ["m"]
[pools.llm.hardware]
kind = "constants"
step_s = 0.08
per_prefill_token_s = 0.0001
kv_tokens = 100000
[pools.llm.engine]
max_running = 20
"""
SCENARIO = """
schema = "loadlab/scenario/1"
name = "tiny"
timeout_s = "30s"
slo = { e2e = "12s", target = "95%" }
[load]
kind = "open_loop"
requests = 100
arrivals = { kind = "poisson", rate_per_s = 1 }
[classes.chat]
model = "m"
prompt_tokens = { kind = "constant", value = 100 }
output_tokens = { kind = "constant", value = 50 }
"""
PEAK = "[" + "0.5, " * 9 + "{0}, {0}, {0}, " + "0.5, " * 11 + "0.5]"  # three hours from nine on
DEMAND = 'schema = "loadlab/demand/1"\nname = "d"\n[curve]\nkind = "hourly"\narrivals_per_s = {hours}\n'


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Flags of a capacity, a scenario and a cluster that go together."""
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    return ["--capacity", "4/s", "--scenario", str(tmp_path / "scenario.toml"), "--cluster", str(tmp_path / "cluster.toml")]


def demand(folder: Path, text: str) -> Path:
    file = folder / "demand.toml"
    file.write_text(text)
    return file


def days_of(text: str) -> dict[str, Any]:
    return {day["name"]: day for day in json.loads(text)["days"]}


def test_an_autoscaler_that_starts_late_breaks_the_hour_in_which_demand_rises(command: Command, tiny: list[str], tmp_path: Path) -> None:
    """9/s at nine needs 3 replicas; the one of the night serves 4.6/s, until two minutes past nine."""
    file = demand(tmp_path, DEMAND.format(hours=PEAK.format(9)))
    answer = command("fleet", *tiny, "--demand", file, "--spare", "0", "--startup", "2min", "--requests", "28000", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    days = days_of(answer.out)
    assert found["static"]["replicas"] == 3
    assert (days["static"]["broken"], days["ahead"]["broken"], days["late"]["broken"][0]) == ([], [], 9)
    assert days["late"]["hours"][9]["attainment"] < 0.7
    assert (days["late"]["hours"][9]["up_least"], days["ahead"]["hours"][9]["up_least"]) == (1, 3)
    assert [day["hours"][11]["verdict"] for day in days.values()] == ["held"] * 3
    minutes = days["static"]["minutes_of_each_hour"]
    assert 2 < minutes < 60
    assert any(f"weighs up to {60 / minutes:.2g} times" in note for note in found["notes"])
    assert "broken at 9" in answer.err


def test_a_lost_region_breaks_what_was_not_planned_for_it_and_only_that(command: Command, tiny: list[str], tmp_path: Path) -> None:
    """Two regions of 9/s each: three replicas serve one, and at most 13.8/s of the 18/s when the other is lost; five serve both."""
    file = demand(tmp_path, DEMAND.format(hours=PEAK.format(18)) + "[regions.east]\nshare = 1\n[regions.west]\nshare = 1\n")
    flags = [
        *tiny, "--demand", file, "--spare", "0", "--startup", "0s", "--utilisation", "100%", "--requests", "12000",
        "--lose-region", "east", "--json", "-q",
    ]  # fmt: skip
    safe, risky = command("fleet", *flags), command("fleet", *flags, "--no-survive-region")
    assert (safe.code, risky.code) == (0, 0), safe.err
    assert json.loads(safe.out)["static"]["by_region"] == {"east": 5, "west": 5}
    assert json.loads(risky.out)["static"]["by_region"] == {"east": 3, "west": 3}
    held, broken = days_of(safe.out)["static, east lost"], days_of(risky.out)["static, east lost"]
    assert held["broken"] == []
    assert held["hours"][9]["verdict"] == "held"
    assert broken["broken"][0] == 9
    assert broken["hours"][9]["by_region"]["west"] < 0.8  # who stayed up suffers with those who came
    assert broken["hours"][11]["verdict"] == "held"


@pytest.mark.slow
def test_three_regions_spread_what_one_loses(command: Command, tiny: list[str], tmp_path: Path) -> None:
    regions = "".join(f"[regions.r{k}]\nshare = 1\n" for k in range(3))
    file = demand(tmp_path, DEMAND.format(hours=PEAK.format(15)) + regions)
    answer = command("fleet", *tiny, "--demand", file, "--spare", "0", "--requests", "8000", "--lose-region", "r1", "--json", "-q")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["static"]["by_region"] == {"r0": 3, "r1": 3, "r2": 3}  # 7.5 / 3.2 = 2.3
    assert days_of(answer.out)["static, r1 lost"]["broken"] == []


def test_a_study_is_planned_with_its_lower_end_and_leaves_files_that_run(command: Command, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)  # the study names its cluster from there
    out = tmp_path / "fleet"
    hosting = SCENARIOS / "hosting" / "l40s-70b.toml"
    flags = ["--capacity", STUDY, "--demand", DESK, "--hosting", hosting, "--requests", "5000", "--out", out]
    answer = command("fleet", *flags)
    assert answer.code == 0, answer.err
    found = json.loads((out / "fleet.json").read_bytes())
    study = json.loads((STUDY / "capacity.json").read_bytes())
    assert found["capacity"]["low_per_s"] == study["capacity_per_s"]["low"]
    assert found["static"]["replicas"] == 7  # ceil(3.5 x 1.15 / (0.964 x 0.8)) + 1
    assert found["static"]["month"]["usd"] == pytest.approx(7 * 2 * 730 * 1.09)
    assert found["capacity"]["digests"][1:] == [level["digest"] for level in study["levels"]]
    assert found["demand"]["digest"].startswith("sha256:")
    assert {path.name for path in (out / "figures").iterdir()} == {"day.svg", "held.svg", "year.svg"}
    assert "-28 to +39 %" in answer.out
    again = command(
        "run",
        out / "day.toml",
        "--target",
        f"sim:{out}/clusters/static.toml",
        "--seed",
        "1",
        "--out",
        tmp_path / "run",
        "-q",
        "--no-report",
    )
    assert again.code == 0, again.err
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_bytes())
    assert manifest["plan_digest"] == found["days"][0]["plan_digests"][0]


def test_the_break_even_of_a_fleet_has_its_replicas(command: Command, monkeypatch: Any) -> None:
    import shlex

    monkeypatch.chdir(ROOT)
    flags = ["--capacity", STUDY, "--demand", DESK, "--hosting", SCENARIOS / "hosting" / "l40s-70b.toml", "--no-simulate", "--json", "-q"]
    found = json.loads(command("fleet", *flags).out)
    answer = command(*shlex.split(found["break_even"]["command"])[1:], "--json", "-q")
    assert answer.code == 0, answer.err
    at = json.loads(answer.out)["comparisons"][0]["at_volume"]
    assert at["replicas"] == found["static"]["replicas"]
    assert at["own_usd_per_month"] == pytest.approx(found["static"]["month"]["usd"])


def study_over_http(folder: Path, **changes: Any) -> Path:
    """The T4 study as if it were of an endpoint, which does not say what serves it."""
    study = json.loads((STUDY / "capacity.json").read_bytes())
    study |= {"target": "http://127.0.0.1:8642", "conditions": [{"url": "http://127.0.0.1:8642", "models": {}}]} | changes
    (folder / "capacity.json").write_text(json.dumps(study))
    return folder


def test_a_study_over_http_is_planned_and_played_on_a_stand_in(command: Command, tmp_path: Path) -> None:
    (tmp_path / "probes.jsonl").write_bytes((STUDY / "probes.jsonl").read_bytes())
    flags = ["--capacity", study_over_http(tmp_path), "--demand", DESK, "--json", "-q"]
    alone = json.loads(command("fleet", *flags).out)
    assert (alone["static"]["replicas"], alone["static"]["gpus"]) == (7, None)
    assert "no cluster is known: give --cluster" in alone["why_not_played"]
    played = json.loads(command("fleet", *flags, "--cluster", "t4-14b", "--gpus-per-replica", "2", "--requests", "2000").out)
    assert played["static"]["gpus"] == 14
    assert any("not on the target of the capacity study" in note for note in played["notes"])


def test_an_interval_that_is_open_below_gives_way_to_the_certified_rate(command: Command, tmp_path: Path) -> None:
    capacity = {"value": 1.1, "low": None, "high": 1.2, "note": ""}
    found = json.loads(
        command("fleet", "--capacity", study_over_http(tmp_path, capacity_per_s=capacity), "--demand", DESK, "--json", "-q").out
    )
    assert found["capacity"]["low_per_s"] == 0.9
    assert "certified rate" in found["capacity"]["note"]
    nothing = study_over_http(tmp_path, capacity_per_s=capacity, certified_per_s=None)
    answer = command("fleet", "--capacity", nothing, "--demand", DESK)
    assert (answer.code, "no lower bound to plan with" in answer.err) == (2, True)


@pytest.mark.parametrize("width", [80, 120])
def test_a_number_is_planned_but_not_played_and_both_are_said(command: Command, monkeypatch: Any, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answer = command("fleet", "--capacity", "0.701/s", "--demand", SCENARIOS / "demand" / "thirty-million.toml", "--gpus-per-replica", "2")
    assert answer.code == 0, answer.err
    text = " ".join(answer.out.split())
    assert "3 replicas (6 GPUs) always on" in text
    assert "not simulated: no scenario is known" in text
    assert "a number without an interval" in text
    assert "95 % (cascade)" in text
    assert max(len(line) for line in answer.out.splitlines()) <= width


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--capacity", "0.7"], "neither a file that exists nor a rate"),
        (["--capacity", "fast"], "neither a file that exists nor a rate"),
        (["--capacity", "0/s"], "must be a rate above 0"),
        (["--capacity", str(DESK)], "is not JSON"),
        (["--capacity", str(SCENARIOS)], "has no capacity.json"),
        (["--capacity", "1/s", "--utilisation", "120%"], "--utilisation"),
        (["--capacity", "1/s", "--startup", "soon"], "--startup"),
        (["--capacity", "1/s", "--lose-region", "mars"], "needs a demand of at least two"),
        (["--capacity", "1/s", "--cluster", "nowhere.toml", "--scenario", "smoke"], "nowhere.toml"),
    ],
)
def test_what_cannot_be_is_refused_in_words(command: Command, flags: list[str], message: str) -> None:
    answer = command("fleet", *flags, "--demand", DESK)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_price_without_gpus_is_told_to_make_no_bill(command: Command, tiny: list[str], tmp_path: Path) -> None:
    file = demand(tmp_path, DEMAND.format(hours=PEAK.format(2)))
    answer = command("fleet", *tiny, "--demand", file, "--price-usd-per-gpu-hour", "0.53", "--no-simulate")
    assert "no bill: how many GPUs a replica has is not known" in " ".join(answer.out.split())
