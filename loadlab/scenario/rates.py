"""The same traffic at another rate: every rate of an arrival law scaled alike, times and durations left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from loadlab.errors import InputError
from loadlab.scenario.arrivals import Arrivals, OnOff, Superposition, expected_arrivals
from loadlab.scenario.limits import MAX_SPAN_S
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario

T = TypeVar("T")


def _laws(scenario: Scenario) -> list[Arrivals]:
    """The arrival laws that run side by side: the load's, and those of classes with one of their own."""
    laws = [_open_loop(scenario).arrivals, *(c.arrivals for c in scenario.classes.values())]
    return [law for law in laws if law is not None]


def mean_rate_per_s(scenario: Scenario) -> float:
    """Arrivals a second that the scenario's laws offer on average, over the run that it describes. Raises InputError if it has none."""
    load, laws = _open_loop(scenario), _laws(scenario)
    span_s = load.duration_s or _span_of(laws, load.requests or 1)
    return sum(_rate_per_s(law, span_s) for law in laws)


def _rate_per_s(law: Arrivals, span_s: float) -> float:
    """The long-run rate of a law that has one, else its mean over the span."""
    if isinstance(law, Superposition):
        return sum(_rate_per_s(part, span_s) for part in law.of)
    if isinstance(law, OnOff):  # of whole cycles `expected_arrivals` counts the begun one too
        return law.rate_per_s
    return expected_arrivals(law, span_s) / span_s


def _span_of(laws: Sequence[Arrivals], requests: int) -> float:
    """Seconds in which so many arrivals are expected."""

    def expected(span_s: float) -> float:
        return sum(expected_arrivals(law, span_s) for law in laws)

    low, high = 0.0, 1.0
    while expected(high) < requests and high < MAX_SPAN_S:
        low, high = high, 2 * high
    for _ in range(10):  # to a thousandth
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < requests else (low, middle)
    return high


def with_rate(scenario: Scenario, rate_per_s: float, requests: int | None = None) -> Scenario:
    """The scenario at a mean rate; with `requests`, ended by their number instead. Bursts keep their length in seconds, and their factor.

    Where arrivals begin sessions, agents or fan-outs, it is these that come at `rate_per_s`. Where classes have laws of their own a
    number cannot end them: the time does in which so many come on average. Raises InputError in closed loop or replay.
    """
    load, factor = _open_loop(scenario), rate_per_s / mean_rate_per_s(scenario)
    classes = {name: replace(c, arrivals=scaled(c.arrivals, factor)) for name, c in scenario.classes.items()}
    load = replace(load, arrivals=scaled(load.arrivals, factor))
    if requests is not None and any(c.arrivals is not None for c in classes.values()):
        load = replace(load, requests=None, duration_s=requests / rate_per_s)
    elif requests is not None:
        load = replace(load, requests=requests, duration_s=None)
    return replace(scenario, load=load, classes=classes)


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
