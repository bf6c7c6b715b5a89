"""The data that figures draw, in numbers that a reader can check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from loadlab.analysis.table import build_table
from loadlab.report.figures import draw_shards
from loadlab.report.series import MAX_BINS, MAX_POINTS, MIN_MEAN_COUNT, burst_count, distribution_series, shard_series, timeline_series
from tests.record.examples import five_requests, ok, timeline_row


def test_rates_account_for_every_request() -> None:
    table = build_table(five_requests())
    series = timeline_series(table, [timeline_row(float(t)) for t in range(6)])
    width_s = np.diff(series.rate_edges_s)
    assert (series.offered_per_s * width_s).sum() == 5
    assert (series.ok_per_s * width_s).sum() == 3
    assert (series.failed_per_s * width_s).sum() == 2


def test_a_burst_is_shaded_and_chance_is_not() -> None:
    calm = [ok(float(second)) for second in range(200)]
    assert timeline_series(build_table(calm), []).bursts_s == ()
    burst = [ok(100 + n / 50) for n in range(100)]
    series = timeline_series(build_table([*calm, *burst]), [])
    ((start_s, end_s),) = series.bursts_s
    width_s = float(series.rate_edges_s[1] - series.rate_edges_s[0])
    assert (start_s, end_s) == (pytest.approx(100, abs=width_s), pytest.approx(102, abs=width_s)), "a bin may hold its edge alone"


@pytest.mark.parametrize("mean", [MIN_MEAN_COUNT, 10, 15, 30, 100, 1000])
def test_chance_makes_a_burst_of_fewer_than_one_calm_bin_in_ten_thousand(mean: float) -> None:
    assert poisson.sf(np.ceil(burst_count(mean)) - 1, mean) < 1e-4


def test_bins_are_those_of_the_server() -> None:
    series = timeline_series(build_table(five_requests()), [timeline_row(float(t)) for t in range(6)])
    assert series.edges_s.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert series.waiting is not None
    assert series.waiting.tolist() == [1] * 6
    (replica,) = series.replicas
    assert (replica.name, replica.kv_peak.tolist(), replica.gpu_busy.tolist()) == ("llm/0", [0.5] * 6, [0.5] * 6)


def test_in_flight_is_the_exact_time_mean() -> None:
    """Sent at 0 and 1 s, ended at 1.5 and 2.5 s: one open in [0, 1), two for half of [1, 2), one for half of [2, 3)."""
    series = timeline_series(build_table([ok(0), ok(1)]), [timeline_row(float(t)) for t in range(3)])
    assert series.in_flight == pytest.approx([1.0, 1.5, 0.5])


def test_server_bins_are_merged_by_mean_and_by_peak() -> None:
    rows = [timeline_row(float(t), gpu_busy=float(t % 2), kv_usage_max=0.9 if t == 7 else 0.1) for t in range(2 * MAX_BINS)]
    series = timeline_series(build_table([ok(0)]), rows)
    assert len(series.edges_s) == MAX_BINS + 1
    assert set(series.replicas[0].gpu_busy.tolist()) == {0.5}
    assert series.replicas[0].kv_peak[3] == 0.9


def test_a_peak_is_never_below_its_mean() -> None:
    rows = [timeline_row(float(t), kv_usage=0.3, kv_usage_max=0.0) for t in range(3)]
    assert timeline_series(build_table([ok(0)]), rows).replicas[0].kv_peak.tolist() == [0.3] * 3


def test_time_without_server_data_is_nan_not_zero() -> None:
    series = timeline_series(build_table([ok(0)]), [timeline_row(0.0), timeline_row(5.0)])
    assert np.isnan(series.replicas[0].gpu_busy[1:5]).all()


def test_events_are_marked_in_their_bins() -> None:
    rows = [timeline_row(float(t), preemptions=int(t == 3), ooms=int(t == 5)) for t in range(6)]
    series = timeline_series(build_table([]), rows)
    assert (series.preempted_s.tolist(), series.oom_s.tolist()) == ([3.5], [5.5])


def test_many_replicas_are_drawn_as_highest_and_lowest() -> None:
    rows = [timeline_row(0.0, replica=f"llm/{i}", gpu_busy=i / 10) for i in range(9)]
    highest, lowest = timeline_series(build_table([]), rows).replicas
    assert (highest.name, highest.gpu_busy.tolist()) == ("highest of 9 replicas", [0.8])
    assert (lowest.name, lowest.gpu_busy.tolist()) == ("lowest of 9 replicas", [0.0])


def test_each_replica_has_its_requests_and_its_evictions_over_time() -> None:
    columns = {"running": 3.0, "waiting": 1.5, "dt_s": 2.0, "evicted_blocks": 8}
    (one,) = timeline_series(build_table([]), [timeline_row(0.0, replica="a/0", **columns)]).replicas
    assert (one.requests.tolist(), one.evicted_per_s.tolist()) == ([4.5], [4.0])


def test_without_rows_or_server_there_is_still_an_axis() -> None:
    series = timeline_series(build_table([]), [])
    assert series.waiting is None
    assert series.replicas == ()
    assert len(series.edges_s) >= 2


@given(st.lists(st.floats(0, 1e4), max_size=40), st.floats(0.01, 100))
def test_bins_cover_every_request_and_are_few(dues_s: list[float], tpot_s: float) -> None:
    table = build_table(ok(i, due_s=due_s, tpot_s=tpot_s) for i, due_s in enumerate(dues_s))
    series = timeline_series(table, [])
    assert len(series.edges_s) <= MAX_BINS + 2
    assert (series.offered_per_s * np.diff(series.rate_edges_s)).sum() == pytest.approx(len(dues_s))


def test_distribution_keeps_its_extremes_and_its_percentiles() -> None:
    series = distribution_series(np.arange(1.0, 10_001.0))
    assert len(series.values) <= MAX_POINTS
    assert (series.values[0], series.values[-1], series.shares[-1]) == (1.0, 10_000.0, 1.0)
    assert series.percentiles == {"p50": 5000.0, "p95": 9500.0, "p99": 9900.0}
    assert series.shares == pytest.approx(series.values / 10_000)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=500))
def test_distribution_is_the_share_at_or_below(values: list[float]) -> None:
    series = distribution_series(np.array(values))
    assert (np.diff(series.shares) > 0).all()
    assert (np.diff(series.values) >= 0).all()
    assert all(np.mean(np.array(values) <= v) >= s - 1e-12 for v, s in zip(series.values, series.shares, strict=True))


def test_no_values_have_no_distribution() -> None:
    series = distribution_series(np.empty(0))
    assert (series.n, len(series.values), dict(series.percentiles)) == (0, 0, {})


def test_gpus_are_told_apart_only_where_those_of_a_group_differ() -> None:
    table = build_table([])
    even = {"t_s": 0.0, "dt_s": 1.0, "replica": "p/0", "gpu_busy": 0.8, "shard_busy": [0.8, 0.8]}
    slow = even | {"t_s": 1.0, "shard_busy": [0.2, 0.8]}
    assert shard_series(table, [even]) is None
    series = shard_series(table, [even, slow])
    assert series is not None
    assert series.names == ("p/0 GPU 0", "p/0 GPU 1")
    assert series.busy.min() == pytest.approx(0.2)
    assert "p/0 GPU 1" in draw_shards(series, "x")
