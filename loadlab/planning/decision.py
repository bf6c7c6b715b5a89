"""Where to host: public API, dedicated instance, private cloud or own hardware. Hard gates first, then volume, then marginal cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np

from loadlab.errors import InputError
from loadlab.planning.break_even import BreakEven
from loadlab.planning.curves import permanent_break_even
from loadlab.planning.inputs import Inputs, api_curve, own_curve
from loadlab.planning.uncertainty import draw_inputs
from loadlab.schema import NonNegative, Positive, check_schema, read_table, read_toml, shown_key, shown_path
from loadlab.units import parse_count

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


def with_needs(question: Question, volume: str | None, fte: float | None, *, is_air_gapped: bool, is_resident: bool) -> Question:
    """The question with what the command line says; a flag that is not given leaves the file's. Raises InputError on a bad volume."""
    needs = question.needs
    needs = replace(
        needs,
        air_gap=needs.air_gap or is_air_gapped,
        data_residency=needs.data_residency or is_resident,
        ml_infra_fte=needs.ml_infra_fte if fte is None else fte,
    )
    if volume is None:
        return replace(question, needs=needs)
    try:
        return replace(question, needs=needs, tokens_per_day=parse_count(volume))
    except ValueError as error:
        raise InputError(f"= {error}", key="--volume") from None


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

    Among open places, those of one's own count as cheaper than the API only where the volume lies at or above the 75 % quantile of
    their permanent break-even; then the cheapest bill wins. Where the API is barred, the cheapest bill wins at once.
    """
    judged = tuple(_judge(Place(name), question.options[name], question.needs, own) for name in Place if name in question.options)
    rule = _Rule(places=tuple(j.place for j in judged if j.is_open), own=own)
    place = rule.choose(_State(tokens_per_day=question.tokens_per_day))
    if place is None:
        return Verdict(place=None, binding="every place fails a hard gate", places=judged, flips=())
    binding = _binding(place, judged, question.tokens_per_day)
    return Verdict(place=place, binding=binding, places=judged, flips=_flips(rule, place, question.tokens_per_day))


def _judge(place: Place, option: Option, needs: Needs, own: Mapping[Place, BreakEven]) -> Judged:
    found = own.get(place)
    usd = next(iter(own.values())).bill.api_usd if found is None else found.bill.own_usd
    return Judged(place=place, usd_per_month=usd, barred_by=gates(place, option, needs), break_even=found)


def _binding(place: Place, judged: Sequence[Judged], tokens_per_day: float) -> str:
    """The criterion that decided, in words."""
    api = next((j for j in judged if j.place is Place.PUBLIC_API), None)
    if api is None or api.barred_by:
        why = f"the public API is out: {api.barred_by[0]}" if api else "the public API is not among the options"
        others = sum(j.is_open for j in judged) > 1
        return f"{why}; of the rest it costs least" if others else f"{why}; no other place is open"
    if place is not Place.PUBLIC_API:
        found = next(j.break_even for j in judged if j.place is place)
        level = None if found is None else found.draws.break_even_quantile(SURE_AT)
        assert level is not None
        return f"volume: {_millions(tokens_per_day)} tokens a day is above the break-even's 75 % quantile, {_millions(level)}"
    nearest = min((j for j in judged if j.is_open and j.break_even), key=lambda j: j.usd_per_month, default=None)
    return "no other place is open" if nearest is None or nearest.break_even is None else _why_not(nearest.break_even, tokens_per_day)


def _why_not(found: BreakEven, tokens_per_day: float) -> str:
    marginal, price = found.marginal_usd_per_million, found.api_usd_per_million
    if marginal >= price:
        return f"marginal cost: ${marginal:.2f} a million tokens is at or above the API's ${price:.2f}, at any volume"
    level = found.draws.break_even_quantile(SURE_AT)
    if level is None:
        return f"uncertainty: in {100 * found.draws.never_share:.0f} % of draws self-hosting never pays, so no volume is surely enough"
    return f"volume: {_millions(tokens_per_day)} tokens a day is below the break-even's 75 % quantile, {_millions(level)}"


def _millions(tokens_per_day: float) -> str:
    return f"{tokens_per_day / 1e6:,.1f}M"


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What may be varied to flip a verdict."""

    tokens_per_day: float
    price_factor: float = 1.0  # on every price of the API
    staff_usd: Mapping[Place, float] = field(default_factory=dict)  # in place of a place's own


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """The choice among open places, for any state."""

    places: tuple[Place, ...]
    own: Mapping[Place, BreakEven]

    def choose(self, state: _State) -> Place | None:
        """The place, or None where none is open."""
        bills = {place: self._bill_usd(place, state) for place in self.places if place is not Place.PUBLIC_API}
        if Place.PUBLIC_API in self.places:
            bills = {place: usd for place, usd in bills.items() if self._is_sure(place, state)}
            if not bills:
                return Place.PUBLIC_API
        return min(bills, key=lambda place: bills[place]) if bills else None

    def _inputs(self, place: Place, state: _State) -> Inputs:
        inputs = self.own[place].inputs
        prices = ("api_input_usd_per_million", "api_output_usd_per_million", "api_cached_usd_per_million")
        scaled = {name: getattr(inputs, name) * state.price_factor for name in prices}
        return replace(inputs, staff_usd_per_month=state.staff_usd.get(place, float(inputs.staff_usd_per_month)), **scaled)

    def _bill_usd(self, place: Place, state: _State) -> float:
        return float(own_curve(self._inputs(place, state), self.own[place].terms).usd_per_month(state.tokens_per_day))

    def _is_sure(self, place: Place, state: _State) -> bool:
        found = self.own[place]
        drawn = draw_inputs(self._inputs(place, state), found.spreads, found.draws.n, found.seed)
        volumes = np.broadcast_to(permanent_break_even(own_curve(drawn, found.terms), api_curve(drawn)), found.draws.n)
        rank = math.ceil(SURE_AT * found.draws.n) - 1
        return bool(np.partition(volumes, rank)[rank] <= state.tokens_per_day)


