"""A trace at another rate: stretched, thinned or superposed; and a trace whose clock ticks slowly, spread over its ticks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario.limits import MAX_REQUESTS
from loadlab.scenario.load import Replay, Rescale
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.scenario.streams import Stream, load_rng
from loadlab.scenario.traces import TraceColumns

ON_TICK = 1e-3  # of a tick: how far from whole ticks a time may lie that still counts as one


def reshaped(trace: TraceColumns, load: Replay, seed: int) -> TraceColumns:
    """The rows that a replay sends: `trace` as it is, unless the load asks for another rate or finer times.

    Raises InputError if the rows do not lie on the ticks that the load names, or become more than a plan holds.
    """
    rng = load_rng(seed, Stream.REPLAY)
    if load.dequantize_s is not None:
        trace = _dequantized(trace, load.dequantize_s, rng)
    if load.rate_factor == 1:
        return trace
    match load.rescale:
        case Rescale.STRETCH:
            return replace(trace, arrival_s=trace.arrival_s / load.rate_factor)
        case Rescale.THIN:
            rows = _some(len(trace), load.rate_factor, rng)
            return _rows_of(trace, rows, trace.arrival_s[rows])
        case Rescale.SUPERPOSE:
            return _superposed(trace, load.rate_factor, load.for_s, rng)
        case _:
            assert_never(load.rescale)


def _dequantized(trace: TraceColumns, tick_s: float, rng: Generator) -> TraceColumns:
    """Each row anywhere in its tick. Rows keep their order: the times of a tick are drawn together and sorted."""
    ticks = (trace.arrival_s - trace.arrival_s[0]) / tick_s
    off = np.abs(ticks - np.rint(ticks)) > ON_TICK
    if off.any():
        where = f"line {trace.line[int(np.argmax(off))]} lies {ticks[int(np.argmax(off))]:.6g} ticks after the first row"
        raise InputError(f"= {tick_s} s must be the tick of the trace's clock, and {where}", key="load.dequantize_s")
    return replace(trace, arrival_s=np.sort(trace.arrival_s[0] + (np.rint(ticks) + rng.random(len(ticks))) * tick_s))


def _superposed(trace: TraceColumns, factor: float, for_s: float | None, rng: Generator) -> TraceColumns:
    """The trace, whole copies of it, and a part for the rest of the factor; each but the first turned round within the window."""
    n, copies = len(trace), math.floor(factor)
    if n * factor > MAX_REQUESTS:
        raise InputError(f"= {factor} means {n * factor:,.0f} requests, and a plan holds {MAX_REQUESTS:,}", key="load.rate_factor")
    span_s = for_s or float(trace.arrival_s[-1]) * (n + 1) / n or 1.0
    every = np.arange(n)
    parts = [every] * copies + [_some(n, factor - copies, rng)]
    turns_s = np.concatenate(([0.0], rng.random(copies) * span_s))
    rows = np.concatenate(parts)
    times = np.concatenate([_turned(trace.arrival_s[part], turn_s, span_s) for part, turn_s in zip(parts, turns_s, strict=True)])
    order = np.argsort(times, kind="stable")
    copy = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return _rows_of(trace, rows[order], times[order], copy[order])


def _turned(times: FloatArray, by_s: float, span_s: float) -> FloatArray:
    return times if by_s == 0 else (times + by_s) % span_s


def _some(n: int, share: float, rng: Generator) -> IntArray:
    """The nearest whole number to share * n of n rows, in order, each subset equally likely."""
    rows: IntArray = np.sort(rng.permutation(n)[: round(share * n)])
    return rows


def _rows_of(trace: TraceColumns, rows: IntArray, arrival_s: FloatArray, copy: IntArray | None = None) -> TraceColumns:
    if not len(rows):
        raise InputError("leaves no row of the trace: raise it", key="load.rate_factor")
    return trace.of_rows(rows, arrival_s, copy)
