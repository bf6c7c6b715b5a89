"""A hosting case: what one wants to host, on what, for which traffic, against which API. Read from TOML; prices come from a book."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from loadlab.schema import Bound, NonNegative, Positive, PositiveShare, Share, check_schema, read_table, read_toml, shown_path

SCHEMA = "loadlab/hosting/1"
MAX_VARIED = 12  # values of an input in a table that one can read
AtLeastOne = Bound(">= 1", lambda x: x >= 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One copy of the model, on all the GPUs that it is sharded over."""

    model: str
    gpu: str
    gpus: Annotated[int, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one replica serves at its SLO: input and output tokens a second together, as `tokens_per_s`, or as requests and their size.

    `low_share` and `high_share` bound it at 90 %, as shares of the point: 0.9 and 1.1. `source` says who measured or estimated it.
    """

    source: str
    tokens_per_s: Annotated[float | None, Positive] = None
    requests_per_s: Annotated[float | None, Positive] = None
    tokens_per_request: Annotated[float | None, Positive] = None
    low_share: Annotated[float, Positive] = 1.0
    high_share: Annotated[float, Positive] = 1.0

    def __post_init__(self) -> None:
        both = self.requests_per_s is not None and self.tokens_per_request is not None
        if (self.tokens_per_s is None) != both or (self.requests_per_s is None) != (self.tokens_per_request is None):
            raise ValueError("tokens_per_s must stand alone, or requests_per_s and tokens_per_request together in its place")
        if not self.low_share <= 1 <= self.high_share:
            raise ValueError(f"low_share = {self.low_share} must be at most 1, and high_share at least 1")
        if not self.source.strip():
            raise ValueError('source = "" must say where the capacity comes from')

    @property
    def point_tokens_per_s(self) -> float:
        """Input and output tokens a second of one replica."""
        if self.tokens_per_s is not None:
            return self.tokens_per_s
        assert self.requests_per_s is not None
        assert self.tokens_per_request is not None
        return self.requests_per_s * self.tokens_per_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """How full replicas may be. A replica's day is capacity * target_utilisation_share / peak_to_average."""

    peak_to_average: Annotated[float, AtLeastOne] = 1.0
    target_utilisation_share: Annotated[float, PositiveShare] = 0.8
    spare_replicas: Annotated[int, NonNegative] = 1  # N + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """GPUs by the hour: an entry of the book's [rents], or a price."""

    kind: ClassVar[str] = "rented"
    rent: str | None = None
    per_gpu_hour_usd: Annotated[float | None, Positive] = None

    def __post_init__(self) -> None:
        if (self.rent is None) == (self.per_gpu_hour_usd is None):
            raise ValueError("rent must name an entry of the price book, or per_gpu_hour_usd stand in its place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """GPUs bought: an annuity over their life, power, and a place to stand.

    Power: kilowatts a GPU with its share of the server, times `power_use_share` of them drawn on average, times `pue` for cooling.
    """

    kind: ClassVar[str] = "owned"
    purchase: str | None = None
    per_gpu_usd: Annotated[float | None, Positive] = None
    server_usd_per_gpu: Annotated[float, NonNegative] = 0.0  # chassis, network, installation
    residue_share: Annotated[float, Share] = 0.0  # of the price, at the end of its life
    life_months: Annotated[int, Positive] = 48
    interest_share_per_year: Annotated[float, NonNegative] = 0.0
    power: str | None = None
    per_kwh_usd: Annotated[float | None, NonNegative] = None
    kw_per_gpu: Annotated[float, NonNegative] = 0.0
    power_use_share: Annotated[float, Share] = 0.7
    pue: Annotated[float, AtLeastOne] = 1.3
    colocation_usd_per_gpu_month: Annotated[float, NonNegative] = 0.0

    def __post_init__(self) -> None:
        if (self.purchase is None) == (self.per_gpu_usd is None):
            raise ValueError("purchase must name an entry of the price book, or per_gpu_usd stand in its place")
        if self.kw_per_gpu > 0 and (self.power is None) == (self.per_kwh_usd is None):
            raise ValueError("power must name an entry of the price book, or per_kwh_usd stand in its place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What is paid beside the GPUs. `reserve_share` is added to the hardware's bill; `staff` names the book's price of one `staff_fte`."""

    staff_usd_per_month: Annotated[float, NonNegative] = 0.0
    staff_fte: Annotated[float, NonNegative] = 0.0
    staff: str | None = None
    network_usd_per_month: Annotated[float, NonNegative] = 0.0
    reserve_share: Annotated[float, NonNegative] = 0.0
    one_off_usd: Annotated[float, NonNegative] = 0.0  # project cost before the first token

    def __post_init__(self) -> None:
        if (self.staff_fte > 0) != (self.staff is not None):
            raise ValueError("staff must name an entry of the price book where staff_fte is above 0, and only there")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The tokens: how many a day, and what an API would charge them as.

    `cached_share` is of the input, `batch_share` of everything.
    """

    tokens_per_day: Annotated[float, Positive]
    output_share: Annotated[float, Share]
    cached_share: Annotated[float, Share] = 0.0
    batch_share: Annotated[float, Share] = 0.0
    also_tokens_per_day: Annotated[tuple[float, ...], Positive] = ()  # other volumes whose bills and payback are wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The API to compare with: an entry of the book's [apis], or a blended price per million tokens with its source."""

    api: str | None = None
    per_million_usd: Annotated[float | None, Positive] = None
    source: str | None = None

    def __post_init__(self) -> None:
        if (self.api is None) == (self.per_million_usd is None):
            raise ValueError("api must name an entry of the price book, or per_million_usd stand in its place")
        if self.per_million_usd is not None and not (self.source or "").strip():
            raise ValueError("source is missing: say where per_million_usd comes from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How unsure an input is: 90 % of it lies between these shares of its point value. 0.8 and 1.25: a fifth less to a quarter more."""

    low_share: Annotated[float, Positive]
    high_share: Annotated[float, Positive]

    def __post_init__(self) -> None:
        if not self.low_share <= 1 <= self.high_share:
            raise ValueError(f"low_share = {self.low_share} must be at most 1, and high_share at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """One case, as a person writes it. `uncertainty` is by the names of `planning.inputs.Inputs`; capacity carries its own.

    `vary` has the values of one or two of those inputs, for a table of the break-even at each of them.
    """

    name: str
    description: str = ""
    assumptions: tuple[str, ...] = ()
    prices: Path | None = None
    replica: Replica
    capacity: Capacity
    operation: Operation = field(default_factory=Operation)
    hardware: Rented | Owned
    overhead: Overhead = field(default_factory=Overhead)
    traffic: Traffic
    against: dict[str, Against]
    uncertainty: dict[str, Spread] = field(default_factory=dict)
    vary: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.against:
            raise ValueError("against is empty: name at least one API to compare with")
        if len(self.vary) > 2 or not all(1 <= len(values) <= MAX_VARIED for values in self.vary.values()):
            raise ValueError(f"vary must have at most two inputs, of 1 to {MAX_VARIED} values each")


def load_hosting(path: Path) -> Hosting:
    """The case in a TOML file; `prices` is relative to it. Raises InputError on a bad one."""
    table, source = read_toml(path), shown_path(path)
    check_schema(table, SCHEMA, source)
    return read_table(Hosting, table, source)
