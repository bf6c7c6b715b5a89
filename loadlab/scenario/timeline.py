"""Who is due when: the columns of a plan that say order and time, and which class each request belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadlab.errors import InputError
from loadlab.scenario import delays, lengths
from loadlab.scenario.arrivals import Arrivals, arrival_times_s
from loadlab.scenario.limits import MAX_REQUESTS
from loadlab.scenario.load import ClosedLoop, OpenLoop
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import NOTHING, FloatArray, IntArray
from loadlab.scenario.sessions import turns_for_requests
from loadlab.scenario.streams import Stream, class_rng, load_rng

NamedClass = tuple[str, TrafficClass]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Columns of n requests; `turn` counts from 0 within an arrival and is 0 for requests without a session. `owner`: index of class."""

    chain: IntArray
    after_seq: IntArray
    delay_after_s: FloatArray
    arrival_s: FloatArray
    stages_s: FloatArray  # what the application does before the prompt is sent; not yet part of the due times
    owner: IntArray
    turn: IntArray


def same(value: int, n: int) -> IntArray:
    """A column with one value in every row, without the memory of one."""
    column: IntArray = np.broadcast_to(np.int64(value), n)
    return column


def apportion(n: int, weights: Sequence[float]) -> IntArray:
    """n whole things by weight: int64[len(weights)], sum n. Largest remainder (Hamilton); the earlier wins a tie."""
    total = sum(weights)
    quotas = np.array([n * weight / total for weight in weights])
    counts: IntArray = np.floor(quotas).astype(np.int64)
    missing = n - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:missing]] += 1
    return counts


def open_loop(load: OpenLoop, classes: Sequence[NamedClass], seed: int) -> Timeline:
    """Arrivals in order; the turns of a session follow its arrival at once in the plan, and each other in time."""
    times, owner_of_arrival, turns_of_class = _all_arrivals(load, classes, seed)
    if all(named.turns is None for _, named in classes):
        return _single_requests(times, owner_of_arrival, classes, seed)
    planned = sum(int(turns.sum()) for turns in turns_of_class)
    if planned > MAX_REQUESTS:
        problem = f"means {planned:,} requests (the turns of {len(times):,} arrivals), and a plan holds {MAX_REQUESTS:,}"
        raise InputError(f"{problem}: shorten it, ask for fewer turns, or split the run", key="load.duration_s")
    turns = np.empty(len(times), dtype=np.int64)
    for k, turns_of in enumerate(turns_of_class):
        turns[owner_of_arrival == k] = turns_of
    chain = np.repeat(np.arange(len(times)), turns)
    starts = np.cumsum(turns) - turns
    rows = np.arange(len(chain))
    turn = rows - starts[chain]
    owner = owner_of_arrival[chain]
    return Timeline(
        chain=chain,
        after_seq=np.where(turn > 0, rows - 1, NOTHING),
        delay_after_s=_think_times(owner, turn, classes, seed),
        arrival_s=np.where(turn > 0, np.nan, times[chain]),
        stages_s=_stages(owner, turn, classes, seed),
        owner=owner,
        turn=turn,
    )


def closed_loop(load: ClosedLoop, classes: Sequence[NamedClass], seed: int) -> Timeline:
    """Request i in lane i % users, after request i - users. Lane k starts at k * ramp_up_s / users."""
    n = load.requests
    rows = np.arange(n)
    first = rows < load.users
    think_s = delays.draw(load.think_s, n, load_rng(seed, Stream.USERS_THINK))
    owner = _mixed(apportion(n, _shares(classes)), seed)
    return Timeline(
        chain=rows % load.users,
        after_seq=np.where(first, NOTHING, rows - load.users),
        delay_after_s=np.where(first, 0.0, think_s),
        arrival_s=np.where(first, rows * (load.ramp_up_s / load.users), np.nan),
        stages_s=_stages(owner, same(0, n), classes, seed),
        owner=owner,
        turn=same(0, n),
    )


def replay(times: FloatArray, classes: Sequence[NamedClass], seed: int) -> Timeline:
    """The times as they are; rows are spread over the classes by share."""
    return _single_requests(times, _mixed(apportion(len(times), _shares(classes)), seed), classes, seed)


def _single_requests(times: FloatArray, owner: IntArray, classes: Sequence[NamedClass], seed: int) -> Timeline:
    n = len(times)
    return Timeline(
        chain=np.arange(n),
        after_seq=same(NOTHING, n),
        delay_after_s=np.broadcast_to(np.float64(0), n),
        arrival_s=times,
        stages_s=_stages(owner, same(0, n), classes, seed),
        owner=owner,
        turn=same(0, n),
    )


