"""Apportionment, lanes of a closed loop, sessions in an open loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.scenario import arrivals, delays, lengths
from loadlab.scenario.load import ClosedLoop, OpenLoop
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.sessions import Sessions
from loadlab.scenario.timeline import apportion, closed_loop, open_loop

CHAT = TrafficClass(model="m", prompt_tokens=lengths.Constant(value=10), output_tokens=lengths.Constant(value=5))
THREE_TURNS = TrafficClass(
    model="m",
    prompt_tokens=lengths.Constant(value=10),
    output_tokens=lengths.Constant(value=5),
    sessions=Sessions(turns=lengths.Constant(value=3), think_s=delays.Constant(value_s=7)),
)


@pytest.mark.parametrize(
    ("n", "weights", "counts", "why"),
    [
        (450, [2, 1], [300, 150], "divides exactly"),
        (10, [1, 1, 1], [4, 3, 3], "a tie goes to the earlier"),
        (10, [0.55, 0.45], [6, 4], "largest remainder, a tie again"),
        (3, [98, 1, 1], [3, 0, 0], "a small share may get nothing"),
        (0, [1, 1], [0, 0], "nothing to give"),
    ],
)
def test_whole_requests_are_apportioned_by_largest_remainder(n: int, weights: list[float], counts: list[int], why: str) -> None:
    assert apportion(n, weights).tolist() == counts, why


@given(st.integers(0, 100_000), st.lists(st.floats(0.001, 1000), min_size=1, max_size=8))
def test_apportioned_counts_sum_exactly_and_stay_within_one_of_their_quota(n: int, weights: list[float]) -> None:
    counts = apportion(n, weights)
    assert counts.sum() == n
    assert np.all(np.abs(counts - n * np.array(weights) / sum(weights)) < 1 + 1e-6)


def test_closed_loop_deals_requests_to_lanes_in_turn() -> None:
    load = ClosedLoop(users=2, requests=5, think_s=delays.Constant(value_s=3), ramp_up_s=10)
    lines = closed_loop(load, [("chat", CHAT)], seed=1)
    assert lines.chain.tolist() == [0, 1, 0, 1, 0]
    assert lines.after_seq.tolist() == [-1, -1, 0, 1, 2]
    assert lines.delay_after_s.tolist() == [0, 0, 3, 3, 3]
    assert lines.arrival_s[:2].tolist() == [0, 5]
    assert np.isnan(lines.arrival_s[2:]).all()


def test_closed_loop_with_more_users_than_requests_leaves_lanes_empty() -> None:
    lines = closed_loop(ClosedLoop(users=9, requests=2), [("chat", CHAT)], seed=1)
    assert lines.chain.tolist() == [0, 1]
    assert lines.arrival_s.tolist() == [0, 0]


def test_sessions_follow_their_arrival_and_the_last_one_is_cut() -> None:
    load = OpenLoop(arrivals=arrivals.Constant(rate_per_s=1), requests=7)
    lines = open_loop(load, [("chat", THREE_TURNS)], seed=1)
    assert lines.chain.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert lines.turn.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert lines.after_seq.tolist() == [-1, 0, 1, -1, 3, 4, -1]
    assert lines.delay_after_s.tolist() == [0, 7, 7, 0, 7, 7, 0]
    assert lines.arrival_s[[0, 3, 6]].tolist() == [0, 1, 2]


def test_sessions_beside_single_requests_keep_the_exact_shares_of_requests() -> None:
    load = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=1), requests=100)
    lines = open_loop(load, [("chat", CHAT), ("talk", THREE_TURNS)], seed=1)
    assert np.bincount(lines.owner).tolist() == [50, 50]
    assert lines.chain[-1] + 1 == 50 + 17  # 16 whole sessions and one of two turns


def test_a_load_ended_by_time_offers_the_shares_of_requests_in_the_mean() -> None:
    load = OpenLoop(arrivals=arrivals.Constant(rate_per_s=4), duration_s=100)
    lines = open_loop(load, [("chat", CHAT), ("talk", THREE_TURNS)], seed=1)
    assert lines.chain[-1] + 1 == 400  # arrivals: 300 single requests, 100 sessions of three
    assert np.bincount(lines.owner).tolist() == [300, 300]


def test_time_that_ends_before_the_requests_keeps_whole_sessions_and_the_mix() -> None:
    load = OpenLoop(arrivals=arrivals.Constant(rate_per_s=1), requests=600, duration_s=40)
    lines = open_loop(load, [("chat", CHAT), ("talk", THREE_TURNS)], seed=1)
    assert lines.chain[-1] + 1 == 40
    assert np.bincount(lines.owner).tolist() == [30, 30]
