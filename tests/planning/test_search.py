"""A search told what closed forms say finds their root; told nonsense it says so."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from loadlab.planning.capacity_curve import fit_capacity
from loadlab.planning.certificate import ERROR, Bracket, Try, best_try, confidences, fitted_tau, posterior, proves
from loadlab.planning.levels import Level, level_of
from loadlab.planning.search import Answer, Ask, not_monotone, search
from tests.planning.slo_cases import BUDGET, CASES, follow, level_at, mm8_bad_share


def told(share: float, ask: Ask, rng: np.random.Generator) -> Level:
    """Independent requests, bad with a probability: what a search sees at the look at which it is content."""
    bad = rng.random(ask.looks[-1]) < share
    for look in ask.looks:
        level = level_of(ask.rate_per_s, bad[:look], rng.random(look))
        if ask.judge(level) is not None:
            break
    return level


def test_a_search_certifies_just_below_the_root_of_mm8() -> None:
    rng = np.random.default_rng(5)
    low, high = 4.0, 8.0
    for _ in range(60):
        low, high = ((low + high) / 2, high) if mm8_bad_share((low + high) / 2, 3.0) <= BUDGET else (low, (low + high) / 2)
    ratios = []
    for _ in range(20):
        result = follow(search(1.0, BUDGET), lambda ask: told(mm8_bad_share(ask.rate_per_s, 3.0), ask, rng))
        assert result.answer is Answer.CERTIFIED
        assert result.certified_per_s is not None
        ratios.append(result.certified_per_s / low)
    assert max(ratios) < 1.02
    assert np.median(ratios) > 0.95


@pytest.mark.parametrize("law", ["M/M/1", "M/D/1"])
def test_many_requests_put_the_capacity_within_2_percent_of_the_closed_form(law: str) -> None:
    """An SLO of no waiting: the share that waits at all is the utilisation, for M/M/1 and M/D/1 alike (PASTA)."""
    rng, n, levels = np.random.default_rng(11), 200_000, []
    for rate in (0.3, 0.4, 0.5, 0.6, 0.7):
        gaps = rng.exponential(1 / rate, n)
        services = rng.exponential(1.0, n) if law == "M/M/1" else np.ones(n)
        steps = np.concatenate([[0.0], (services[:-1] - gaps[1:]).cumsum()])
        waits = steps - np.minimum.accumulate(np.minimum(steps, 0.0))  # Lindley's recursion, solved
        levels.append(level_of(rate, waits > 1e-9, waits))
    found = fit_capacity(levels, 0.5)
    assert found.rate_per_s == pytest.approx(0.5, rel=0.02)
    assert (found.low_per_s or 0) <= 0.5 * 1.02
    assert (found.high_per_s or 1) >= 0.5 * 0.98


def test_many_requests_put_the_capacity_of_mm8_within_2_percent_of_erlangs() -> None:
    case = CASES[-1]
    truth = brentq(lambda rate: mm8_bad_share(rate, case.limit_s) - BUDGET, 4, 7.9)
    levels = []
    for k, rate in enumerate((6.2, 6.5, 6.8, 7.1)):
        waits = case.run(rate, 300_000, 70 + k)
        levels.append(level_of(rate, waits > case.limit_s, waits))
    assert fit_capacity(levels, BUDGET).rate_per_s == pytest.approx(truth, rel=0.02)


def test_a_search_on_correlated_waits_is_not_fooled() -> None:
    case, certified = CASES[-1], []
    for seed in range(4):
        result = follow(search(case.first_per_s, BUDGET), lambda ask, seed=seed: level_at(case, ask, round(1000 * ask.rate_per_s) + seed))
        assert result.answer in (Answer.CERTIFIED, Answer.NOT_CERTIFIED)
        if result.certified_per_s is not None:
            certified.append(mm8_bad_share(result.certified_per_s, case.limit_s))
    assert certified
    assert max(certified) < BUDGET


@pytest.mark.parametrize(
    ("share_at", "highest", "answer"),
    [
        (lambda rate: 0.0, 50.0, Answer.ALWAYS),
        (lambda rate: 0.0, math.inf, Answer.ALWAYS),
        (lambda rate: 0.3, math.inf, Answer.NEVER),
        (lambda rate: 1.0, math.inf, Answer.TARGET_FAILED),
    ],
)
def test_what_is_not_there_is_not_found(share_at: object, highest: float, answer: Answer) -> None:
    rng = np.random.default_rng(1)
    result = follow(search(2.0, BUDGET, highest_per_s=highest), lambda ask: told(share_at(ask.rate_per_s), ask, rng))  # type: ignore[operator]
    assert result.answer is answer
    assert result.certified_per_s is None
    assert result.note
    assert max(probe.level.rate_per_s for probe in result.probes) <= highest


def test_a_target_that_serves_all_and_none_in_time_has_not_failed() -> None:
    rng = np.random.default_rng(1)
    slow = follow(search(2.0, BUDGET), lambda ask: replace(told(1.0, ask, rng), served_per_s=1.0))
    dead = follow(search(2.0, BUDGET), lambda ask: replace(told(1.0, ask, rng), served_per_s=0.0))
    assert (slow.answer, dead.answer) == (Answer.NEVER, Answer.TARGET_FAILED)


@pytest.mark.parametrize("seed", range(5))
def test_a_target_that_fails_at_a_lower_rate_than_one_that_held_is_told_so(seed: int) -> None:
    """It holds 5 a second until somebody else comes: 4.1 held, and later less fails. No rate is certified."""
    rng, asked = np.random.default_rng(seed), 0

    def answer(ask: Ask) -> Level:
        nonlocal asked
        asked += 1
        capacity = 5.0 if asked <= 5 else 3.5
        return told(min(0.01 * (ask.rate_per_s / capacity) ** 30, 0.9), ask, rng)

    result = follow(search(1.0, BUDGET), answer)
    assert result.answer is Answer.NOT_MONOTONE
    assert result.certified_per_s is None
    assert result.certificate is None
    fails, holds = not_monotone([probe.level for probe in result.probes], BUDGET) or (0.0, 0.0)
    assert 3.5 < fails < holds == pytest.approx(1.6**3)
    assert f"{fails:.4g}/s fails and {holds:.4g}/s holds, beyond chance" in result.note


def test_a_lower_rate_that_fails_beyond_chance_is_no_noise() -> None:
    fails = Level(rate_per_s=2.0, n=5000, bad=200, tau=1.0)
    holds = Level(rate_per_s=3.0, n=5000, bad=5, tau=1.0)
    assert not_monotone([fails, holds], BUDGET) == (2.0, 3.0)
    assert not_monotone([fails, replace(holds, rate_per_s=1.0)], BUDGET) is None
    assert not_monotone([replace(fails, bad=60), holds], BUDGET) is None  # 1.2 %: may be chance


def test_a_growing_backlog_fails_at_once_whatever_the_latencies() -> None:
    overloaded = Level(rate_per_s=1.0, n=500, bad=0, tau=1.0, is_overloaded=True)
    asks: list[Ask] = []

    def answer(ask: Ask) -> Level:
        asks.append(ask)
        return Level(**{name: getattr(overloaded, name) for name in ("n", "bad", "tau", "is_overloaded")} | {"rate_per_s": ask.rate_per_s})

    assert follow(search(2.0, BUDGET), answer).answer is Answer.NEVER
    assert [round(ask.rate_per_s, 3) for ask in asks[:3]] == [2.0, 1.25, 0.781]


LONG = Try(rate_per_s=1.9, looks=(10_000, 20_000), confidence=(0.97, 0.98))


def test_a_certificate_counts_failed_ones_at_higher_rates_and_never_less_dependence_than_seen() -> None:
    near = Level(rate_per_s=2.0, n=10_000, bad=70, tau=2.0)
    here = Level(rate_per_s=1.9, n=10_000, bad=74, tau=2.0)
    bursty = Level(rate_per_s=1.8, n=10_000, bad=400, tau=40.0)
    assert proves(here, LONG, BUDGET) is None
    assert proves(here, LONG, BUDGET, higher=(near,)) is True
    assert proves(here, LONG, BUDGET, probes=(bursty,), higher=(near,)) is not True
    assert proves(replace(here, bad=300), LONG, BUDGET) is False  # it cannot come to hold
    assert proves(replace(here, bad=0, is_overloaded=True), LONG, BUDGET) is False


def test_runs_that_failed_at_hardly_more_than_the_rate_are_not_forgotten() -> None:
    lucky = Level(rate_per_s=4.0, n=6000, bad=20, tau=3.0)
    failed = Level(rate_per_s=4.01, n=3000, bad=90, tau=3.0)
    assert proves(lucky, LONG, BUDGET) is True
    assert proves(lucky, LONG, BUDGET, higher=(failed,)) is not True
    assert proves(lucky, LONG, BUDGET, higher=(replace(failed, rate_per_s=4.4),)) is True  # there it says nothing of this rate


def test_all_looks_of_a_run_together_err_no_more_than_one_would() -> None:
    """A true share of exactly the budget is proven in ERROR of runs at most, whatever the number of looks."""
    rng, proven = np.random.default_rng(3), 0
    looks = (3000, 6000, 10_000)
    run = Try(rate_per_s=1.0, looks=looks, confidence=confidences(looks))
    for _ in range(2000):
        bad = np.cumsum(rng.binomial(1000, BUDGET, 10))[[2, 5, 9]]
        proven += any(proves(Level(rate_per_s=1.0, n=n, bad=int(k), tau=1.0), run, BUDGET) for n, k in zip(looks, bad, strict=True))
    assert proven / 2000 < ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / 2000)
    assert proven / 2000 > 0.015  # and it is no idle bound


def law_levels(tau: float, slope: float = 15.0) -> list[Level]:
    """What long probes around a capacity of 4.0 a second show, where a law of two numbers holds."""
    rates = (3.5, 3.8, 4.0, 4.2)
    return [Level(rate_per_s=rate, n=40_000, bad=round(400 * (rate / 4.0) ** slope), tau=tau) for rate in rates]


def test_the_posterior_finds_the_capacity_and_slope_that_made_the_counts() -> None:
    capacity, slope, weight = posterior(law_levels(1.0), BUDGET, Bracket(low_per_s=3.8, high_per_s=4.2))
    assert weight.sum() == pytest.approx(1)
    assert math.exp(float((weight * capacity).sum())) == pytest.approx(4.0, rel=0.01)
    assert float((weight * slope).sum()) == pytest.approx(15, rel=0.1)


def test_a_try_lies_lower_where_dependence_is_stronger_above_what_is_proven_and_within_bounds() -> None:
    within = Bracket(low_per_s=3.8, high_per_s=4.2)
    calm, bursty = (best_try(law_levels(tau), BUDGET, within, None, 0) for tau in (1.0, 20.0))
    assert calm is not None
    assert bursty is not None
    assert bursty.rate_per_s < calm.rate_per_s < 4.0
    again = best_try(law_levels(1.0), BUDGET, within, 3.7, 1)
    assert again is None or again.rate_per_s > 3.7
    assert best_try(law_levels(1.0), BUDGET, within, 3.99, 1) is None  # nothing is left to gain
    narrow = best_try(law_levels(1.0), BUDGET, replace(within, highest_per_s=3.5), None, 0)
    assert narrow is not None
    assert narrow.rate_per_s <= 3.5 * (1 + 1e-9)


def test_where_no_run_could_prove_anything_one_is_tried_far_below_and_then_none() -> None:
    levels = [replace(level, tau=500.0) for level in law_levels(1.0)]
    within = Bracket(low_per_s=3.8, high_per_s=4.2)
    lowest = best_try(levels, BUDGET, within, None, 0)
    assert lowest is not None
    assert lowest.rate_per_s < 3.5
    failed = replace(levels[0], rate_per_s=lowest.rate_per_s)
    again = best_try([*levels, failed], BUDGET, within, None, 1)
    assert again is not None  # once more, further down
    assert best_try([*levels, failed, replace(failed, rate_per_s=again.rate_per_s)], BUDGET, within, None, 1) is None


def test_dependence_grows_with_the_rate_and_few_bad_requests_say_little_of_it() -> None:
    lucky = Level(rate_per_s=1.0, n=2000, bad=0, tau=30.0)
    seen = Level(rate_per_s=1.1, n=20_000, bad=300, tau=6.0)
    at = fitted_tau([lucky, seen])(np.log([0.9, 1.0, 1.1, 1.3]))
    assert np.all(np.diff(at) >= 0)
    assert at[1] == pytest.approx(6.0, rel=0.05)


def test_a_target_that_dies_half_way_is_told_so_and_no_capacity_is_made_of_it() -> None:
    rng = np.random.default_rng(2)
    asked = 0

    def answer(ask: Ask) -> Level:
        nonlocal asked
        asked += 1
        return told(1.0 if asked > 5 else mm8_bad_share(ask.rate_per_s, 3.0), ask, rng)

    result = follow(search(2.0, BUDGET), answer)
    assert result.answer is Answer.TARGET_FAILED
    assert result.certified_per_s is None
    assert "the target failed half-way" in result.note
    assert asked < 15
