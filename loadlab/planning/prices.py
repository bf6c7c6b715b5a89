"""Price books: what GPUs, tokens, power and people cost, each figure with its source and date. TOML files; none is built in.

A price is read in its own currency and kept in US dollars, at the rate that the book states.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from loadlab.errors import InputError
from loadlab.schema import NonNegative, Positive, Share, check_schema, closest, read_table, read_toml, shown, shown_path

SCHEMA = "loadlab/prices/1"
USD = "USD"
STALE_AFTER_DAYS = 90
_MONTH = re.compile(r"\d{4}-\d{2}")


def as_date(as_of: str) -> datetime.date:
    """The day of "2026-11-09"; of "2026-11" its first, so that a price never looks younger than it is. Raises ValueError."""
    try:
        return datetime.date.fromisoformat(f"{as_of}-01" if _MONTH.fullmatch(as_of) else as_of)
    except ValueError:
        raise ValueError(f"as_of = {shown(as_of)} must be a day such as 2026-11-09, or a month such as 2026-11") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """What every figure says of itself."""

    source: str
    as_of: str
    currency: str = USD
    note: str = ""

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError('source = "" must say where the figure comes from')
        as_date(self.as_of)

    def age_days(self, today: datetime.date) -> int:
        """Days since `as_of`; negative if that lies ahead."""
        return (today - as_date(self.as_of)).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Rent(Sourced):
    """One GPU for an hour, whole: a node's price over its GPUs."""

    gpu: str
    provider: str
    per_gpu_hour: Annotated[float, Positive]
    min_gpus: Annotated[int, Positive] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase(Sourced):
    """One GPU, bought; with `includes` saying what else the price covers."""

    gpu: str
    per_gpu: Annotated[float, Positive]
    includes: str = "the GPU alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api(Sourced):
    """Tokens through somebody's API. `batch_discount_share` is taken off what may wait; 0 where there is no such offer."""

    provider: str
    model: str
    input_per_million: Annotated[float, NonNegative]
    output_per_million: Annotated[float, NonNegative]
    cached_per_million: Annotated[float | None, NonNegative] = None  # None: a cache hit costs what any input token costs
    batch_discount_share: Annotated[float, Share] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Power(Sourced):
    """Electricity."""

    per_kwh: Annotated[float, NonNegative]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff(Sourced):
    """One person's full time, with everything the employer pays."""

    per_fte_month: Annotated[float, NonNegative]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Sourced):
    """US dollars for one unit of a currency."""

    usd_per_unit: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Prices by the names that its author chose."""

    name: str
    description: str = ""
    rents: dict[str, Rent] = field(default_factory=dict)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    apis: dict[str, Api] = field(default_factory=dict)
    power: dict[str, Power] = field(default_factory=dict)
    staff: dict[str, Staff] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)

    def entries(self) -> Iterator[tuple[str, Sourced]]:
        """(dotted name, figure) of everything in the book."""
        for section in ("rents", "purchases", "apis", "power", "staff", "rates"):
            for name, entry in getattr(self, section).items():
                yield f"{section}.{name}", entry

    def find(self, section: str, name: str, source: str = "") -> Sourced:
        """The figure of that name. Raises InputError naming what there is, and the closest."""
        entries: Mapping[str, Sourced] = getattr(self, section)
        if name in entries:
            return entries[name]
        known = ", ".join(sorted(entries)) or "nothing"
        raise InputError(
            f"= {shown(name)} is not in price book {self.name!r}{closest(name, list(entries))}; it has: {known}", source=source, key=section
        )


S = TypeVar("S", bound=Sourced)
_PRICES = ("per_gpu_hour", "per_gpu", "input_per_million", "output_per_million", "cached_per_million", "per_kwh", "per_fte_month")


def load_price_book(path: Path) -> PriceBook:
    """The book in a TOML file, every price in US dollars. Raises InputError on a bad one, or where a rate of exchange is missing."""
    table, source = read_toml(path), shown_path(path)
    check_schema(table, SCHEMA, source)
    book = read_table(PriceBook, table, source)
    for code, rate in book.rates.items():
        if rate.currency != USD:
            raise InputError(
                f"= {shown(rate.currency)} must be left out: a rate is in US dollars", source=source, key=f"rates.{code}.currency"
            )
    sections: dict[str, Any] = {
        section: {name: _in_usd(entry, book.rates, source, f"{section}.{name}") for name, entry in getattr(book, section).items()}
        for section in ("rents", "purchases", "apis", "power", "staff")
    }
    return replace(book, **sections)


def _in_usd(entry: S, rates: Mapping[str, Rate], source: str, key: str) -> S:
    if entry.currency == USD:
        return entry
    rate = rates.get(entry.currency)
    if rate is None:
        problem = f"= {shown(entry.currency)} has no rate of exchange; add [rates.{entry.currency}] with usd_per_unit, source and as_of"
        raise InputError(problem, source=source, key=f"{key}.currency")
    values = {name: getattr(entry, name) for name in _PRICES if getattr(entry, name, None) is not None}
    note = f"{entry.note} ({entry.currency} at {rate.usd_per_unit:g} USD, {rate.as_of})".strip()
    return replace(entry, currency=USD, note=note, **{name: value * rate.usd_per_unit for name, value in values.items()})


def stale_notes(used: Mapping[str, Sourced], today: datetime.date) -> tuple[str, ...]:
    """One sentence for each figure older than 90 days, or dated after today."""
    notes = []
    for name, entry in used.items():
        age_days = entry.age_days(today)
        if age_days > STALE_AFTER_DAYS:
            notes.append(f"{name} is {age_days} days old (as of {entry.as_of}): check it before you rely on it")
        elif age_days < 0:
            notes.append(f"{name} is dated {entry.as_of}, after today")
    return tuple(notes)
