"""Wilson's interval against scipy, and at its edges."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from loadlab.analysis.intervals import wilson


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95, 0.99]))
@example((6652, 7310), 0.95)
@example((0, 1), 0.95)
@example((1, 1), 0.95)
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson(*counts, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_trials_have_no_interval() -> None:
    assert wilson(0, 0) is None


def test_certainty_is_never_claimed_on_the_open_side() -> None:
    low, high = wilson(60, 60) or (0, 0)
    assert high == 1.0
    assert low < 0.95


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="6 successes of 5"):
        wilson(6, 5)
