"""How well a calibration predicts: `python -m tests.bench.calibration_figures wrong [FILE] | serving`, one command a number.

wrong: runs of a cluster calibrate a file with another chunk size, KV pool or GPU; latency at 80 % of saturation, which nothing was fitted
to, against the truth. serving: the published run of requests that is not starved, fitted on its first half, its second half predicted.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.table import FloatArray
from loadlab.campaign.calibrate import calibrate_observed, simulate
from loadlab.campaign.measured import read_rows
from loadlab.campaign.observed import LATENCIES, Observed, plan_rows
from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.plan import RequestPlan
from loadlab.schema import read_table, read_toml
from loadlab.simulator.spec import ClusterSpec
from tests.planning.slo_cases import lognormal

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LOADLAB_DATA", ROOT.parent / "shared" / "data")) / "fidelity" / "serving_requests.csv"
CLUSTERS = ROOT / "scenarios" / "clusters"
TODAY = "2026-01-14"


def chat(model: str, rate_per_s: float, requests: int) -> Scenario:
    """Poisson requests with prompts of 900 tokens and answers of 250 on average."""
    of = TrafficClass(model=model, prompt_tokens=lognormal(900, 0.9), output_tokens=lognormal(250, 0.7))
    return Scenario(name="chat", load=OpenLoop(arrivals=Poisson(rate_per_s=rate_per_s), requests=requests), classes={"chat": of})


def changed(table: Mapping[str, Any], hardware: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster file's table with other keys in its one pool."""
    ((name, pool),) = table["pools"].items()
    return {**table, "pools": {name: {**pool, "hardware": {**pool["hardware"], **hardware}, "engine": {**pool["engine"], **engine}}}}


def measured_on(spec: ClusterSpec, plan: RequestPlan, name: str) -> Observed:
    """What the requests of a plan see there."""
    arrivals = plan.arrival_s
    empty = Observed(
        name=name, digest=plan.digest, target=spec.name, plan=plan_rows(plan, np.arange(len(plan))), seconds={},
        rate_per_s=(len(plan) - 1) / float(arrivals[-1] - arrivals[0]), is_simulated=True,
    )  # fmt: skip
    seen = simulate(spec, empty, name)
    return replace(empty, seconds=seen.seconds, kv_use=seen.kv_use)


def wrong_files(only: str = "") -> None:
    """Prints the error of latencies at 80 % of saturation, before and after, for each wrong file, or for the one whose name has `only`."""
    from loadlab.campaign.hybrid import saturation_per_s

    table = {key: value for key, value in read_toml(CLUSTERS / "rtxpro6000-8b.toml").items() if key != "schema"}
    truth = read_table(ClusterSpec, changed(table, {}, {"max_batched_tokens": 1024, "max_running": 256, "kv_blocks": 6_000}), "truth")
    base = changed(table, {}, {"max_batched_tokens": 1024, "max_running": 256, "kv_blocks": 6_000})
    files = {
        "chunks of 4,096 for 1,024": changed(base, {}, {"max_batched_tokens": 4096}),
        "20 % less KV": changed(base, {}, {"kv_blocks": 4_800}),
        "GPU 30 % slower": changed(base, {"step_scale": 1.3}, {}),
        "all three": changed(base, {"step_scale": 1.3}, {"max_batched_tokens": 4096, "kv_blocks": 4_800}),
    }
    model = next(iter(truth.pools.values())).serves[0]
    saturation = saturation_per_s(truth, chat(model, 3.0, 100), 1)
    runs = [measured_on(truth, build_plan(chat(model, s * saturation, 1000), 10 + i), f"{s:g}") for i, s in enumerate((0.4, 0.55, 0.7))]
    far = measured_on(truth, build_plan(chat(model, 0.8 * saturation, 8000), 99), "0.8")
    print(f"saturation {saturation:.2f}/s; three runs of 1,000 at 40, 55, 70 %; error at 80 %, 8,000 requests")
    print(f"{'file':28} {'':7} {'TTFT mean':>9} {'TTFT p90':>9} {'TPOT mean':>9} {'e2e mean':>9} {'e2e p90':>9}  fitted; CPU s")
    for name, file in files.items():
        if only not in name:
            continue
        began = time.process_time()
        found = calibrate_observed(runs, [], file, name, TODAY)
        cpu = time.process_time() - began
        _print_errors(name, "before", far, simulate(read_table(ClusterSpec, file, name), far, name).seconds)
        told = {f.constant.name: f"{f.value:.4g}" for f in found.fit.constants if f.is_told}
        _print_errors("", "after", far, simulate(found.spec, far, name).seconds, f"{told}; {cpu:.0f}")


