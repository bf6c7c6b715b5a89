"""Where to host: public API, dedicated instance, private cloud or own hardware. Hard gates first, then volume, then marginal cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np

from loadlab.planning.break_even import BreakEven
from loadlab.planning.curves import permanent_break_even
from loadlab.planning.inputs import Inputs, api_curve, own_curve
from loadlab.planning.uncertainty import draw_inputs
from loadlab.schema import NonNegative, Positive, check_schema, read_table, read_toml, shown_key, shown_path

SCHEMA = "loadlab/decision/1"
STAFF_FOR_MULTI_NODE_FTE = 2.0  # below it nobody answers at night when a model that spans nodes breaks
SURE_AT = 0.75  # a volume counts as enough above this quantile of the break-even


class Place(StrEnum):
    """Where the model runs, from the least to the most of one's own."""

    PUBLIC_API = "public-api"
    DEDICATED = "dedicated-instance"
    PRIVATE_CLOUD = "private-cloud"
    ON_PREMISES = "on-premises"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the organisation must have, whatever it costs; `ml_infra_fte` is who keeps it running around the clock."""

    air_gap: bool = False
    data_residency: bool = False
    ttft_p95_s: Annotated[float | None, Positive] = None
    ml_infra_fte: Annotated[float, NonNegative] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One place: a hosting file for all but the API; what it can promise, where known."""

    hosting: Path | None = None
    ttft_p95_s: Annotated[float | None, Positive] = None  # measured or simulated; None: not known, so not judged
    resident: bool | None = None  # data stays where it must; default: everywhere but at a public API
    nodes_per_replica: Annotated[int, Positive] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A hosting decision, as a person writes it. `api` names the API in each hosting file's [against]; default: its first."""

    name: str
    description: str = ""
    prices: Path | None = None
    tokens_per_day: Annotated[float, Positive]
    api: str | None = None
    needs: Needs = field(default_factory=Needs)
    options: dict[Place, Option]

    def __post_init__(self) -> None:
        for name in self.options:
            if name not in list(Place):
                raise ValueError(f"options.{shown_key(name)} is not a place; places are {', '.join(Place)}")
        places = {Place(name) for name in self.options}
        for place in places - {Place.PUBLIC_API}:
            if self.options[place].hosting is None:
                raise ValueError(f"options.{place}.hosting is missing: name the hosting file that says what it costs")
        if not places - {Place.PUBLIC_API}:
            raise ValueError("options must have a place beside the public API, or there is nothing to decide")


