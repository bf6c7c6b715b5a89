from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from loadlab.simulator.settling import clocks_of, split_logged
from loadlab.simulator.token_times import (
    TokenClock,
    gap_quantiles_of_ended_ps,
    gap_quantiles_ps,
    order_statistics,
    ranks_by_sorting,
    ranks_by_wavelets,
)
from tests.simulator.build import drive, make_cluster, request

PS = 10**12


def clock() -> TokenClock:
    """Two steps of 1 and 1.5 s from 10 s on, then one of 4 s: ticks 6, 7 and 8 are reached at 11, 12.5 and 16.5 s."""
    rows = [[5, 2, 10 * PS, PS, PS // 2], [7, 1, int(12.5 * PS), 4 * PS, 0]]
    return TokenClock(np.array(rows, dtype=np.int64))


def test_token_times_expand_exactly_from_stretches() -> None:
    assert (clock().times_ps(6, 8) / PS).tolist() == [11.0, 12.5, 16.5]


def test_gap_quantiles_are_order_statistics_of_the_requests_own_gaps() -> None:
    quantiles = gap_quantiles_ps([clock()], [[(0, 6, 8)], [(0, 6, 7)], [(0, 6, 6)], []], (50, 100))
    assert (quantiles[:2] / PS).tolist() == [[1.5, 4.0], [1.5, 1.5]]
    assert quantiles[2:].tolist() == [[-1, -1], [-1, -1]]


def test_gaps_of_a_preempted_sequence_include_its_wait() -> None:
    cluster = make_cluster(kv_tokens=20)
    _, preempted = drive(cluster, [(0.0, request(0, 8, 8)), (0.0, request(1, 8, 4))])
    times_s = np.array(cluster.token_times_ps(preempted)) / PS
    assert np.round(np.diff(times_s), 6).tolist() == [8.0, 1.0, 1.0]
    quantiles = gap_quantiles_ps([TokenClock(cluster.replicas[0].log.table)], [preempted.pieces], (50, 100))
    assert np.round(quantiles / PS, 6).tolist() == [[1.0, 8.0]]


@settings(deadline=None)
@given(st.data(), arrays.arrays(np.int64, st.integers(1, 80), elements=st.integers(0, 9)))
def test_order_statistics_of_ranges_are_those_of_sorting(data: st.DataObject, values: np.ndarray) -> None:
    spans = data.draw(st.lists(st.tuples(st.integers(0, len(values) - 1), st.integers(1, len(values))), min_size=1, max_size=9))
    spans = [(a, b) if a < b else (b - 1, a + 1) for a, b in spans]
    first, last = np.array(spans).T
    ranks = np.stack([np.zeros_like(first), (last - first) // 2, last - first - 1], axis=1)
    found = order_statistics(values, first, last, ranks)
    codes = np.argsort(np.argsort(values)).astype(np.int32)
    assert ranks_by_sorting(codes, first, last, ranks).tolist() == ranks_by_wavelets(codes, first, last, ranks).tolist()
    for (a, b), row, got in zip(spans, ranks, found, strict=True):
        assert got.tolist() == np.sort(values[a:b])[row].tolist()


def test_quantiles_read_from_sequences_are_those_of_their_pieces() -> None:
    """One that was preempted, some that were not, one that left, one of a single token."""
    cluster = make_cluster(kv_tokens=40, per_kv_token_s=0.01)
    arrivals = [(0.1 * i, request(i, 8, 1 + i)) for i in range(15)]
    done = drive(cluster, [*arrivals, (0.0, request(15, 8, 90, deadline_s=20.0))])
    assert any(sequence.preemptions for sequence in done)
    clocks = clocks_of(cluster.replicas)
    expected = gap_quantiles_ps(clocks, [sequence.pieces for sequence in done], (50, 99))
    assert gap_quantiles_of_ended_ps(clocks, done, (50, 99)).tolist() == expected.tolist()


def test_who_leaves_in_mid_stretch_is_told_once_the_stretch_is_logged() -> None:
    cluster = make_cluster()
    stays, leaves = request(0, 4, 50), request(1, 4, 50, deadline_s=7.5)
    for sequence in (stays, leaves):
        cluster.submit(sequence, 0)
    cluster.advance_to(int(7.6 * PS))
    assert leaves.ended_ps == 7.5 * PS
    assert split_logged(cluster.replicas, [leaves]) == ([], [leaves])
    cluster.advance_to(9 * PS)
    assert split_logged(cluster.replicas, [leaves]) == ([leaves], [])
