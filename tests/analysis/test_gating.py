from __future__ import annotations

import math

import numpy as np
import pytest

from loadlab.analysis.compare import ENOUGH_PAIRS, compare_runs
from loadlab.analysis.evidence import pairs_needed
from loadlab.analysis.gating import Check, GateVerdict, Margin, common_verdict, complete_margins, judge, parse_margin
from loadlab.slo import Slo, Slos, parse_metric
from tests.analysis.examples import P50, run_of, sides

METRIC = parse_metric(P50)
FIVE = [0.04, 0.06, 0.05, 0.07, 0.03]  # mean 0.05, bounds 0.035 .. 0.065


def verdict_at(margin: str, differences: list[float], fewest: int = 2) -> GateVerdict:
    return judge(compare_runs(*sides(differences), [METRIC]), [parse_margin(margin)], fewest).verdict


def test_the_verdict_is_on_which_side_of_the_margin_the_bounds_lie() -> None:
    assert verdict_at("ttft.p50=0%", FIVE) is GateVerdict.REGRESSED
    assert verdict_at("ttft.p50=3%", FIVE) is GateVerdict.REGRESSED
    assert verdict_at("ttft.p50=5%", FIVE) is GateVerdict.INCONCLUSIVE
    assert verdict_at("ttft.p50=10%", FIVE) is GateVerdict.PASSED
    assert verdict_at("ttft.p50=0%", [-x for x in FIVE]) is GateVerdict.PASSED


def test_an_open_check_tells_how_many_more_pairs_would_settle_it() -> None:
    result = judge(compare_runs(*sides([0.0, 0.06, 0.02, 0.04, 0.03]), [METRIC]), [parse_margin("ttft.p50=5%")])
    (check,) = result.checks
    assert (check.verdict, check.note) == (GateVerdict.INCONCLUSIVE, "within the margin, but not surely")
    assert check.more_pairs == result.more_pairs
    assert check.more_pairs is not None
    assert 1 <= check.more_pairs <= 20


@pytest.mark.parametrize("fewest", [1, 2])
def test_one_pair_settles_nothing_however_large_the_difference(fewest: int) -> None:
    assert verdict_at("ttft.p50=5%", [1.0], fewest) is GateVerdict.INCONCLUSIVE


def test_fewer_pairs_than_asked_for_settle_nothing() -> None:
    result = judge(compare_runs(*sides(FIVE), [METRIC]), [parse_margin("ttft.p50=10%")], 8)
    assert (result.verdict, result.more_pairs) == (GateVerdict.INCONCLUSIVE, 3)
    assert "8 are asked for" in result.checks[0].note


def test_equal_runs_pass_and_runs_that_differ_always_alike_do_not() -> None:
    assert verdict_at("ttft.p50=0.1%", [0.0] * 5) is GateVerdict.PASSED
    assert verdict_at("ttft.p50=0.1%", [0.01] * 5) is GateVerdict.REGRESSED


def test_what_shall_be_high_regresses_when_it_falls() -> None:
    base = [run_of({"success_rate": 1.0}, str(k)) for k in range(5)]
    candidate = [run_of({"success_rate": 0.95 + 0.001 * k}, str(k)) for k in range(5)]
    metric = parse_metric("success_rate")
    for worse, better, expected in ((base, candidate, GateVerdict.REGRESSED), (candidate, base, GateVerdict.PASSED)):
        assert judge(compare_runs(worse, better, [metric]), [parse_margin("success_rate=1pt")]).verdict is expected
    goodput = parse_margin("goodput=50%")
    assert goodput.worsening == pytest.approx(math.log(2))  # half of it gone


def test_all_have_to_pass_and_one_is_enough_to_regress() -> None:
    names = [P50, "ttft.p99"]
    metrics = [parse_metric(name) for name in names]
    base = [run_of({P50: 1.0, "ttft.p99": 1.0}, str(k)) for k in range(5)]
    candidate = [run_of({P50: math.exp(x), "ttft.p99": 1.0}, str(k)) for k, x in enumerate(FIVE)]
    comparison = compare_runs(base, candidate, metrics)
    for first, expected in (("1%", GateVerdict.REGRESSED), ("5%", GateVerdict.INCONCLUSIVE), ("10%", GateVerdict.PASSED)):
        margins = [parse_margin(f"{P50}={first}"), parse_margin("ttft.p99=5%")]
        assert judge(comparison, margins).verdict is expected


def test_a_metric_without_a_number_is_open_and_nothing_at_all_is_too() -> None:
    base = [run_of({P50: None}, str(k)) for k in range(3)]
    assert judge(compare_runs(base, base, [METRIC]), [parse_margin("ttft.p50=5%")]).verdict is GateVerdict.INCONCLUSIVE
    assert common_verdict([]) is GateVerdict.INCONCLUSIVE


def test_the_gravest_verdict_counts() -> None:
    assert common_verdict([GateVerdict.PASSED, GateVerdict.INCONCLUSIVE]) is GateVerdict.INCONCLUSIVE
    assert common_verdict([GateVerdict.REGRESSED, GateVerdict.INCOMPLETE, GateVerdict.PASSED]) is GateVerdict.INCOMPLETE
    assert common_verdict([GateVerdict.INCOMPLETE, GateVerdict.INVALID]) is GateVerdict.INVALID


