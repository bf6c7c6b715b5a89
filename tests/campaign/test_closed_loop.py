"""A closed loop in plain constants, judged by what can be worked out in the head."""

from __future__ import annotations

import pytest

from loadlab.campaign.closed_loop import ClosedLoopWork, run_closed_loop
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec


def cluster(max_running: int = 256) -> SimulatedCluster:
    hardware = PlainConstants(step_s=0.01, kv_tokens=10**6)
    engine = EngineLimits(max_running=max_running, max_batched_tokens=10**6, prefix_caching=False)
    return SimulatedCluster(ClusterSpec(name="c", pools={"p": PoolSpec(serves=("m",), hardware=hardware, engine=engine)}))


def test_everybody_starts_at_once_and_shares_steps() -> None:
    """A step takes 10 ms whatever is in it: the first token after one, eleven tokens after eleven."""
    work = ClosedLoopWork(clients=8, requests=8, prompt_tokens=100, output_tokens=11)
    means = run_closed_loop(cluster(), work)
    assert (means.served, means.failed) == (8, 0)
    assert means.ttft_s == pytest.approx(0.01, abs=1e-9)
    assert means.tpot_s == pytest.approx(0.01, abs=1e-9)
    assert means.output_tok_s(work) == pytest.approx(8 * 11 / 0.11)


def test_the_start_up_burst_waits_where_places_are_few() -> None:
    """Two places, four clients, one request each of eleven tokens: two start at once, two wait 110 ms."""
    means = run_closed_loop(cluster(max_running=2), ClosedLoopWork(clients=4, requests=4, prompt_tokens=10, output_tokens=11))
    assert means.ttft_s == pytest.approx((2 * 0.01 + 2 * 0.12) / 4, rel=1e-6)


def test_a_client_sends_its_next_request_when_its_last_one_ends() -> None:
    """Three requests of one client, one after the other: 330 ms in all, and none waits for another."""
    means = run_closed_loop(cluster(), ClosedLoopWork(clients=1, requests=3, prompt_tokens=10, output_tokens=11))
    assert means.served == 3
    assert means.e2e_s == pytest.approx(0.11, abs=1e-9)


def test_lengths_are_drawn_between_the_spread_and_the_nominal_ones() -> None:
    """From 80 to 100 tokens each: the mean end lies near 90 steps, and equal seeds draw equal lengths."""
    work = ClosedLoopWork(clients=4, requests=400, prompt_tokens=10, output_tokens=100, spread=0.8)
    first, second = run_closed_loop(cluster(), work, seed=3), run_closed_loop(cluster(), work, seed=3)
    assert first == second
    assert first.e2e_s == pytest.approx(0.9, rel=0.02)


def test_nobody_served_is_an_error() -> None:
    with pytest.raises(ValueError, match="no request was served"):
        run_closed_loop(cluster(), ClosedLoopWork(clients=1, requests=1, prompt_tokens=2 * 10**6, output_tokens=10))
