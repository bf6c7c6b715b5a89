"""How many replicas, who dominates whom, and what is on the front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.planning.levels import Level
from loadlab.planning.plan_search import (
    Edge,
    Judged,
    Point,
    Seen,
    Steps,
    best,
    dominators,
    fewest_in_a_fleet,
    front,
    halving,
    stepping,
)


def asked(steps: Steps, least_that_holds: int) -> tuple[int | None, list[int]]:
    """What a search returns where so many hold and fewer do not, and what it asked."""
    tried = [next(steps)]
    while True:
        try:
            tried.append(steps.send(tried[-1] >= least_that_holds))
        except StopIteration as end:
            return end.value, tried


@given(st.integers(1, 200), st.integers(1, 300))
def test_halving_finds_the_fewest_that_hold(most: int, least: int) -> None:
    found, tried = asked(halving(most), least)
    assert found == (least if least <= most else None)
    assert len(tried) <= 1 + most.bit_length()
    assert len(set(tried)) == len(tried)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 300), st.integers(1, 20))
def test_stepping_finds_it_from_anywhere_and_asks_nothing_twice(most: int, first: int, holds: int, floor: int) -> None:
    least = min(floor, most)
    found, tried = asked(stepping(first, least, most), holds)
    assert found == (max(holds, least) if holds <= most else None)
    assert len(set(tried)) == len(tried)
    assert all(least <= n <= most for n in tried)


def test_a_good_guess_is_confirmed_in_two_looks() -> None:
    assert asked(stepping(5, 1, 64), 5) == (5, [5, 4])


def edge(ttft_s: float, tpot_s: float, bad: int = 0) -> Edge:
    level = Level(rate_per_s=1.0, n=1000, bad=bad, tau=1.0)
    return Edge(level=level, ttft_s=ttft_s, tpot_s=tpot_s, e2e_s=10.0, worst="ttft", excess=-0.5)


def judged(name: str, usd: float, ttft_s: float, tpot_s: float, replicas: int = 1) -> Judged:
    seen = Seen(replicas=replicas, median=edge(ttft_s, tpot_s), edge=edge(ttft_s, tpot_s))
    at_least = usd * max(1, replicas - 1) / replicas
    return Judged(name=name, replicas=replicas, seen=seen, usd_per_hour=usd, usd_per_hour_at_least=at_least)


def test_what_costs_more_and_is_clearly_slower_in_everything_is_dominated() -> None:
    fast, slow = judged("fast", 1.0, 0.5, 0.02), judged("slow", 4.0, 1.0, 0.04)
    assert dominators([slow, fast]) == {"slow": "fast"}


@pytest.mark.parametrize(
    ("usd", "ttft_s", "tpot_s", "replicas", "why"),
    [
        (4.0, 0.4, 0.04, 1, "it is faster to the first token"),
        (4.0, 0.6, 0.04, 1, "0.6 s is not clearly worse than 0.5 s in a short run"),
        (1.5, 1.0, 0.04, 1, "the other may need a replica more, and then costs 2"),
        (4.0, 1.0, 0.04, 2, "it may need a replica fewer, and then costs 2: no more than the other with one more"),
    ],
)
def test_what_chance_may_turn_round_is_not(usd: float, ttft_s: float, tpot_s: float, replicas: int, why: str) -> None:
    fast, other = judged("fast", 1.1, 0.5, 0.02), judged("other", usd, ttft_s, tpot_s, replicas)
    assert dominators([fast, other]) == {}, why


def test_the_best_is_the_cheapest_then_the_quickest() -> None:
    found = best([judged("b", 2.0, 0.3, 0.02), judged("a", 2.0, 0.4, 0.02), judged("c", 3.0, 0.1, 0.01)])
    assert found is not None
    assert found.name == "b"
    assert best([]) is None


def test_a_fleet_may_need_fewer_than_its_replicas_alone() -> None:
    assert [fewest_in_a_fleet(n) for n in (1, 2, 3, 4, 8, 16)] == [1, 2, 3, 3, 6, 12]


def test_an_edge_holds_by_what_was_seen_and_is_proven_by_its_bound() -> None:
    assert edge(1.0, 0.1, bad=9).holds(0.01)
    assert not edge(1.0, 0.1, bad=9).is_proven(0.01)  # Clopper and Pearson at 95 %: 1.57 % of 1,000
    assert edge(1.0, 0.1, bad=3).is_proven(0.01)
    assert not edge(1.0, 0.1, bad=11).surely_fails(0.01)
    assert edge(1.0, 0.1, bad=40).surely_fails(0.01)


point = st.builds(
    Point,
    name=st.text("abc", min_size=1, max_size=3),
    usd_per_hour=st.floats(1, 100),
    ttft_s=st.floats(0.1, 10),
    tpot_s=st.floats(0.01, 1),
    goodput_per_s=st.floats(0.1, 10),
)


@given(st.lists(point, max_size=12))
def test_the_front_has_the_cheapest_and_nothing_that_another_beats_clearly(points: list[Point]) -> None:
    found = front(points)
    assert bool(found) == bool(points)
    if points:
        assert min(p.usd_per_hour for p in found) == min(p.usd_per_hour for p in points)
    for one in points:
        for other in found:
            beats = one.usd_per_hour <= other.usd_per_hour and one.goodput_per_s >= other.goodput_per_s
            beats = beats and (one.ttft_s or 0) < (other.ttft_s or 0) and (one.tpot_s or 0) < (other.tpot_s or 0)
            assert not beats or one.usd_per_hour == other.usd_per_hour