def test_twenty_correlated_metrics_seldom_raise_a_false_alarm() -> None:
    """400 gates of twenty metrics without any difference, correlated at 0.5: nominal 5 % of them may regress at margin 0."""
    rng, alarms = np.random.default_rng(7), 0
    names = [f"ttft.p{k}" for k in range(10, 30)]
    margins = [parse_margin(f"{name}=0%") for name in names]
    for _ in range(400):
        d = rng.normal(size=(5, 1)) + rng.normal(size=(5, 20))
        base = [run_of(dict.fromkeys(names, 1.0), str(k)) for k in range(5)]
        candidate = [run_of(dict(zip(names, map(float, np.exp(0.02 * row)), strict=True)), str(k)) for k, row in enumerate(d)]
        alarms += judge(compare_runs(base, candidate, [m.metric for m in margins]), margins).verdict is GateVerdict.REGRESSED
    assert alarms <= 32  # the 99.8th percentile of Binomial(400, 0.05)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("ttft.p99=5%", 0.05),
        ("success_rate=1pt", 0.01),
        ("success_rate = 1 %", 0.01),
        ("oom.count=3", 3.0),
        ("tpot.p99{class=chat}=2%", 0.02),
    ],
)
def test_margins_are_read(text: str, allowed: float) -> None:
    assert parse_margin(text).allowed == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft.p99", "is not a margin such as"),
        ("tpot.p99{class=chat}", "is not a margin such as"),
        ("ttft.p99=-5%", "must be 0 or more"),
        ("ttft.p99=5ms", "is not a share"),
        ("goodput=100%", "below 100 %"),
        ("tfft.p99=5%", "did you mean"),
        ("oom.count=5%", "is not a count"),
    ],
)
def test_bad_margins_are_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_margin(text)


def test_success_always_has_a_margin() -> None:
    """Latencies are those of OK requests: losing the slow ones would look like a gain."""
    assert [str(m.metric) for m in complete_margins([parse_margin("ttft.p99=5%")], None)] == ["ttft.p99", "success_rate"]
    own = [Margin(metric=parse_metric("success_rate"), allowed=0.2)]
    assert complete_margins(own, None) == own
    assert "attainment" in [str(m.metric) for m in complete_margins([], Slos(default=Slo(ttft=1.0), by_class={}))]


def test_what_was_asked_for_is_all_that_blocks_beside_success() -> None:
    slos = Slos(default=Slo(ttft=1.0), by_class={})
    asked = [parse_margin("ttft.p50=5%")]
    found = complete_margins(asked, slos)
    assert [(str(margin.metric), margin.allowed) for margin in found] == [("ttft.p50", 0.05), ("success_rate", 0.01)]
    assert [(str(m.metric), m.allowed) for m in complete_margins([], slos)][-2:] == [("attainment", 0.01), ("success_rate", 0.01)]
    assert "attainment" not in [str(m.metric) for m in complete_margins([], None)]


@pytest.mark.parametrize(
    ("runs", "fewest", "more", "said"),
    [
        (1, 2, ENOUGH_PAIRS - 1, "1 run a side: too few to say how runs vary, 2 are asked for"),
        (1, 9, 8, "1 run a side: too few to say how runs vary, 9 are asked for"),
        (2, 3, 1, "2 runs a side: too few to say how runs vary, 3 are asked for"),
        (5, 8, 3, "5 runs a side: too few to say how runs vary, 8 are asked for"),
    ],
)
def test_too_few_runs_are_told_with_how_many_more(runs: int, fewest: int, more: int, said: str) -> None:
    (check,) = judge(compare_runs(*sides([0.02] * runs), [METRIC]), [parse_margin("ttft.p50=10%")], fewest).checks
    assert (check.more_pairs, check.note) == (more, said)


def successes(falls: list[float], margin: str) -> Check:
    """The check of success rates that fall by these shares."""
    base = [run_of({"success_rate": 0.99}, str(k)) for k in range(len(falls))]
    candidate = [run_of({"success_rate": 0.99 - fall}, str(k)) for k, fall in enumerate(falls)]
    return judge(compare_runs(base, candidate, [parse_metric("success_rate")]), [parse_margin(f"success_rate={margin}")]).checks[0]


def test_what_shall_be_high_may_fall_by_its_margin() -> None:
    falls = [0.0040, 0.0050, 0.0045, 0.0055, 0.0060]
    assert successes(falls, "1pt").verdict is GateVerdict.PASSED
    assert successes(falls, "0.1pt").verdict is GateVerdict.REGRESSED
    unsure = successes([0.0, 0.02, 0.001, 0.015, 0.004], "1pt")
    needed = pairs_needed([0.0, 0.02, 0.001, 0.015, 0.004], 0.01)
    assert needed is not None
    assert (unsure.verdict, unsure.more_pairs) == (GateVerdict.INCONCLUSIVE, needed - 5)


def test_an_open_check_that_is_worse_than_its_margin_says_so() -> None:
    (check,) = judge(compare_runs(*sides([0.10, 0.0, 0.20, 0.05, 0.0]), [METRIC]), [parse_margin("ttft.p50=5%")]).checks
    assert (check.verdict, check.note) == (GateVerdict.INCONCLUSIVE, "worse by more than the margin, but not surely")


def test_as_many_pairs_as_asked_for_are_enough() -> None:
    assert verdict_at("ttft.p50=5%", [0.2, 0.2001], 2) is GateVerdict.REGRESSED
    assert verdict_at("ttft.p50=10%", FIVE, 5) is GateVerdict.PASSED


def test_a_check_without_evidence_keeps_its_margin_and_says_why() -> None:
    base = [run_of({P50: None}, str(k)) for k in range(3)]
    margin = parse_margin("ttft.p50=5%")
    (check,) = judge(compare_runs(base, base, [METRIC]), [margin]).checks
    assert check.margin == margin
    assert check.note == (check.difference.note or "nothing says how it varies")


def test_a_margin_out_of_its_range_is_told_the_range() -> None:
    with pytest.raises(ValueError, match=r"must be 0 or more$"):
        parse_margin("ttft.p99=-5%")
    with pytest.raises(ValueError, match=r"must be 0 or more, and below 100 %$"):
        parse_margin("goodput=100%")
