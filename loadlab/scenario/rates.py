"""The same traffic at another rate: every rate of an arrival law scaled alike, times and durations left alone."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TypeVar

from loadlab.errors import InputError
from loadlab.scenario.arrivals import Arrivals, expected_arrivals
from loadlab.scenario.limits import MAX_SPAN_S
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario

T = TypeVar("T")


def mean_rate_per_s(scenario: Scenario) -> float:
    """Arrivals a second that the scenario's law offers on average, over the run that it describes. Raises InputError if it has no law."""
    load = _open_loop(scenario)
    span_s = load.duration_s or _span_of(load.arrivals, load.requests or 1)
    return expected_arrivals(load.arrivals, span_s) / span_s


def _span_of(law: Arrivals, requests: int) -> float:
    """Seconds in which so many arrivals are expected, to a thousandth."""
    low, high = 0.0, 1.0
    while expected_arrivals(law, high) < requests and high < MAX_SPAN_S:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if expected_arrivals(law, middle) < requests else (low, middle)
    return high


def with_rate(scenario: Scenario, rate_per_s: float, requests: int | None = None) -> Scenario:
    """The scenario at a mean rate; with `requests`, ended by their number instead. Bursts keep their length in seconds, and their factor.

    Where arrivals begin sessions, agents or fan-outs, it is these that come at `rate_per_s`. Raises InputError in closed loop or replay.
    """
    load = _open_loop(scenario)
    arrivals = scaled(load.arrivals, rate_per_s / mean_rate_per_s(scenario))
    ended = replace(load, arrivals=arrivals) if requests is None else replace(load, arrivals=arrivals, requests=requests, duration_s=None)
    return replace(scenario, load=ended)


def scaled(law: T, factor: float) -> T:
    """A law with everything in it that ends in `_per_s` multiplied."""
    if not dataclasses.is_dataclass(law) or isinstance(law, type):
        return law
    changes = {}
    for field in dataclasses.fields(law):
        value = getattr(law, field.name)
        if field.name.endswith("_per_s"):
            changes[field.name] = tuple(x * factor for x in value) if isinstance(value, tuple) else value * factor
        elif isinstance(value, tuple):
            changes[field.name] = tuple(scaled(item, factor) for item in value)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = scaled(value, factor)
    return replace(law, **changes)


def _open_loop(scenario: Scenario) -> OpenLoop:
    if not isinstance(scenario.load, OpenLoop):
        problem = f'= "{scenario.load.kind}" offers no rate that could be changed; use load.kind = "{OpenLoop.kind}"'
        raise InputError(problem, source=scenario.name, key="load.kind")
    return scenario.load
