"""A trace at another rate: what each way keeps, and what it changes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadlab.errors import InputError
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import Replay, Rescale
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.plan import FloatArray
from loadlab.scenario.prompts import PromptWriter
from loadlab.scenario.replay import reshaped
from loadlab.scenario.traces import TraceColumns, load_trace


def trace_of(times: FloatArray) -> TraceColumns:
    """Rows whose prompt length is their line, so that each can be told again."""
    line = np.arange(2, len(times) + 2)
    return TraceColumns(arrival_s=times, prompt_tokens=line, output_tokens=line * 10, line=line)


BURSTS = trace_of(np.sort(np.concatenate([100 * k + np.random.default_rng(k).exponential(2, 200) for k in range(20)])))


def test_a_plain_replay_is_the_trace_itself() -> None:
    assert reshaped(BURSTS, Replay(), 1) is BURSTS


def test_stretching_scales_every_time_and_keeps_every_row() -> None:
    fast = reshaped(BURSTS, Replay(rate_factor=4), 1)
    np.testing.assert_array_equal(fast.arrival_s, BURSTS.arrival_s / 4)
    np.testing.assert_array_equal(fast.line, BURSTS.line)


def test_thinning_keeps_times_and_lengths_of_an_exact_share_of_rows() -> None:
    thin = reshaped(BURSTS, Replay(rate_factor=0.25, rescale=Rescale.THIN), 1)
    assert len(thin) == 1000
    np.testing.assert_array_equal(thin.arrival_s, BURSTS.arrival_s[thin.line - 2])
    np.testing.assert_array_equal(thin.output_tokens, thin.prompt_tokens * 10)
    assert len(set(thin.line.tolist())) == 1000


def test_superposing_keeps_every_row_as_often_as_the_factor_says_inside_the_window() -> None:
    both = reshaped(BURSTS, Replay(rate_factor=2.5, rescale=Rescale.SUPERPOSE, for_s=2000), 1)
    assert len(both) == 10_000
    times_each_row = np.bincount(both.line)[2:]
    assert set(times_each_row.tolist()) == {2, 3}
    assert np.all(np.diff(both.arrival_s) >= 0)
    assert 0 <= both.arrival_s[0] <= both.arrival_s[-1] < 2000
    assert np.isin(BURSTS.arrival_s, both.arrival_s).all()


def test_spreading_over_ticks_keeps_order_and_stays_inside_each_tick() -> None:
    ticks = trace_of(np.repeat([0.0, 3.0, 9.0], 500))
    fine = reshaped(ticks, Replay(dequantize_s=3), 1)
    np.testing.assert_array_equal(fine.line, ticks.line)
    np.testing.assert_array_equal(fine.arrival_s // 3 * 3, ticks.arrival_s)
    assert len(set(fine.arrival_s.tolist())) == 1500
    assert fine.arrival_s[:500].mean() == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Replay(dequantize_s=2), "load.dequantize_s = 2 s must be the tick of the trace's clock, and line 3 lies 1.5 ticks after"),
        (Replay(rate_factor=0.01, rescale=Rescale.THIN), "load.rate_factor leaves no row of the trace"),
        (Replay(rate_factor=1000, rescale=Rescale.SUPERPOSE), "= 1000 means 5,000,000,000 requests"),
    ],
)
def test_what_cannot_be_done_is_said_by_key(load: Replay, words: str) -> None:
    trace = trace_of(np.zeros(5_000_000) if load.rescale is Rescale.SUPERPOSE else np.array([0.0, 3.0, 9.0]))
    with pytest.raises(InputError, match=re.escape(words)):
        reshaped(trace, load, 1)


def test_the_plan_of_a_rescaled_replay_depends_on_its_seed_only() -> None:
    scenario = Scenario(name="t", load=Replay(rate_factor=0.5, rescale=Rescale.THIN), classes={"chat": TrafficClass(model="m")})
    assert build_plan(scenario, 1, BURSTS).digest == build_plan(scenario, 1, BURSTS).digest != build_plan(scenario, 2, BURSTS).digest


def test_blocks_that_a_trace_names_are_texts_that_prompts_share(tmp_path: Path) -> None:
    rows = [(0, 40, [1, 2, 3]), (1, 40, [1, 2, 9]), (2, 20, []), (3, 33, [1, 2, 3])]
    path = tmp_path / "trace.csv"
    lines = [f"{t},{prompt},5,16,{' '.join(map(str, ids))}" for t, prompt, ids in rows]
    path.write_text("arrival_s,prompt_tokens,output_tokens,block_tokens,blocks\n" + "\n".join(lines) + "\n")
    load = Replay(rate_factor=2, rescale=Rescale.SUPERPOSE)
    scenario = Scenario(name="blocks", load=load, classes={"all": TrafficClass(model="m")})
    once = build_plan(replace(scenario, load=Replay()), 1, load_trace(path))
    pieces = [[(s.content, s.tokens) for s in request.segments] for request in once.requests()]
    assert [[tokens for _, tokens in piece] for piece in pieces] == [[16, 16, 8], [16, 16, 8], [20], [16, 16, 1]]
    assert pieces[0][:2] == pieces[1][:2] == pieces[3][:2]
    assert pieces[0][2][0] == pieces[3][2][0] != pieces[1][2][0]
    writer = PromptWriter(once)
    texts = [writer.text(request) for request in once.requests()]
    assert texts[0][: 4 * 32 - 1] == texts[1][: 4 * 32 - 1]
    assert texts[0][:16] != texts[2][:16]
    twice = build_plan(scenario, 1, load_trace(path))
    assert len(twice) == 8
    assert len({request.segments[0].content for request in twice.requests()}) == 4  # a copy shares among itself only
