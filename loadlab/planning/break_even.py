"""Self-hosting against an API, whole: crossings, payback, bands, what decides. Pure; `report/break_even.py` shows it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from loadlab.errors import InputError
from loadlab.planning.curves import Crossings, FloatArray, find_crossings, permanent_break_even
from loadlab.planning.hosting import Hosting, Spread
from loadlab.planning.inputs import VARIABLE, Inputs, Terms, api_curve, invested_usd, net_present_usd, own_curve, payback_months
from loadlab.planning.prices import PriceBook, Sourced, stale_notes
from loadlab.planning.resolve import resolve
from loadlab.planning.uncertainty import Draws, Swing, simulate, tornado
from loadlab.schema import closest, shown_key

DRAWS = 10_000
POINTS = 200
NPV_MONTHS = 36
NPV_DISCOUNT_SHARE = 0.08  # a year; a usual hurdle rate, stated wherever it is used
_DECADES_BELOW, _DECADES_ABOVE = 1.5, 1.5  # of the volumes drawn, around what matters


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A month at one volume."""

    tokens_per_day: float
    replicas: int
    own_usd: float
    api_usd: float
    payback_months: float | None  # None: never


@dataclass(frozen=True, slots=True, kw_only=True)
class Varied:
    """The permanent break-even over a grid of one or two inputs, all else at its point; infinity where it is never reached."""

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    break_even_tokens_per_day: FloatArray  # float64[values of the first, values of the second or 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """One case against one API. Volumes in tokens a day, money in US dollars a month."""

    api_name: str
    inputs: Inputs
    terms: Terms
    used: Mapping[str, Sourced]
    notes: tuple[str, ...]  # what is stale
    crossings: Crossings
    tokens_per_day: float  # the case's own volume
    invested_usd: float
    net_present_usd: float
    volumes: FloatArray
    draws: Draws
    spreads: Mapping[str, Spread]
    seed: int
    swings: tuple[Swing, ...]
    bills: tuple[Bill, ...]  # at the case's volume and the others that it asks for, ascending
    varied: Varied | None

    @property
    def bill(self) -> Bill:
        """The month at the case's own volume."""
        return next(bill for bill in self.bills if bill.tokens_per_day == self.tokens_per_day)

    @property
    def marginal_usd_per_million(self) -> float:
        """What a million tokens more costs when replicas are full."""
        return float(own_curve(self.inputs, self.terms).marginal_usd_per_million)

    @property
    def api_usd_per_million(self) -> float:
        """The API's blended price."""
        return float(api_curve(self.inputs).usd_per_million)

    @property
    def replica_tokens_per_day(self) -> float:
        """What one replica serves on an average day."""
        return float(own_curve(self.inputs, self.terms).replica_tokens_per_day)


def spreads_of(case: Hosting, source: str = "") -> dict[str, Spread]:
    """The case's spreads, its capacity's own among them; an input that is known exactly has none. Raises InputError on an unknown name."""
    for name in case.uncertainty:
        _check_input(name, f"uncertainty.{shown_key(name)}", source)
    if "tokens_per_s" in case.uncertainty:
        problem = "must be left out: capacity.low_share and high_share are its spread"
        raise InputError(problem, source=source, key="uncertainty.tokens_per_s")
    capacity = Spread(low_share=case.capacity.low_share, high_share=case.capacity.high_share)
    return {"tokens_per_s": capacity} | dict(case.uncertainty)


def _check_input(name: str, key: str, source: str) -> None:
    if name not in VARIABLE:
        raise InputError(f"is not an input{closest(name, list(VARIABLE))}. Inputs: {', '.join(VARIABLE)}", source=source, key=key)


def break_even(
    case: Hosting, book: PriceBook | None, api_name: str, today: datetime.date, *, seed: int = 1, draws: int = DRAWS, source: str = ""
) -> BreakEven:
    """The case against one of its APIs. Raises InputError where a price is missing."""
    found = resolve(case, book, case.against[api_name], source)
    own, api = own_curve(found.inputs, found.terms), api_curve(found.inputs)
    spreads = spreads_of(case, source)
    crossings = find_crossings(own, api)
    volume = case.traffic.tokens_per_day
    volumes = _volumes(volume, float(own.replica_tokens_per_day), crossings)
    return BreakEven(
        api_name=api_name,
        inputs=found.inputs,
        terms=found.terms,
        used=found.used,
        notes=stale_notes(found.used, today),
        crossings=crossings,
        tokens_per_day=volume,
        invested_usd=invested_usd(found.inputs, found.terms, volume),
        net_present_usd=net_present_usd(found.inputs, found.terms, volume, NPV_MONTHS, NPV_DISCOUNT_SHARE),
        volumes=volumes,
        draws=simulate(found.inputs, found.terms, spreads, volumes, draws, seed),
        spreads=spreads,
        seed=seed,
        swings=tornado(found.inputs, found.terms, spreads, volume),
        bills=tuple(_bill(found.inputs, found.terms, v) for v in sorted({volume, *case.traffic.also_tokens_per_day})),
        varied=_vary(case.vary, found.inputs, found.terms, source),
    )


def _bill(inputs: Inputs, terms: Terms, volume: float) -> Bill:
    own, api = own_curve(inputs, terms), api_curve(inputs)
    return Bill(
        tokens_per_day=volume,
        replicas=int(own.replicas(volume)),
        own_usd=float(own.usd_per_month(volume)),
        api_usd=float(api.usd_per_month(volume)),
        payback_months=payback_months(inputs, terms, volume),
    )


def _vary(grid: Mapping[str, tuple[float, ...]], inputs: Inputs, terms: Terms, source: str) -> Varied | None:
    if not grid:
        return None
    for name in grid:
        _check_input(name, f"vary.{shown_key(name)}", source)
    names, values = tuple(grid), tuple(grid.values())
    first, second = np.array(values[0])[:, None], np.array(values[1] if len(values) > 1 else (np.nan,))[None, :]
    changed = {names[0]: first} | ({names[1]: second} if len(names) > 1 else {})
    at = replace(inputs, **changed)
    volumes = np.broadcast_to(permanent_break_even(own_curve(at, terms), api_curve(at)), (first.size, second.size))
    return Varied(names=names, values=values, break_even_tokens_per_day=volumes)


def _volumes(volume: float, replica: float, crossings: Crossings) -> FloatArray:
    """Volumes to draw, on a log scale: around the case's own, one replica's, and the permanent break-even."""
    marks = [volume, replica, *([] if crossings.permanent_tokens_per_day is None else [crossings.permanent_tokens_per_day])]
    low, high = min(marks) * 10**-_DECADES_BELOW, max(marks) * 10**_DECADES_ABOVE
    return np.geomspace(low, high, POINTS)