def _all_arrivals(load: OpenLoop, classes: Sequence[NamedClass], seed: int) -> tuple[FloatArray, IntArray, list[IntArray]]:
    """Arrival times, the class of each, and the turns of each class's arrivals in order: streams of classes with a law of their own are
    merged with the common one."""
    together = [k for k, (_, c) in enumerate(classes) if c.arrivals is None]
    if len(together) == len(classes):
        times, turns = _arrivals_and_turns(load, load.arrivals, classes, seed)
        return times, _mixed([len(t) for t in turns], seed), turns
    assert load.duration_s is not None, "classes with arrivals of their own end with the load's duration"
    streams: list[FloatArray] = []
    turns_of: dict[int, IntArray] = {}
    owners: list[IntArray] = []
    if together:
        times, turns = _arrivals_and_turns(load, load.arrivals, [classes[k] for k in together], seed)
        streams, owners = [times], [np.asarray(together)[_mixed([len(t) for t in turns], seed)]]
        turns_of = dict(zip(together, turns, strict=True))
    for k, (name, c) in enumerate(classes):
        if c.arrivals is not None:
            times = arrival_times_s(c.arrivals, class_rng(seed, name, Stream.ARRIVALS), duration_s=load.duration_s)
            streams.append(times)
            owners.append(same(k, len(times)))
            turns_of[k] = _turns((name, c), len(times), seed)
    every, owner = np.concatenate(streams), np.concatenate(owners)
    order = np.argsort(every, kind="stable")
    return every[order], owner[order], [turns_of[k] for k in range(len(classes))]


def _arrivals_and_turns(
    load: OpenLoop, law: Arrivals | None, classes: Sequence[NamedClass], seed: int
) -> tuple[FloatArray, list[IntArray]]:
    """Arrival times, and the turns of each class's arrivals in order (1 without sessions).

    `requests` are apportioned by share, so counts are exact. Where only time ends the load, arrivals are apportioned by share over
    mean turns, so that requests come out by share in the mean. Where both are given and time wins, the mix stays that of `requests`.
    """
    assert law is not None, "a scenario says when its classes arrive"
    rng = load_rng(seed, Stream.ARRIVALS)
    if load.requests is None:
        times = arrival_times_s(law, rng, duration_s=load.duration_s)
        weights = [c.share / c.mean_turns for _, c in classes]
        return times, [_turns(named, int(k), seed) for named, k in zip(classes, apportion(len(times), weights), strict=True)]
    counts = apportion(load.requests, _shares(classes))
    turns = [_turns_for_requests(named, int(k), seed) for named, k in zip(classes, counts, strict=True)]
    arrivals = [len(t) for t in turns]
    times = arrival_times_s(law, rng, requests=sum(arrivals), duration_s=load.duration_s)
    if len(times) == sum(arrivals):
        return times, turns
    return times, [t[:k] for t, k in zip(turns, apportion(len(times), arrivals), strict=True)]


def _turns(named: NamedClass, arrivals: int, seed: int) -> IntArray:
    name, traffic_class = named
    if traffic_class.turns is None:
        return same(1, arrivals)
    law, more = traffic_class.turns
    return lengths.draw(law, arrivals, class_rng(seed, name, Stream.TURNS)) + more


def _turns_for_requests(named: NamedClass, requests: int, seed: int) -> IntArray:
    name, traffic_class = named
    if traffic_class.turns is None:
        return same(1, requests)
    law, more = traffic_class.turns
    return turns_for_requests(law, requests, class_rng(seed, name, Stream.TURNS), more)


def _think_times(owner: IntArray, turn: IntArray, classes: Sequence[NamedClass], seed: int) -> FloatArray:
    think_s = np.zeros(len(owner))
    for k, (name, traffic_class) in enumerate(classes):
        if traffic_class.sessions is not None:
            follows = (owner == k) & (turn > 0)
            rng = class_rng(seed, name, Stream.THINK)
            think_s[follows] = delays.draw(traffic_class.sessions.think_s, int(follows.sum()), rng)
    return think_s


def _stages(owner: IntArray, turn: IntArray, classes: Sequence[NamedClass], seed: int) -> FloatArray:
    """Seconds between what a request waits for and its prompt being sent: searching and reranking; for an agent's later calls, the tool."""
    if all(not c.stages for _, c in classes):
        return np.broadcast_to(np.float64(0), len(owner))
    stages_s = np.zeros(len(owner))
    for k, (name, traffic_class) in enumerate(classes):
        laws = traffic_class.stages
        rows = np.flatnonzero((owner == k) & (turn >= (traffic_class.agent is not None)))
        for law, rng in zip(laws, class_rng(seed, name, Stream.STAGES).spawn(len(laws)), strict=True):
            stages_s[rows] += delays.draw(law, len(rows), rng)
    return stages_s


def _shares(classes: Sequence[NamedClass]) -> list[float]:
    return [traffic_class.share for _, traffic_class in classes]


def _mixed(counts: Sequence[int] | NDArray[np.int64], seed: int) -> IntArray:
    """Class indices, counts[k] times k, in random order."""
    if len(counts) == 1:
        return same(0, int(counts[0]))
    return load_rng(seed, Stream.MIX).permutation(np.repeat(np.arange(len(counts)), counts))
