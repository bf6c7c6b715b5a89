"""Fits of loads whose law is known, and of the published slices: what is chosen, what is called bad, what the scenario generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadlab.analysis.fit_lengths import fit_lengths, histogram
from loadlab.analysis.fit_reuse import common_tokens, fit_reuse, hits_of
from loadlab.analysis.fit_states import fit_states
from loadlab.analysis.goodness import ks_distance
from loadlab.analysis.trace_fit import TraceFit, fit_trace, plan_hit_ratio
from loadlab.errors import InputError
from loadlab.report.trace_fit import scenario_text, verdict
from loadlab.scenario import lengths
from loadlab.scenario.arrivals import Mmpp, Poisson, arrival_times_s
from loadlab.scenario.build import build_plan
from loadlab.scenario.distribution import mean
from loadlab.scenario.files import load_scenario
from loadlab.scenario.traces import Blocks, TraceColumns, load_trace

SLICES = Path(__file__).parents[3] / "shared" / "data" / "traces"


def columns(times: np.ndarray, seed: int = 1, **more: object) -> TraceColumns:
    rng = np.random.default_rng(seed)
    n = len(times)
    prompt = np.minimum(rng.lognormal(6, 1, n).astype(np.int64) + 1, 4000)
    return TraceColumns(
        arrival_s=times,
        prompt_tokens=prompt,
        output_tokens=rng.geometric(0.01, n),
        line=np.arange(n) + 2,
        **more,  # type: ignore[arg-type]
    )


def slice_of(name: str) -> TraceColumns:
    if not (SLICES / name).exists():
        pytest.skip(f"the trace slices are not here: {SLICES}")
    return load_trace(SLICES / name)


def assert_like(fit: TraceFit) -> None:
    """Within what is asked of a fit: rate 10 %, dispersion a factor of 2, bursts 30 %, KS 0.12, prefix hits 5 points."""
    like = fit.likeness
    assert like.arrivals.rate_ratio == pytest.approx(1, abs=0.1)
    for wanted, found in zip(fit.bursts, like.arrivals.bursts, strict=True):
        assert 0.5 <= found.dispersion / wanted.dispersion <= 2
        assert found.burst_factor == pytest.approx(wanted.burst_factor, rel=0.3)
    assert max(like.prompt_ks, like.output_ks) <= 0.12
    assert fit.hit_ratio is None or like.hit_ratio == pytest.approx(fit.hit_ratio, abs=0.05)


def test_poisson_arrivals_are_told_to_be_poisson() -> None:
    times = arrival_times_s(Poisson(rate_per_s=5), np.random.default_rng(1), duration_s=1200)
    fit = fit_trace(columns(times), name="calm")
    assert fit.is_good
    assert next(tried for tried in fit.tried if tried.name == "poisson").is_good
    assert fit.chosen.parameters <= 4
    assert_like(fit)


@pytest.fixture(scope="module")
def bursty() -> TraceColumns:
    law = Mmpp(rates_per_s=(0.5, 25.0), dwell_s=(60.0, 15.0))
    return columns(arrival_times_s(law, np.random.default_rng(7), duration_s=1800))


def test_a_poisson_fit_of_bursts_is_called_bad_and_what_it_takes_is_said(bursty: TraceColumns) -> None:
    fit = fit_trace(bursty, name="bad", family="poisson")
    assert not fit.is_good
    words = "\n".join(verdict(fit))
    assert "NOT A GOOD FIT" in words
    assert "dispersion at 60 s" in words
    assert "times under" in words
    assert "what it would take: " in words


def test_bursts_are_fitted_by_states_or_steps_and_the_file_generates_them_anew(bursty: TraceColumns, tmp_path: Path) -> None:
    fit = fit_trace(bursty, name="bursts")
    assert fit.is_good
    assert fit.chosen.family in ("mmpp", "steps")
    assert_like(fit)
    path = tmp_path / "bursts.toml"
    path.write_text(scenario_text(fit, "some\x1btrace\n.csv"))
    assert load_scenario(path) == fit.scenario
    assert "\x1b" not in path.read_text()


def test_hidden_states_find_the_rates_that_were_put_in() -> None:
    law = Mmpp(rates_per_s=(1.0, 20.0), dwell_s=(50.0, 20.0))
    times = arrival_times_s(law, np.random.default_rng(3), duration_s=3000)
    fit = fit_states(times, 3000, 2)
    assert fit is not None
    assert sorted(fit.law.rates_per_s) == pytest.approx([1, 20], rel=0.15)
    assert sorted(fit.law.dwell_s) == pytest.approx([20, 50], rel=0.4)
    assert fit.law.rate_per_s == pytest.approx(len(times) / 3000, rel=1e-3)


def test_lengths_keep_their_caps_and_their_mean() -> None:
    rng = np.random.default_rng(1)
    tokens = np.minimum(np.where(rng.random(20_000) < 0.5, rng.lognormal(4, 0.3, 20_000), rng.lognormal(8, 0.9, 20_000)), 7436).astype(int)
    chosen, tried = fit_lengths(tokens)
    assert chosen.ks < 0.03
    assert chosen.mean_ratio == pytest.approx(1, abs=0.02)
    assert {fit.name for fit in tried} == {"histogram", "lognormal", "gamma", "weibull", "two lognormals"}
    drawn = lengths.draw(histogram(tokens), 20_000, rng)
    assert (drawn == 7436).mean() == pytest.approx((tokens == 7436).mean(), abs=0.01)
    assert drawn.max() == 7436
    assert mean(histogram(tokens)) == pytest.approx(tokens.mean(), rel=0.01)
    plain = np.maximum(1, np.rint(rng.lognormal(6, 0.5, 20_000))).astype(int)
    assert fit_lengths(plain)[0].name != "histogram"
    assert fit_lengths(np.full(10, 5))[0].law == lengths.Constant(value=5)


def test_prompts_that_repeat_earlier_ones_are_hit_as_often() -> None:
    rng = np.random.default_rng(2)
    ids, offsets, prompts, fresh = [], [0], [], 1
    chats: list[list[int]] = []
    for _ in range(2000):
        if chats and rng.random() < 0.6:
            chat = chats[int(rng.integers(max(0, len(chats) - 50), len(chats)))]
        else:
            chat = [0]
            chats.append(chat)
        for _ in range(int(rng.integers(1, 6))):
            chat.append(fresh)
            fresh += 1
        ids += chat
        offsets.append(len(ids))
        prompts.append(16 * len(chat) - int(rng.integers(0, 16)))
    blocks = Blocks(tokens=16, offsets=np.array(offsets), ids=np.array(ids))
    assert common_tokens(blocks) == 16
    hits = hits_of(blocks, np.array(prompts))
    found = fit_reuse(hits, blocks)
    assert found is not None
    assert found[1] == pytest.approx(hits.ratio, abs=0.05)
    times = np.cumsum(rng.exponential(0.2, 2000))
    trace = TraceColumns(
        arrival_s=times, prompt_tokens=np.array(prompts), output_tokens=np.full(2000, 9), line=np.arange(2000), blocks=blocks
    )
    fit = fit_trace(trace, name="chats")
    assert plan_hit_ratio(build_plan(fit.scenario, 9)) == pytest.approx(hits.ratio, abs=0.05)


def test_sorts_become_classes_with_lengths_of_their_own() -> None:
    times = arrival_times_s(Poisson(rate_per_s=5), np.random.default_rng(1), duration_s=400)
    label = np.arange(len(times)) % 2
    label[:3] = 2
    trace = columns(times, labels=("chat model/x", "", "rare"), label=label)
    fit = fit_trace(trace, name="sorts")
    assert set(fit.scenario.classes) == {"chat-model-x", "plain", "others"}
    assert fit.scenario.classes["others"].share == 3


def test_too_few_rows_are_an_error_in_words() -> None:
    with pytest.raises(InputError, match="a fit takes at least 30"):
        fit_trace(columns(np.arange(5.0)), name="few")
    with pytest.raises(InputError, match="at different times"):
        fit_trace(columns(np.zeros(50)), name="once")


def test_ks_distance_is_that_of_scipy() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(1)
    a, b = rng.poisson(5, 500), rng.poisson(6, 300)
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


@pytest.mark.parametrize(
    "name", ["azure/AzureLLMInferenceTrace_code.csv", "azure/AzureLLMInferenceTrace_conv.csv", "mooncake/conversation_trace.jsonl"]
)
def test_the_slices_are_fitted_within_what_is_asked(name: str) -> None:
    fit = fit_trace(slice_of(name), name="slice")
    assert fit.is_good, fit.misses
    assert_like(fit)


def test_a_poisson_fit_of_the_code_slice_is_called_bad() -> None:
    fit = fit_trace(slice_of("azure/AzureLLMInferenceTrace_code.csv"), name="code", family="poisson")
    assert "NOT A GOOD FIT" in verdict(fit)[0]
