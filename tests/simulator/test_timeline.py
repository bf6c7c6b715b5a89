from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.simulator.timeline import MAX_BINS, PREEMPTED, Timeline

PS = 10**12


def stretch(start_s: float, steps: int, step_s: float = 1.0, kv: int = 5, held: int = 0, prefill: int = 0, evicted: int = 0) -> list[int]:
    """A row of timeline.COLUMNS: two running, one waiting."""
    return [0, steps, int(start_s * PS), int(step_s * PS), 0, 2, 1, kv, held, prefill, 2, evicted]


def timeline_of(*stretches: list[int]) -> Timeline:
    """Ten blocks of four tokens are its capacity."""
    timeline = Timeline(10, 4)
    for one in stretches:
        timeline.add(np.array([one]))
    return timeline


def test_a_stretch_is_split_at_the_edges_of_bins() -> None:
    timeline = timeline_of(stretch(0.5, 2))
    busy = [bin_.gpu_busy for bin_ in timeline.bins()]
    assert busy == pytest.approx([0.5, 1.0, 0.5])
    assert [bin_.running for bin_ in timeline.bins()] == pytest.approx([1.0, 2.0, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 9), st.floats(0.01, 300)), min_size=1, max_size=20))
def test_integrals_survive_every_doubling_of_the_bins(parts: list[tuple[float, int, float]]) -> None:
    timeline, at_s, busy_s, tokens = timeline_of(), 0.0, 0.0, 0
    for gap_s, steps, step_s in parts:
        one = stretch(at_s + gap_s, steps, step_s, prefill=7)
        timeline.add(np.array([one]))
        busy_s += steps * one[3] / PS
        tokens += 7
        at_s += gap_s + steps * step_s + 0.001
    bins = timeline.bins()
    assert len(bins) <= MAX_BINS
    assert sum(bin_.gpu_busy * bin_.dt_s for bin_ in bins) == pytest.approx(busy_s, rel=1e-6)
    assert sum(bin_.prefill_tokens for bin_ in bins) == tokens


def test_counts_fall_into_the_bin_of_their_moment() -> None:
    timeline = timeline_of()
    timeline.count(PREEMPTED, int(2.5 * PS), 3)
    assert [bin_.preemptions for bin_ in timeline.bins()] == [0, 0, 3]


def test_evictions_are_counted_where_they_happened() -> None:
    """A log says how many there were since the start: four in the second stretch, none in the third."""
    timeline = timeline_of(stretch(0.0, 1, evicted=3), stretch(1.0, 1, evicted=7), stretch(2.0, 1, evicted=7))
    assert [bin_.evicted_blocks for bin_ in timeline.bins()] == [3, 4, 0, 0]


def test_the_peak_of_kv_use_stands_in_every_bin_that_a_stretch_touches() -> None:
    timeline = timeline_of(stretch(0.5, 3, kv=4), stretch(3.5, 1, kv=2))
    assert [bin_.kv_usage_max for bin_ in timeline.bins()] == [0.4, 0.4, 0.4, 0.4, 0.2]


def test_fragmentation_is_the_share_of_memory_in_use_that_holds_no_token() -> None:
    """Five blocks of four tokens in use, 15 tokens in them, for the whole second."""
    bin_ = timeline_of(stretch(0.0, 1, kv=5, held=15)).bins()[0]
    assert bin_.kv_fragmentation == pytest.approx(0.25)
