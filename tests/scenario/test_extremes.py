"""Whatever numbers a file holds, the reader answers at once with a plan inside the limits or with an InputError."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadlab.errors import InputError
from loadlab.scenario.build import build_plan
from loadlab.scenario.limits import MAX_SPAN_S
from loadlab.scenario.model import Scenario
from loadlab.scenario.traces import TraceColumns
from loadlab.schema import read_table

Table = dict[str, Any]
Place = tuple[str | int, ...]

ARRIVALS: list[Table] = [
    {"kind": "constant", "rate_per_s": 2},
    {"kind": "poisson", "rate_per_s": 2},
    {"kind": "gamma", "rate_per_s": 2, "cv": 3},
    {"kind": "onoff", "rates_per_s": [0, 9], "dwell_s": [5, 2], "dwell": "fixed"},
    {"kind": "onoff", "rates_per_s": [0, 9], "dwell_s": [5, 2], "dwell": "exponential"},
    {"kind": "spike", "base_per_s": 1, "peak_per_s": 9, "at_s": [3, 8], "for_s": 2},
    {"kind": "diurnal", "mean_per_s": 2, "amplitude": 0.8, "period_s": 10, "phase_s": 1},
    {
        "kind": "diurnal",
        "mean_per_s": 2,
        "amplitude": 0.5,
        "period_s": 10,
        "harmonics": [{"amplitude": 0.2, "phase_s": 3}],
        "weekend_factor": 0.3,
        "first_day": "fri",
    },
    {"kind": "weibull", "rate_per_s": 2, "cv": 0.7},
    {"kind": "lognormal", "rate_per_s": 2, "cv": 0.7},
    {"kind": "mmpp", "rates_per_s": [0, 9, 1], "dwell_s": [5, 2, 1], "jumps": [[0, 1, 0], [0.5, 0, 0.5], [1, 0, 0]]},
    {"kind": "ramp", "from_per_s": 1, "to_per_s": 4, "over_s": 10},
    {"kind": "step", "at_s": [0, 5], "rates_per_s": [1, 4]},
    {"kind": "spike", "base_per_s": 1, "peak_per_s": 9, "at_s": [3, 8], "for_s": 2, "decay_s": 3},
    {"kind": "hourly", "mean_per_s": 2, "hours": [1] * 23 + [2], "weekend_factor": 0.5, "first_day": "sun", "first_hour": 3, "hour_s": 60},
    {"kind": "cluster", "rate_per_s": 2, "size": {"kind": "constant", "value": 3}, "spread_s": 2},
    {"kind": "modulated", "profile": {"kind": "ramp", "from_per_s": 1, "to_per_s": 4, "over_s": 10}, "gaps": "gamma", "cv": 0.7},
    {"kind": "superposition", "of": [{"kind": "poisson", "rate_per_s": 2}, {"kind": "constant", "rate_per_s": 1}]},
    {"kind": "phases", "phases": [{"duration_s": 5, "arrivals": {"kind": "poisson", "rate_per_s": 2}}]},
]
COUNTS: list[Table] = [
    {"kind": "constant", "value": 3},
    {"kind": "uniform", "min": 1, "max": 5},
    {"kind": "lognormal", "median": 3, "sigma": 0.5, "min": 1, "max": 9},
    {"kind": "geometric", "mean": 3, "min": 1, "max": 9},
    {"kind": "empirical", "values": [1, 2], "weights": [3, 1]},
    {"kind": "gamma", "mean": 3, "cv": 0.5, "min": 1, "max": 9},
    {"kind": "weibull", "mean": 3, "cv": 0.5, "min": 1, "max": 9},
    {"kind": "pareto", "scale": 2, "alpha": 2, "min": 1, "max": 9},
    {"kind": "zipf", "max": 5, "exponent": 1},
    {"kind": "histogram", "edges": [1, 3, 9], "weights": [3, 1]},
    {"kind": "mixture", "of": [{"kind": "constant", "value": 3}, {"kind": "geometric", "mean": 2, "max": 5}], "weights": [3, 1]},
]
DELAYS: list[Table] = [
    {"kind": "constant", "value_s": 3},
    {"kind": "uniform", "min_s": 1, "max_s": 5},
    {"kind": "exponential", "mean_s": 3},
    {"kind": "lognormal", "median_s": 3, "sigma": 0.5, "min_s": 1, "max_s": 9},
]
ENDS: list[Table] = [{"requests": 20}, {"duration_s": 20}, {"requests": 20, "duration_s": 20}]
EXTREMES: list[Any] = [
    0, -1, 1, 2, 0.5, 1e-9, 1e-300, 5e-324, 1e9, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), True, False, MAX_SPAN_S, 10**9,
    2**53, 2**63, 10**400, 16**5000, "", "0", "60", "1e400s", "1e300d", "1/d", "1e400/s", "1e-300/d", "99%", "1T", "none", "\x1b[31m",
    "x" * 999, [], [1], [0, 0], [1e300, 1e-300], [float("nan"), 1], {}, {"kind": [1]}, {"kind": "constant"}, datetime.date(2023, 1, 1),
]  # fmt: skip


@st.composite
def scenarios(draw: st.DrawFn) -> Table:
    """A good scenario with any laws."""
    counts, waits = st.sampled_from(COUNTS), st.sampled_from(DELAYS)
    chat: Table = {"model": "m", "share": 2, "prompt_tokens": draw(counts), "output_tokens": draw(counts), "timeout_s": 9}
    load: Table = draw(st.sampled_from([
        {"kind": "open_loop", "arrivals": draw(st.sampled_from(ARRIVALS)), **draw(st.sampled_from(ENDS))},
        {"kind": "closed_loop", "users": 3, "requests": 20, "think_s": draw(waits), "ramp_up_s": 3},
    ]))  # fmt: skip
    if draw(st.booleans()) and load["kind"] == "open_loop":
        chat["sessions"] = {"turns": draw(counts), "think_s": draw(waits), "shared_prefix_tokens": 5, "max_context_tokens": 99}
    if draw(st.booleans()):
        chat["joint"] = {"kind": "copula", "correlation": 0.5}
    if draw(st.booleans()):
        chat["images"] = {"count": draw(counts), "sizes_px": [[9, 9], [8, 8]], "weights": [1, 2]}
    if draw(st.booleans()):
        chat["modes"] = {"fast": {"share": 0.5}, "slow": {"share": 0.5, "output_factor": 2, "extra_output_tokens": 1}}
    return {"name": "test", "timeout_s": 60, "load": load, "classes": {"chat": chat, "other": dict(chat, share=1)}}


def places(item: Any, at: Place = ()) -> Iterator[Place]:
    for key, value in item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ():
        yield (*at, key)
        yield from places(value, (*at, key))


def clone(item: Any) -> Any:
    """A copy that shares no table or array, with itself or with the original."""
    if isinstance(item, dict):
        return {key: clone(value) for key, value in item.items()}
    return [clone(value) for value in item] if isinstance(item, list) else item


@st.composite
def broken_scenarios(draw: st.DrawFn) -> Table:
    """A good scenario with extreme values in one to three places."""
    table = clone(draw(scenarios()))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(places(table))))
        item: Any = table
        for key in parents:
            item = item[key]
        item[last] = clone(draw(st.sampled_from(EXTREMES) | st.floats() | st.integers()))
    return table


def with_load(**load: Any) -> Table:
    laws = {"prompt_tokens": COUNTS[0], "output_tokens": COUNTS[0]}
    return {"name": "test", "load": {"kind": "open_loop"} | load, "classes": {"chat": {"model": "m"} | laws}}


def answer(table: Table, trace: TraceColumns | None = None) -> None:
    """A plan that keeps its promises, or an InputError of printable, short words; within seconds of CPU time."""
    start = time.process_time()
    try:
        plan = build_plan(read_table(Scenario, table, "f.toml"), 1, trace)
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert len(str(error)) < 600  # noqa: PT017
    else:
        first = ~np.isnan(plan.arrival_s)
        assert np.array_equal(first, plan.after_seq == -1)
        assert np.all(np.diff(plan.arrival_s[first]) >= 0)
        assert np.all((plan.arrival_s[first] >= 0) & (plan.arrival_s[first] <= MAX_SPAN_S))
        assert np.all((plan.delay_after_s >= 0) & (plan.delay_after_s <= MAX_SPAN_S))
        assert plan.prompt_tokens.min() >= 1
        assert plan.output_tokens.min() >= 1
    assert time.process_time() - start < 3, table  # CPU time, which a crowded machine stretches, too


@given(scenarios())
@settings(deadline=None, max_examples=100)
def test_every_mixture_of_laws_is_a_plan(table: Table) -> None:
    assert len(build_plan(read_table(Scenario, table, "f.toml"), 1)) > 0


@given(broken_scenarios())
@example(with_load(requests=100, arrivals={"kind": "constant", "rate_per_s": "1/d"}))
@example(with_load(requests=100, arrivals={"kind": "poisson", "rate_per_s": 1e-9}))
@example(with_load(requests=9, arrivals={"kind": "onoff", "rates_per_s": [0, 1e-300], "dwell_s": [1, 1], "dwell": "exponential"}))
@example(with_load(requests=9, arrivals={"kind": "onoff", "rates_per_s": [1, 1], "dwell_s": [1e300, 1e-300], "dwell": "exponential"}))
@example(with_load(requests=9, arrivals={"kind": "onoff", "rates_per_s": [1, 1e9], "dwell_s": [1e-6, 1e-6], "dwell": "exponential"}))
@example(with_load(kind="closed_loop", users=1, requests=100, think_s={"kind": "constant", "value_s": "30d"}))
@settings(deadline=None, max_examples=1000)
def test_extreme_values_are_a_plan_or_an_input_error_at_once(table: Table) -> None:
    answer(table)


@pytest.mark.parametrize("value", EXTREMES, ids=lambda value: "large" if isinstance(value, int) and value > 2**64 else repr(value)[:20])
@pytest.mark.parametrize("law", ARRIVALS, ids=lambda law: law["kind"])
def test_every_parameter_of_every_arrival_law_takes_every_extreme(law: Table, value: Any) -> None:
    for key in law:
        for end in ENDS:
            answer(with_load(arrivals=law | {key: value}, **end))
            if isinstance(law[key], list):
                answer(with_load(arrivals=law | {key: [value, *law[key][1:]]}, **end))


@pytest.mark.parametrize("key", ["start_s", "for_s", "format", "trace", "rate_factor", "rescale", "dequantize_s"])
def test_every_key_of_a_replay_takes_every_extreme(key: str) -> None:
    ones = np.ones(1, dtype=np.int64)
    trace = TraceColumns(arrival_s=np.zeros(1), prompt_tokens=ones, output_tokens=ones, line=ones)
    for value in EXTREMES:
        answer({"name": "test", "load": {"kind": "replay", key: value}, "classes": {"chat": {"model": "m"}}}, trace)
