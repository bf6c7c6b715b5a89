"""Lengths that go together: rank correlation as stated, laws as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.distribution import cdf
from loadlab.scenario.joint import Copula, Pairs, draw_copula, draw_pairs
from loadlab.scenario.lengths import Gamma, Lognormal, Uniform
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass

PROMPT, OUTPUT = Lognormal(median=1000, sigma=0.9), Gamma(mean=300, cv=1.2, min=20, max=1500)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.3, 0.9])
def test_a_copula_has_the_rank_correlation_and_leaves_the_laws_alone(correlation: float) -> None:
    prompts, outputs = draw_copula(Copula(correlation=correlation), PROMPT, OUTPUT, 20_000, (default_rng(1), default_rng(2)))
    assert stats.spearmanr(prompts, outputs).statistic == pytest.approx(correlation, abs=4 / np.sqrt(20_000))
    for law, found in ((PROMPT, prompts), (OUTPUT, outputs)):
        at = np.quantile(found, [0.1, 0.3, 0.5, 0.7, 0.9])
        for value in np.floor(at):
            share = float(cdf(law, np.array([value]))[0])  # type: ignore[arg-type]
            assert stats.binomtest(int(np.sum(found <= value)), len(found), share).pvalue > 0.001


def test_pairs_come_by_weight_and_stay_pairs() -> None:
    prompts, outputs = draw_pairs(Pairs(values=((10, 1), (20, 2), (30, 3)), weights=(5, 3, 2)), 10_000, default_rng(1))
    np.testing.assert_array_equal(prompts, outputs * 10)
    assert stats.chisquare(np.bincount(outputs)[1:], [5000, 3000, 2000]).pvalue > 0.001


def test_a_class_with_a_copula_keeps_its_prompts_when_the_answers_law_changes() -> None:
    chat = TrafficClass(model="m", prompt_tokens=PROMPT, output_tokens=OUTPUT, joint=Copula(correlation=0.5))
    load = OpenLoop(arrivals=Poisson(rate_per_s=1), requests=200)
    plans = [
        build_plan(Scenario(name="t", load=load, classes={"chat": c}), 1)
        for c in (chat, replace(chat, output_tokens=Uniform(min=1, max=9)), replace(chat, joint=Copula(correlation=-0.5)))
    ]
    for plan in plans[1:]:
        np.testing.assert_array_equal(plan.prompt_tokens, plans[0].prompt_tokens)
        assert plan.digest != plans[0].digest
    longer = build_plan(Scenario(name="t", load=replace(load, requests=300), classes={"chat": chat}), 1)
    np.testing.assert_array_equal(longer.output_tokens[:200], plans[0].output_tokens)


def test_a_class_may_take_its_lengths_in_pairs() -> None:
    chat = TrafficClass(model="m", joint=Pairs(values=((10, 1), (20, 2))))
    plan = build_plan(Scenario(name="t", load=OpenLoop(arrivals=Poisson(rate_per_s=1), requests=50), classes={"chat": chat}), 1)
    np.testing.assert_array_equal(plan.prompt_tokens, plan.output_tokens * 10)
