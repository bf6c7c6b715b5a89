"""The contract for machines, exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadlab.errors import InputError
from loadlab.record.manifest import Status
from loadlab.record.request import Cause, Outcome
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import dump_summary, published_rows, summarise_run
from tests.record.examples import HOST, failed, five_requests, manifest, ok, small_run, timeline_row
from tests.report.examples import one_not_run, small_campaign

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
COUNTS = ["planned", "ok", "rejected", "oom", "timeout", "http_error", "connection_error", "truncated", "not_sent", "unknown"]
ESTIMATE = ["value", "low", "high", "note"]
QUANTILE = [*ESTIMATE, "tau", "suffices_n"]
METRICS = ["ttft_s", "tpot_s", "itl_s", "e2e_s"]


def assert_same_numbers(ours: Any, golden: Any, path: str = "") -> None:
    """Text and structure exactly, numbers at rel 1e-9."""
    if isinstance(golden, dict):
        assert list(ours) == list(golden), path
        for key in golden:
            assert_same_numbers(ours[key], golden[key], f"{path}.{key}")
    elif isinstance(golden, list):
        assert len(ours) == len(golden), path
        for i, item in enumerate(golden):
            assert_same_numbers(ours[i], item, f"{path}[{i}]")
    elif isinstance(golden, float):
        assert ours == pytest.approx(golden, rel=1e-9), path
    else:
        assert ours == golden, path


@pytest.mark.parametrize("kind", ["run", "campaign"])
def test_summary_is_the_golden_one(tmp_path: Path, kind: str, update_golden: bool) -> None:
    summary = summarise_run(small_run(tmp_path / "run")) if kind == "run" else small_campaign(tmp_path)[0]
    path = GOLDEN / f"{kind}.json"
    if update_golden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dump_summary(summary))
    assert_same_numbers(orjson.loads(dump_summary(summary)), orjson.loads(path.read_bytes()))


def test_layout_of_a_run(tmp_path: Path) -> None:
    summary = summarise_run(small_run(tmp_path / "run"))
    assert (summary["schema"], summary["status"]) == ("loadlab/run/1", "complete")
    assert list(summary["totals"]) == [*COUNTS, "success_rate"]
    assert all(type(summary["totals"][key]) is int for key in COUNTS)
    assert summary["totals"]["planned"] == sum(summary["totals"][key] for key in COUNTS[1:])
    assert list(summary["metrics"]) == METRICS
    for key in METRICS:
        assert list(summary["metrics"][key]) == ["n", "mean", "p50", "p90", "p95", "p99", "max"]
        assert all(list(summary["metrics"][key][p]) == QUANTILE for p in ("p50", "p90", "p95", "p99"))
        assert all(list(summary["metrics"][key][p]) == ESTIMATE for p in ("mean", "max"))
    assert (summary["slo"], summary["thresholds"], summary["groups"]) == (None, [], {})
    assert list(summary["steadiness"]) == ["warm_up", "overload"]
    assert {"name", "seed", "plan_digest", "target", "conditions", "versions", "host", "causes"} <= set(summary)


def test_layout_of_a_campaign(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path)
    assert (summary["schema"], summary["status"]) == ("loadlab/campaign/1", "complete")
    assert [(e["id"], e["name"], e["totals"]["planned"]) for e in summary["experiments"]] == [("E01", "alone", 5), ("E02", "crowded", 5)]
    assert list(summary["totals"]) == [*COUNTS, "success_rate"]
    assert summary["totals"]["planned"] == 10
    assert list(summary["experiments"][0]["metrics"]) == METRICS
    assert "host" not in summary["experiments"][0]


def test_figures_of_a_small_run(tmp_path: Path) -> None:
    """Three of five OK, TTFT 0.5, 0.6, 0.7 s; from the first due time at 0 s to the last end at 5.7 s."""
    summary = summarise_run(small_run(tmp_path / "run"))
    assert summary["totals"]["success_rate"] == {
        "value": 0.6,
        "low": pytest.approx(0.23072, abs=1e-5),
        "high": pytest.approx(0.88238, abs=1e-5),
        "note": "95 %, Wilson on n / tau",
    }
    assert summary["metrics"]["ttft_s"]["p50"]["value"] == pytest.approx(0.6)
    assert (summary["metrics"]["ttft_s"]["p50"]["low"], summary["metrics"]["ttft_s"]["p50"]["suffices_n"]) == (None, 300)
    assert summary["metrics"]["ttft_s"]["p50"]["note"].startswith("inconclusive: n < 300 tau, about 300 requests would do; unbounded below")
    assert summary["metrics"]["ttft_s"]["p95"]["value"] == pytest.approx(0.7)
    assert summary["causes"] == {"queue_full": 1, "deadline": 1}
    assert summary["throughput"]["duration_s"] == pytest.approx(5.7)
    assert summary["throughput"]["output_tokens_per_s"]["value"] == pytest.approx(33 / 5.7)
    assert summary["throughput"]["requests_per_s"]["value"] == pytest.approx(3 / 5.7)


def test_what_the_server_did_comes_from_its_timeline(tmp_path: Path) -> None:
    """Busy for half of six bins of 1 s, in a run of 5.7 s."""
    observed = summarise_run(small_run(tmp_path / "run"))["observed"]
    found = (observed["kv_peak"]["value"], observed["gpu_busy"]["value"], observed["prefix_hit_rate"]["value"])
    assert found == (0.5, pytest.approx(3 / 5.7), 0.25)
    assert (observed["preemptions"], observed["oom_events"]) == (1, 0)


def test_a_replica_without_bins_counts_as_idle(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=1))
    run.append([ok(0, ttft_s=1.0)])  # ends at 2 s
    run.append_timeline([timeline_row(0.0, replica="a", gpu_busy=1.0), timeline_row(1.0, replica="a", gpu_busy=1.0)])
    run.append_timeline([timeline_row(0.0, replica="b", gpu_busy=1.0)])
    run.finalise(1)
    assert summarise_run(run)["observed"]["gpu_busy"]["value"] == pytest.approx(0.75)


def test_time_in_which_nobody_asks_counts_as_idle(tmp_path: Path) -> None:
    """One answer of 2 s at the start, one at 8 s: from 0 to 10 s, and bins only where work ran."""
    run = RunDir.create(tmp_path / "run", manifest(planned=2))
    run.append([ok(0, ttft_s=1.0), ok(1, due_s=8.0, ttft_s=1.0)])
    run.append_timeline([timeline_row(t, gpu_busy=1.0) for t in (0.0, 1.0, 8.0, 9.0)])
    run.finalise(2)
    summary = summarise_run(run)
    assert summary["throughput"]["duration_s"] == pytest.approx(10.0)
    assert summary["observed"]["gpu_busy"]["value"] == pytest.approx(0.4)


def test_busy_is_never_above_one(tmp_path: Path) -> None:
    """A step that goes on behind the last end, of a request that was given up."""
    run = RunDir.create(tmp_path / "run", manifest(planned=1))
    run.append([failed(0, Cause.DEADLINE, Outcome.TIMEOUT, after_s=1.0)])
    run.append_timeline([timeline_row(t, gpu_busy=1.0) for t in (0.0, 1.0)])
    run.finalise(1)
    assert summarise_run(run)["observed"]["gpu_busy"]["value"] == 1.0


def test_without_a_timeline_nothing_is_said_of_the_server(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=1))
    run.append([ok(0)])
    run.finalise(1)
    observed = summarise_run(run)["observed"]
    assert [observed[key]["value"] for key in ("kv_peak", "gpu_busy", "prefix_hit_rate")] == [None, None, None]
    assert (observed["preemptions"], observed["oom_events"]) == (None, None)


def test_a_run_without_requests_has_nulls_not_zeros(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=0))
    run.finalise(0)
    summary = summarise_run(run)
    assert summary["totals"]["success_rate"]["value"] is None
    for key in METRICS:
        for name in ("mean", "p50", "p90", "p95", "p99", "max"):
            assert [summary["metrics"][key][name][end] for end in ("value", "low", "high")] == [None, None, None]
    assert summary["throughput"]["duration_s"] is None


def test_a_killed_run_counts_rows_that_are_not_there_as_unknown(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", manifest(planned=9)) as run:
        run.append(five_requests())
    summary = summarise_run(RunDir.open(run.path))
    assert (summary["status"], summary["totals"]["unknown"]) == ("running", 4)
    assert summary["totals"]["success_rate"]["low"] is None


def test_rows_of_another_plan_are_one_error(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", manifest(planned=2)) as run:
        run.append(five_requests())
    with pytest.raises(InputError, match=r"requests\.jsonl: a row has a seq outside the plan of 2 requests; the file was changed"):
        summarise_run(run)


def test_equal_runs_give_equal_bytes_but_for_the_host_block(tmp_path: Path) -> None:
    one = summarise_run(small_run(tmp_path / "one"))
    two = summarise_run(small_run(tmp_path / "two", host=dataclasses.replace(HOST, t0="2027-01-01T00:00:00Z")))
    assert dump_summary(one) != dump_summary(two)
    del one["host"], two["host"]
    assert dump_summary(one) == dump_summary(two)


def test_a_campaign_that_was_stopped_counts_what_it_did_not_come_to(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path, not_run=[one_not_run()])
    assert summary["status"] == Status.INCOMPLETE
    assert (summary["totals"]["planned"], summary["totals"]["not_sent"]) == (17, 7)
    assert summary["experiments"][2]["status"] == "not_run"
    nothing = {"value": None, "low": None, "high": None, "note": "not run"}
    assert summary["experiments"][2]["totals"]["success_rate"] == nothing
    assert summary["experiments"][2]["metrics"]["ttft_s"]["p95"]["value"] is None
    assert summary["totals"]["success_rate"]["value"] == pytest.approx(6 / 17)
    assert (summary["totals"]["success_rate"]["low"], summary["totals"]["success_rate"]["high"]) == (None, None)
    assert small_campaign(tmp_path / "again", not_run=[one_not_run()], interrupted=True)[0]["status"] == Status.ABORTED


def test_experiments_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    runs = {key: summarise_run(small_run(tmp_path / key)) for key in ("E10", "E02", "E01")}
    summary, _ = small_campaign(tmp_path / "campaign", runs=runs)
    assert [experiment["id"] for experiment in summary["experiments"]] == ["E01", "E02", "E10"]


def test_published_figures_are_rows_with_source_and_the_place_of_ours() -> None:
    rows = published_rows({"source": "a paper", "success_rate": 0.91, "requests": 7310, "oom": 0, "models": ("14B", "7B"), "note": ""})
    assert rows[:3] == [
        {"what": "success rate", "ours": "totals.success_rate", "published": "91 %", "source": "a paper"},
        {"what": "requests", "ours": "totals.planned", "published": "7,310", "source": "a paper"},
        {"what": "OOM", "ours": "totals.oom", "published": "0", "source": "a paper"},
    ]
    assert rows[3]["published"] == "14B, 7B"


def held_run(path: Path, **changes: Any) -> dict[str, Any]:
    """A thousand requests of two classes, one a second; chat has a TTFT of 0.5 s, every tenth of 2 s; batch of 4 s, on later turns."""
    scenario = {
        "slo": {"ttft": 1.0, "target": 0.9},
        "thresholds": ["ttft.p50{class=chat} < 1s", "ttft.p50{class=batch} < 1s", "attainment >= 80%", "oom.count == 0"],
        "load": {"kind": "open_loop", "arrivals": {"kind": "poisson"}},
        "classes": {"chat": {}, "batch": {"slo": {"ttft": 5.0}}},
    }
    run = RunDir.create(path, manifest(planned=1000, scenario=scenario))
    rows = []
    for i in range(1000):
        is_batch = i % 4 == 3
        ttft_s = 4.0 if is_batch else 2.0 if i % 10 == 0 else 0.5
        rows.append(dataclasses.replace(ok(i, ttft_s=ttft_s), traffic_class="batch" if is_batch else "chat", turn=int(is_batch)))
    run.append(rows)
    run.finalise(1000, **changes)
    return summarise_run(run)


def test_a_run_is_judged_by_its_slo_and_its_thresholds(tmp_path: Path) -> None:
    """100 requests in a thousand have i % 10 == 0, and all of them are of chat: those with i % 4 == 3 are odd."""
    summary = held_run(tmp_path / "run")
    slo = summary["slo"]
    assert (slo["limits"], slo["classes"], slo["target"]) == ({"ttft": 1.0, "target": 0.9}, {"batch": {"ttft": 5.0}}, 0.9)
    assert slo["attainment"]["value"] == 0.9
    assert slo["error_budget"]["burn"]["value"] == pytest.approx(1.0)
    assert slo["error_budget"]["hours_left"]["value"] == pytest.approx(720)
    assert slo["goodput_per_s"]["value"] == pytest.approx(900 / summary["throughput"]["duration_s"])
    verdicts = {row["threshold"]: row["verdict"] for row in summary["thresholds"]}
    assert verdicts == {
        "ttft.p50{class=chat} < 1s": "passed",
        "ttft.p50{class=batch} < 1s": "failed",
        "attainment >= 80%": "passed",
        "oom.count == 0": "passed",
    }


def test_groups_are_summed_up_by_every_label_with_more_than_one_value(tmp_path: Path) -> None:
    groups = held_run(tmp_path / "run")["groups"]
    assert {label: {name: group["planned"] for name, group in found.items()} for label, found in groups.items()} == {
        "class": {"batch": 250, "chat": 750},
        "turn": {"0": 750, "1": 250},
    }
    assert groups["class"]["batch"]["metrics"]["ttft_s"]["p50"]["value"] == 4.0
    assert groups["class"]["chat"]["attainment"]["value"] == pytest.approx(650 / 750)
    assert list(groups["class"]["chat"]["metrics"]) == METRICS


def test_what_is_not_complete_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=400, scenario={"slo": {"ttft": 1.0}, "thresholds": ["ttft.p50 < 1s"]}))
    run.append([ok(i) for i in range(399)])
    run.finalise(400, interrupted=True)
    summary = summarise_run(run)
    assert summary["thresholds"] == []
    for found in (summary["metrics"]["ttft_s"]["p50"], summary["slo"]["attainment"], summary["totals"]["success_rate"]):
        assert (found["low"], found["high"]) == (None, None)
        assert found["note"].startswith("no interval: not complete")
    assert summary["metrics"]["ttft_s"]["p50"]["value"] == 0.5


def test_a_warm_up_is_left_out_of_latencies_and_said(tmp_path: Path) -> None:
    """The first hundred of a thousand wait 5 s, the others 0.5 s: a Poisson run warms up, a spike is not cut."""
    for law, cut in (("poisson", 100), ("spike", 0)):
        scenario = {"load": {"kind": "open_loop", "arrivals": {"kind": law}}}
        run = RunDir.create(tmp_path / law, manifest(planned=1000, scenario=scenario))
        run.append([ok(i, ttft_s=5.0 if i < 100 else 0.5) for i in range(1000)])
        run.finalise(1000)
        summary = summarise_run(run)
        assert summary["steadiness"]["warm_up"]["requests"] == cut
        assert summary["metrics"]["ttft_s"]["n"] == 1000 - cut
        assert summary["totals"]["ok"] == 1000


def test_the_intervals_of_a_campaign_add_up_from_those_of_its_experiments(tmp_path: Path) -> None:
    """Two alike: half the distance squared, twice, is the distance over the root of two."""
    summary, _ = small_campaign(tmp_path)
    own, both = summary["experiments"][0]["totals"]["success_rate"], summary["totals"]["success_rate"]
    assert both["value"] - both["low"] == pytest.approx((own["value"] - own["low"]) / 2**0.5)
    assert both["high"] - both["value"] == pytest.approx((own["high"] - own["value"]) / 2**0.5)