def _print_errors(name: str, when: str, far: Observed, simulated: Mapping[str, FloatArray], more: str = "") -> None:
    errors = [
        float(f(simulated[latency]) / f(far.seconds[latency]) - 1)
        for latency, f in (("ttft", np.nanmean), ("ttft", _p90), ("tpot", np.nanmean), ("e2e", np.nanmean), ("e2e", _p90))
    ]
    print(f"{name:28} {when:7} {' '.join(f'{error:+9.1%}' for error in errors)}  {more}", flush=True)


def _p90(values: FloatArray) -> float:
    return float(np.nanquantile(values, 0.9))


def serving_halves() -> None:
    """Prints the error of the second half of the published run, fitted on the first."""
    rows = sorted(
        (row for row in read_rows(DATA, ("run", "arrival_s")) if str(row["run"]).startswith("RTXPRO6000")), key=lambda r: r["arrival_s"]
    )
    table = {key: value for key, value in read_toml(CLUSTERS / "rtxpro6000-8b.toml").items() if key != "schema"}
    whole = _published(rows, table)
    half = len(rows) // 2
    is_first = np.arange(len(rows)) < half  # all arrivals are known, as they are to whoever predicts; latencies of the first half only
    first = replace(whole, seconds={latency: np.where(is_first, values, np.nan) for latency, values in whole.seconds.items()})
    found = calibrate_observed([first], [], table, "rtxpro6000-8b", TODAY)
    second = np.arange(half, len(rows))
    print(f"{len(rows)} requests; fitted on {half}; refused: {found.is_refused}; {dict(found.spec.calibration.fitted)}")  # type: ignore[union-attr]
    for when, spec in (("before", read_table(ClusterSpec, table, "file")), ("after", found.spec)):
        simulated = simulate(spec, whole, "file").seconds
        errors = {name: float(np.nanmean(simulated[name][second]) / np.nanmean(whole.seconds[name][second]) - 1) for name in LATENCIES}
        print(f"second half, {when}: " + ", ".join(f"{name} mean {error:+.1%}" for name, error in errors.items()))


def _published(rows: list[dict[str, Any]], table: Mapping[str, Any]) -> Observed:
    n = len(rows)
    column = lambda name: np.array([float(row[name]) for row in rows])  # noqa: E731  read five times, here only
    of = TrafficClass(model="llm-8b", prompt_tokens=lognormal(500, 0.5), output_tokens=lognormal(200, 0.5))
    plan = build_plan(Scenario(name="published", load=OpenLoop(arrivals=Poisson(rate_per_s=1.0), requests=n), classes={"chat": of}), 1)
    prompts = column("input_tokens").astype(np.int64)
    plan = replace(
        plan_rows(plan, np.arange(n)),
        arrival_s=column("arrival_s"),
        prompt_tokens=prompts,
        output_tokens=column("output_tokens").astype(np.int64),
        segment_offsets=np.arange(n + 1),
        segment_content=np.arange(n),
        segment_tokens=prompts,
    )
    seconds = {name: column(f"{name}_ms") / 1e3 for name in LATENCIES}
    span = float(plan.arrival_s[-1] - plan.arrival_s[0])
    return Observed(
        name="RTXPRO6000", digest=plan.digest, target="published", plan=plan, seconds=seconds, rate_per_s=(n - 1) / span, is_simulated=True
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["wrong", *only]:
            wrong_files(*only)
        case ["serving"]:
            serving_halves()
        case _:
            sys.exit(__doc__)