def _flips(rule: _Rule, place: Place, tokens_per_day: float) -> tuple[Flip, ...]:
    """The nearest volume, API price and staff of the chosen place (or of the cheapest other) that change the verdict."""
    here = _State(tokens_per_day=tokens_per_day)
    subject = place if place is not Place.PUBLIC_API else min(rule.own, key=lambda p: rule.own[p].bill.own_usd)
    found = rule.own[subject]
    price, staff_usd = found.api_usd_per_million, float(found.inputs.staff_usd_per_month)
    ways: tuple[tuple[str, str, float, Callable[[float], _State]], ...] = (
        ("volume", "tokens a day", tokens_per_day, lambda volume: replace(here, tokens_per_day=volume)),
        ("API price", "USD per million tokens", price, lambda usd: replace(here, price_factor=usd / price)),
        ("staff", "USD a month", staff_usd, lambda usd: replace(here, staff_usd={subject: usd})),
    )
    flips = []
    for what, unit, now, change in ways:
        turn = _nearest_turn(lambda value, change=change: rule.choose(change(value)), now, found.bill.api_usd)  # type: ignore[misc]
        if turn is not None:
            flips.append(Flip(what=what, now=now, at=turn[0], unit=unit, to=turn[1]))
    return tuple(flips)


def _nearest_turn(choose: Callable[[float], Place | None], now: float, scale: float) -> tuple[float, Place] | None:
    """The value nearest to `now`, as a ratio, at which another place is chosen, and which; None within a hundredfold either way.

    Looks outwards in steps of a tenth, then bisects: a turn that undoes itself within such a step is passed over.
    From 0 it looks upwards, in steps of a hundredth of `scale`.
    """
    place = choose(now)
    steps = range(1, 49)
    paths = [[scale * k / 100 for k in range(1, 101)]] if now == 0 else [[now * 1.1**k for k in steps], [now * 1.1**-k for k in steps]]
    turns = []
    for path in paths:
        before = now
        for value in path:
            if choose(value) is not place:
                turns.append(_bisect(choose, place, before, value))
                break
            before = value
    nearest = min(turns, key=lambda value: abs(math.log(value / now)) if now else value, default=None)
    to = None if nearest is None else choose(nearest)
    return None if nearest is None or to is None else (nearest, to)


def _bisect(choose: Callable[[float], Place | None], place: Place | None, same: float, other: float) -> float:
    for _ in range(40):
        middle = (same + other) / 2
        same, other = (middle, other) if choose(middle) is place else (same, middle)
    return other
