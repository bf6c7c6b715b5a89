"""Quantiles over all gaps, from rows that keep four quantiles each, against the gaps themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.analysis.itl import gaps_of, itl_quantile, mean_itl
from loadlab.analysis.latency import order_statistic
from loadlab.analysis.table import build_table
from loadlab.record.request import RequestRecord
from tests.record.examples import ok


def record(seq: int, gaps_s: np.ndarray) -> RequestRecord:
    p50, p95, p99 = (order_statistic(gaps_s, p) for p in (0.50, 0.95, 0.99))
    base = ok(seq, tokens=len(gaps_s) + 1, tpot_s=float(gaps_s.mean()))
    return replace(base, itl_p50_s=p50, itl_p95_s=p95, itl_p99_s=p99, itl_max_s=float(gaps_s.max()))


def stream(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Decode steps of 20 to 30 ms, one in fifty stretched by somebody's prefill."""
    found = []
    for _ in range(n):
        gaps = rng.uniform(0.020, 0.030, rng.integers(20, 300))
        found.append(np.where(rng.random(len(gaps)) < 0.02, gaps + rng.uniform(0.05, 0.2, len(gaps)), gaps))
    return found


@pytest.mark.parametrize(("p", "within"), [(0.50, 0.10), (0.90, 0.05), (0.95, 0.05), (0.99, 0.10)])
def test_the_quantile_is_near_that_of_all_gaps_and_its_interval_holds_it(p: float, within: float) -> None:
    gaps = stream(np.random.default_rng(1), 800)
    true = order_statistic(np.concatenate(gaps), p)
    found = itl_quantile(gaps_of(build_table(record(i, g) for i, g in enumerate(gaps))), p)
    assert found.value == pytest.approx(true, rel=within)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= (true or 0) <= found.high


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_interval_always_holds_the_quantile_of_the_gaps_that_were_seen(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    gaps = [rng.lognormal(rng.normal(), rng.uniform(0, 1.5), rng.integers(1, 60)) for _ in range(60)]
    true = order_statistic(np.concatenate(gaps), p) or 0.0
    found = itl_quantile(gaps_of(build_table(record(i, g) for i, g in enumerate(gaps))), p)
    assert found.low is None or found.low <= true * (1 + 1e-6)
    assert found.high is None or found.high >= true * (1 - 1e-6)


def test_equal_gaps_have_their_length_at_every_quantile() -> None:
    table = build_table(record(i, np.full(50, 0.025)) for i in range(400))
    for p in (0.5, 0.99):
        assert itl_quantile(gaps_of(table), p).value == pytest.approx(0.025)


def test_the_mean_is_exact_and_weighs_gaps_alike() -> None:
    short, long = np.full(10, 0.010), np.full(90, 0.110)
    assert mean_itl(build_table([record(0, short), record(1, long)])).value == pytest.approx(0.100)
