from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.simulator.stretch_log import Stretch, TokenClock
from loadlab.simulator.timeline import MAX_BINS, PREEMPTED, Timeline
from tests.simulator.build import drive, make_cluster, request

PS = 10**12


def stretch(start_s: float, steps: int, step_s: float = 1.0, kv: float = 0.5, prefill: int = 0, tick: int = 0) -> Stretch:
    return Stretch(tick, steps, int(start_s * PS), int(step_s * PS), 0, 2, 1, kv, prefill, 2)


def test_a_stretch_is_split_at_the_edges_of_bins() -> None:
    timeline = Timeline()
    timeline.add([stretch(0.5, 2)])
    busy = [bin_.gpu_busy for bin_ in timeline.bins()]
    assert busy == pytest.approx([0.5, 1.0, 0.5])
    assert [bin_.running for bin_ in timeline.bins()] == pytest.approx([1.0, 2.0, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 9), st.floats(0.01, 300)), min_size=1, max_size=20))
def test_integrals_survive_every_doubling_of_the_bins(parts: list[tuple[float, int, float]]) -> None:
    timeline, at_s, busy_s, tokens = Timeline(), 0.0, 0.0, 0
    for gap_s, steps, step_s in parts:
        one = stretch(at_s + gap_s, steps, step_s, prefill=7)
        timeline.add([one])
        busy_s += steps * one.first_ps / PS
        tokens += 7
        at_s += gap_s + steps * step_s + 0.001
    bins = timeline.bins()
    assert len(bins) <= MAX_BINS
    assert sum(bin_.gpu_busy * bin_.dt_s for bin_ in bins) == pytest.approx(busy_s, rel=1e-6)
    assert sum(bin_.prefill_tokens for bin_ in bins) == tokens


def test_counts_fall_into_the_bin_of_their_moment() -> None:
    timeline = Timeline()
    timeline.count(PREEMPTED, int(2.5 * PS), 3)
    assert [bin_.preemptions for bin_ in timeline.bins()] == [0, 0, 3]


def test_token_times_expand_exactly_from_stretches() -> None:
    """Two steps of 1 and 1.5 s from 10 s on, then one of 4 s: ticks are reached at 11, 12.5 and 16.5 s."""
    clock = TokenClock([Stretch(5, 2, 10 * PS, PS, PS // 2, 1, 0, 0.0, 0, 1), Stretch(7, 1, int(12.5 * PS), 4 * PS, 0, 1, 0, 0.0, 0, 1)])
    assert (clock.times_ps([(6, 8)]) / PS).tolist() == [11.0, 12.5, 16.5]
    assert (clock.gaps_ps([(6, 8)]) / PS).tolist() == [1.5, 4.0]


def test_gaps_of_a_preempted_sequence_include_its_wait() -> None:
    cluster = make_cluster(kv_tokens=20)
    _, preempted = drive(cluster, [(0.0, request(0, 8, 8)), (0.0, request(1, 8, 4))])
    gaps_s = cluster.replicas[0].log.clock().gaps_ps(preempted.pieces) / PS
    assert np.round(gaps_s, 6).tolist() == [8.0, 1.0, 1.0]


def test_the_peak_of_kv_use_stands_in_every_bin_that_a_stretch_touches() -> None:
    timeline = Timeline()
    timeline.add([stretch(0.5, 3, kv=0.4), stretch(3.5, 1, kv=0.2)])
    assert [bin_.kv_usage_max for bin_ in timeline.bins()] == [0.4, 0.4, 0.4, 0.4, 0.2]
