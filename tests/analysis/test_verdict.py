"""Passed, failed or undecided: by the interval, not by the number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.analysis.intervals import Estimate
from loadlab.analysis.verdict import Verdict, judge
from loadlab.slo import parse_threshold

PASSED, FAILED, UNDECIDED = Verdict.PASSED, Verdict.FAILED, Verdict.UNDECIDED


def estimate(value: float | None, low: float | None, high: float | None, needs_n: int | None = None) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=1000, needs_n=needs_n, note="said why")


@pytest.mark.parametrize(
    ("threshold", "found", "verdict", "why"),
    [
        ("ttft.p95 < 1s", estimate(0.8, 0.7, 0.9), PASSED, "all of it below"),
        ("ttft.p95 < 1s", estimate(1.2, 1.1, 1.3), FAILED, "all of it above"),
        ("ttft.p95 < 1s", estimate(0.9, 0.8, 1.1), UNDECIDED, "the limit lies inside"),
        ("ttft.p95 < 1s", estimate(0.8, 0.7, None), UNDECIDED, "nothing bounds it above"),
        ("ttft.p95 < 1s", estimate(1.2, 1.1, None), FAILED, "its lower end breaks the limit already"),
        ("ttft.p95 < 1s", estimate(0.8, 0.7, 0.9, needs_n=5000), UNDECIDED, "a short run under-reads its tail"),
        ("ttft.p95 < 1s", estimate(1.2, 1.1, 1.3, needs_n=5000), FAILED, "a short run that is too slow is too slow"),
        ("ttft.p95 < 1s", estimate(None, None, None), FAILED, "silence is no proof"),
        ("success_rate >= 99%", estimate(0.995, 0.991, 0.999), PASSED, "the lower end is enough"),
        ("success_rate >= 99%", estimate(0.90, 0.85, 0.95), FAILED, "the upper end is too low"),
        ("success_rate >= 99%", estimate(0.99, 0.97, 1.0), UNDECIDED, "the limit lies inside"),
        ("oom.count == 0", estimate(0, 0, 0), PASSED, "a count is exact"),
        ("oom.count == 0", estimate(1, 1, 1), FAILED, "a count is exact"),
        ("ttft.max < 1s", estimate(0.9, 0.9, None), UNDECIDED, "a longer run has a larger maximum"),
    ],
)
def test_verdicts(threshold: str, found: Estimate, verdict: Verdict, why: str) -> None:
    assert judge(parse_threshold(threshold), found).verdict is verdict, why


def test_undecided_says_which_way_it_leans_and_what_would_decide_it() -> None:
    """The interval reaches 0.3 s above the number and the limit is 0.1 s above it: nine times the requests."""
    found = judge(parse_threshold("ttft.p95 < 1s"), estimate(0.9, 0.6, 1.2))
    assert (found.leans, found.suffices_n) == (PASSED, 9000)
    assert judge(parse_threshold("ttft.p95 < 1s"), estimate(1.1, 0.6, 1.2)).leans is FAILED
    assert judge(parse_threshold("ttft.p95 < 1s"), estimate(0.9, 0.8, 1.2, needs_n=50_000)).suffices_n == 50_000


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(0, 10))
def test_a_lower_limit_never_turns_failure_into_passing(a: float, b: float, c: float, limit: float) -> None:
    low, value, high = sorted((a, b, c))
    order = [FAILED, UNDECIDED, PASSED]
    at = [order.index(judge(parse_threshold(f"ttft.p95 < {x:.9f}s"), estimate(value, low, high)).verdict) for x in (limit, limit + 1)]
    assert at[0] <= at[1]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (estimate(0.8, 0.7, 0.9), "the whole interval is within the limit"),
        (estimate(1.2, 1.1, 1.3), "the whole interval is beyond the limit"),
        (estimate(0.9, 0.8, 1.1), "the interval holds the limit"),
        (estimate(0.8, 0.7, None), "the interval is open: said why"),
        (estimate(0.8, 0.7, 0.9, needs_n=5000), "the run is too short to claim that its tail is within the limit"),
        (estimate(0.8, 0.7, None, needs_n=5000), "the run is too short to claim that its tail is within the limit"),
        (estimate(0.9, 0.8, 1.1, needs_n=5000), "the interval holds the limit"),
        (estimate(None, None, None), "nothing to judge: said why"),
        (Estimate(value=None, n=0), "nothing to judge: no such request"),
    ],
)
def test_a_judgement_carries_what_it_judged_and_says_why(found: Estimate, why: str) -> None:
    threshold = parse_threshold("ttft.p95 < 1s")
    judgement = judge(threshold, found)
    assert (judgement.threshold, judgement.estimate, judgement.why) == (threshold, found, why)


def test_what_would_decide_is_not_guessed_where_nothing_tells() -> None:
    limit = parse_threshold("ttft.p95 < 1s")
    assert judge(limit, estimate(1.0, 0.9, 1.1)).suffices_n is None, "the number lies on its limit"
    assert judge(limit, estimate(1.0, 0.9, 1.1, needs_n=5000)).suffices_n == 5000
    assert judge(limit, estimate(1.1, 0.9, 1.2)).suffices_n == 4000, "above the limit the lower end counts"
    assert judge(limit, estimate(0.5, 0.4, 1.0)).suffices_n == 1000, "it reaches just as far as the limit"