def load_question(path: Path) -> Question:
    """The decision in a TOML file. Raises InputError on a bad one."""
    table, source = read_toml(path), shown_path(path)
    check_schema(table, SCHEMA, source)
    return read_table(Question, table, source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One place, judged."""

    place: Place
    usd_per_month: float
    barred_by: tuple[str, ...]  # the hard gates that it fails, in words
    break_even: BreakEven | None  # None: the API itself

    @property
    def is_open(self) -> bool:
        """True if no gate bars it."""
        return not self.barred_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A change of one thing that would change the verdict."""

    what: str
    now: float
    at: float
    unit: str
    to: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The place, the criterion that binds, and what would flip it."""

    place: Place | None  # None: every place is barred
    binding: str
    places: tuple[Judged, ...]
    flips: tuple[Flip, ...]


def gates(place: Place, option: Option, needs: Needs) -> tuple[str, ...]:
    """The hard gates that a place fails, in words; none if it is open."""
    barred = []
    if needs.air_gap and place is not Place.ON_PREMISES:
        barred.append("an air gap allows own hardware only")
    resident = (place is not Place.PUBLIC_API) if option.resident is None else option.resident
    if needs.data_residency and not resident:
        barred.append("data must stay resident, and here it does not")
    is_run_by_us = place in (Place.PRIVATE_CLOUD, Place.ON_PREMISES)
    if is_run_by_us and option.nodes_per_replica > 1 and needs.ml_infra_fte < STAFF_FOR_MULTI_NODE_FTE:
        barred.append(
            f"a replica spans {option.nodes_per_replica} nodes, and {needs.ml_infra_fte:g} FTE cannot keep that up around the clock "
            f"(at least {STAFF_FOR_MULTI_NODE_FTE:g})"
        )
    if needs.ttft_p95_s is not None and option.ttft_p95_s is not None and option.ttft_p95_s > needs.ttft_p95_s:
        barred.append(f"TTFT p95 {option.ttft_p95_s:g} s is above the {needs.ttft_p95_s:g} s that are needed")
    return tuple(barred)


def decide(question: Question, own: Mapping[Place, BreakEven]) -> Verdict:
    """The verdict. `own` has the break-even against the API of every place but the API itself.

    Among open places, those of one's own count as cheaper than the API only where the volume lies above the 75 % quantile of their
    permanent break-even and their marginal cost below the API's price; then the cheapest bill wins.
    """
    judged = tuple(_judge(place, option, question.needs, own) for place, option in sorted(question.options.items(), key=_order))
    candidates = [j for j in judged if j.is_open]
    if not candidates:
        return Verdict(place=None, binding="every place fails a hard gate", places=judged, flips=())
    api = next((j for j in candidates if j.place is Place.PUBLIC_API), None)
    if api is None:
        best = min(candidates, key=lambda j: j.usd_per_month)
        barred = next((j for j in judged if j.place is Place.PUBLIC_API), None)
        why = f"the public API is out: {barred.barred_by[0]}" if barred else "the public API is not among the options"
        return Verdict(place=best.place, binding=f"{why}; of the rest it costs least", places=judged, flips=())
    return _against_api(question, api, [j for j in candidates if j is not api], judged)


def _order(item: tuple[Place, Option]) -> int:
    return list(Place).index(Place(item[0]))


def _judge(place: Place, option: Option, needs: Needs, own: Mapping[Place, BreakEven]) -> Judged:
    found = own.get(place)
    usd = next(iter(own.values())).api_usd if found is None else found.own_usd
    return Judged(place=Place(place), usd_per_month=usd, barred_by=gates(Place(place), option, needs), break_even=found)


def _against_api(question: Question, api: Judged, owned: Sequence[Judged], judged: tuple[Judged, ...]) -> Verdict:
    sure = [j for j in owned if _is_surely_enough(j.break_even, question.tokens_per_day)]
    if sure:
        best = min(sure, key=lambda j: j.usd_per_month)
        assert best.break_even is not None
        level = best.break_even.draws.break_even_quantile(SURE_AT)
        assert level is not None
        binding = f"volume: {question.tokens_per_day / 1e6:,.1f}M tokens a day is above the break-even's 75 % quantile, {level / 1e6:,.1f}M"
        return Verdict(place=best.place, binding=binding, places=judged, flips=_flips(best, api))
    nearest = min(owned, key=lambda j: j.usd_per_month, default=None)
    binding = "no other place is open" if nearest is None else _why_not(nearest.break_even, question.tokens_per_day)
    return Verdict(place=Place.PUBLIC_API, binding=binding, places=judged, flips=() if nearest is None else _flips(api, nearest))


def _is_surely_enough(found: BreakEven | None, tokens_per_day: float) -> bool:
    level = None if found is None else found.draws.break_even_quantile(SURE_AT)
    return level is not None and tokens_per_day >= level


def _why_not(found: BreakEven | None, tokens_per_day: float) -> str:
    assert found is not None
    if found.marginal_usd_per_million >= found.api_usd_per_million:
        return (
            f"marginal cost: ${found.marginal_usd_per_million:.2f} a million tokens is at or above the API's "
            f"${found.api_usd_per_million:.2f}, at any volume"
        )
    level = found.draws.break_even_quantile(SURE_AT)
    if level is None:
        return f"uncertainty: in {found.draws.never_share:.0%} of draws self-hosting never pays, so no volume is surely enough"
    return f"volume: {tokens_per_day / 1e6:,.1f}M tokens a day is below the break-even's 75 % quantile, {level / 1e6:,.1f}M"


def _flips(winner: Judged, other: Judged | None) -> tuple[Flip, ...]:
    """Volume, API price and staff at which the API and the place of one's own change sides, all else equal."""
    mine = winner if winner.break_even is not None else other
    if mine is None or mine.break_even is None or other is None:
        return ()
    found, to = mine.break_even, Place.PUBLIC_API if winner is mine else mine.place
    flips = []
    level = found.draws.break_even_quantile(SURE_AT)
    if level is not None:
        flips.append(Flip(what="volume", now=found.tokens_per_day, at=level, unit="tokens a day", to=to))
    price = _turning_point(found, lambda factor: _with_api_price(found.inputs, factor), 1.0, rises=True)
    if price is not None:
        now = found.api_usd_per_million
        flips.append(Flip(what="API price", now=now, at=now * price, unit="USD per million tokens", to=to))
    staff_usd = float(found.inputs.staff_usd_per_month)
    staff = _turning_point(found, lambda usd: replace(found.inputs, staff_usd_per_month=usd), staff_usd, rises=False)
    if staff is not None:
        flips.append(Flip(what="staff", now=staff_usd, at=staff, unit="USD a month", to=to))
    return tuple(flips)


def _with_api_price(inputs: Inputs, factor: float) -> Inputs:
    prices = ("api_input_usd_per_million", "api_output_usd_per_million", "api_cached_usd_per_million")
    return replace(inputs, **{name: getattr(inputs, name) * factor for name in prices})


def _turning_point(found: BreakEven, change: Callable[[float], Inputs], now: float, *, rises: bool) -> float | None:
    """The value at which the place of one's own begins, or ceases, to be surely enough, by bisection; None if none is in reach.

    `rises`: a higher value speaks for it. Searched up to a hundredfold of `now`, or of the API's bill where `now` is 0.
    """

    def is_enough(value: float) -> bool:
        drawn = draw_inputs(change(value), found.spreads, found.draws.n, found.seed)
        volumes = np.sort(np.broadcast_to(permanent_break_even(own_curve(drawn, found.terms), api_curve(drawn)), found.draws.n))
        return bool(volumes[math.ceil(SURE_AT * found.draws.n) - 1] <= found.tokens_per_day)

    low, high = 0.0, 100 * max(now, found.api_usd if now == 0 else now)
    if is_enough(low) == is_enough(high):
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) is rises else (middle, high)
    return high
