"""Main requests and the steps around them: which rows there are, in which order, and when each is due.

Around a main request stand, in this order: route, embed, MAIN, checks, arbiter, expert. The first waits for what the main request
waits for; each later one for the end of the one before it, but checks are due with their main request, and an arbiter waits for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadlab.errors import InputError
from loadlab.scenario.applications import STEPS, Step
from loadlab.scenario.limits import MAX_REQUESTS
from loadlab.scenario.plan import NOTHING, IntArray
from loadlab.scenario.streams import Stream, class_rng
from loadlab.scenario.timeline import NamedClass, Timeline, apportion

ROUTE, EMBED, MAIN, CHECK, ARBITER, EXPERT = (STEPS.index(step) for step in Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Rows of a plan in which every main request has its steps around it. `main`: the main request (row of the timeline before) that a row
    belongs to; `step`: index into STEPS; `check`: which check it is, from 0. `timeline` has the due times of all rows."""

    timeline: Timeline
    main: IntArray
    step: IntArray
    check: IntArray
    after_count: IntArray  # how many rows, up to after_seq, a row waits for


def has_steps(classes: Sequence[NamedClass]) -> bool:
    """True if any class sends more than its main requests."""
    return any(c.steps != (Step.MAIN,) for _, c in classes)


def lay_out(lines: Timeline, classes: Sequence[NamedClass], seed: int) -> Layout:
    """The rows of a plan with all steps. Raises InputError if they are more than MAX_REQUESTS."""
    counts = _counts(lines, classes, seed)
    sizes = counts.sum(axis=1)
    n = int(sizes.sum())
    if n > MAX_REQUESTS:
        raise InputError(f"means {n:,} requests with all steps, and a plan holds {MAX_REQUESTS:,}: split the run", key="load")
    starts = np.cumsum(sizes) - sizes
    main = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(n) - starts[main]
    upto = np.cumsum(counts, axis=1)
    step = (place[:, np.newaxis] >= upto[main]).sum(axis=1)
    check = np.where(step == CHECK, place - upto[main, MAIN], NOTHING)
    return _due(lines, main, step, check, starts, sizes, upto[:, EMBED])


def _counts(lines: Timeline, classes: Sequence[NamedClass], seed: int) -> IntArray:
    """How many rows of each step every main request has: int64[main requests, steps]."""
    counts = np.zeros((len(lines.owner), len(STEPS)), dtype=np.int64)
    counts[:, MAIN] = 1
    is_last = np.append(lines.turn[1:] == 0, True)
    for k, (name, c) in enumerate(classes):
        mine = lines.owner == k
        if c.router is not None:
            counts[mine & (lines.turn == 0), ROUTE] = 1
        if c.rag is not None and c.rag.embed_model is not None:
            counts[mine, EMBED] = 1
        if c.fan_out is not None:
            asked = _some(mine, c.fan_out.share, seed, name, Stream.FAN_OUT)
            counts[asked, CHECK] = len(c.fan_out.models)
            counts[asked, ARBITER] = int(c.fan_out.arbiter is not None)
        if c.escalation is not None:
            counts[_some(mine & is_last, c.escalation.share, seed, name, Stream.ESCALATION), EXPERT] = 1
    return counts


def _some(rows: NDArray[np.bool_], share: float, seed: int, name: str, stream: Stream) -> IntArray:
    """An exact share of rows, any of them equally likely."""
    candidates = np.flatnonzero(rows)
    chosen = apportion(len(candidates), [share, 1 - share])[0]
    picked: IntArray = candidates[class_rng(seed, name, stream).permutation(len(candidates))[:chosen]]
    return picked


def _due(
    lines: Timeline, main: IntArray, step: IntArray, check: IntArray, starts: IntArray, sizes: IntArray, before_main: IntArray
) -> Layout:
    """When each row is due: see the module's first lines. A row that waits for nothing but the clock has its main request's arrival."""
    rows = np.arange(len(main))
    leader = np.where(check >= 0, starts[main] + before_main[main], rows)  # checks are due as their main request is
    is_first = leader == starts[main]
    base_after = lines.after_seq[main]
    last = starts + sizes - 1
    after = np.where(is_first, np.where(base_after == NOTHING, NOTHING, last[base_after]), leader - 1)
    has_stage = (step == MAIN) | (step == CHECK)
    stages_s = np.where(has_stage, lines.stages_s[main], 0.0)
    waits_s = np.where(is_first, lines.delay_after_s[main], 0.0) + stages_s
    arrival_s = np.where(is_first, lines.arrival_s[main] + stages_s, np.nan)
    timeline = Timeline(
        chain=lines.chain[main],
        after_seq=after,
        delay_after_s=np.where(after == NOTHING, 0.0, waits_s),
        arrival_s=arrival_s,
        stages_s=stages_s,
        owner=lines.owner[main],
        turn=lines.turn[main],
    )
    is_arbiter = step == ARBITER
    checks = np.bincount(main, weights=check >= 0).astype(np.int64)[main]
    return Layout(
        timeline=timeline, main=main, step=step, check=check, after_count=np.where(after == NOTHING, 0, np.where(is_arbiter, 1 + checks, 1))
    )


def in_order_of_due_times(lines: Timeline, classes: Sequence[NamedClass]) -> Timeline:
    """The timeline with stages before first requests counted in: chains sorted by when their first request is sent, rows of a chain kept
    in their order. Where a step comes first, that is sent at once."""
    waits = np.array([c.steps[0] is Step.MAIN for _, c in classes])
    sent_s = lines.arrival_s + np.where(waits[lines.owner], lines.stages_s, 0.0)
    firsts = np.flatnonzero(~np.isnan(lines.arrival_s))
    if np.all(sent_s[firsts][1:] >= sent_s[firsts][:-1]):  # not a difference: both may be infinite, which check_span refuses
        return lines
    of_chain = np.empty(int(lines.chain.max()) + 1)
    of_chain[lines.chain[firsts]] = sent_s[firsts]
    order = np.argsort(of_chain[lines.chain], kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    after = lines.after_seq[order]
    return Timeline(
        chain=lines.chain[order],
        after_seq=np.where(after == NOTHING, NOTHING, place[after]),
        delay_after_s=lines.delay_after_s[order],
        arrival_s=lines.arrival_s[order],
        stages_s=lines.stages_s[order],
        owner=lines.owner[order],
        turn=lines.turn[order],
    )
