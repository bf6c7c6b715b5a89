"""A search told what closed forms say finds their root; told nonsense it says so."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from loadlab.planning.capacity_curve import fit_capacity
from loadlab.planning.levels import Level, level_of
from loadlab.planning.search import Answer, Ask, Finding, judge_certificate, not_monotone, search
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


def test_a_target_that_does_better_at_higher_rates_is_told_so() -> None:
    rng = np.random.default_rng(1)

    def share(rate: float) -> float:
        return 0.2 if 2.2 < rate < 2.7 or rate > 4 else 0.0  # holds at 2, fails at 2.5, holds at 3.2

    result = follow(search(2.0, BUDGET), lambda ask: told(share(ask.rate_per_s), ask, rng))
    assert result.answer in (Answer.CERTIFIED, Answer.NOT_MONOTONE)
    seen = [probe.level for probe in result.probes]
    assert (result.answer is Answer.NOT_MONOTONE) == (not_monotone(seen, BUDGET) is not None)


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


def test_a_certificate_counts_failed_ones_at_higher_rates_and_never_less_dependence_than_seen() -> None:
    near = Level(rate_per_s=2.0, n=10_000, bad=70, tau=2.0)
    here = Level(rate_per_s=1.9, n=10_000, bad=74, tau=2.0)
    assert judge_certificate(here, BUDGET) is None
    assert judge_certificate(here, BUDGET, (near,)) is Finding.HOLDS
    assert judge_certificate(here, BUDGET, (near,), least_tau=20) is not Finding.HOLDS


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
