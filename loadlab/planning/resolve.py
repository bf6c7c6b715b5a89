"""A case with its prices looked up: the book's figures become the numbers of `Inputs`, and are remembered by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from loadlab.errors import InputError
from loadlab.planning.hosting import Against, Hosting, Owned, Rented
from loadlab.planning.inputs import Inputs, Terms, blended_usd_per_million
from loadlab.planning.prices import Api, Power, PriceBook, Purchase, Rent, Sourced, Staff
from loadlab.schema import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The numbers of a case against one API, and which figures of the book they came from."""

    inputs: Inputs
    terms: Terms
    used: Mapping[str, Sourced]  # dotted name in the book -> figure


def resolve(case: Hosting, book: PriceBook | None, against: Against, source: str = "") -> Resolved:
    """Looks up every price that the case names. Raises InputError where the book lacks one, is missing, or prices another GPU."""
    shelf = _Shelf(book, source)
    inputs = Inputs(
        tokens_per_s=case.capacity.point_tokens_per_s,
        peak_to_average=case.operation.peak_to_average,
        target_utilisation_share=case.operation.target_utilisation_share,
        reserve_share=case.overhead.reserve_share,
        staff_usd_per_month=case.overhead.staff_usd_per_month + _staff_usd(case, shelf),
        network_usd_per_month=case.overhead.network_usd_per_month,
        output_share=case.traffic.output_share,
        cached_share=case.traffic.cached_share,
        batch_share=case.traffic.batch_share,
        **_api_prices(against, shelf),
    )
    terms = Terms(gpus_per_replica=case.replica.gpus, spare_replicas=case.operation.spare_replicas, one_off_usd=case.overhead.one_off_usd)
    match case.hardware:
        case Rented() as rented:
            inputs = replace(inputs, rent_usd_per_gpu_hour=_rent_usd(rented, case.replica.gpu, shelf))
        case Owned() as owned:
            inputs, terms = _with_owned(owned, case.replica.gpu, inputs, terms, shelf)
        case _:
            assert_never(case.hardware)
    return Resolved(inputs=inputs, terms=terms, used=shelf.used)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A book that remembers what was taken from it."""

    book: PriceBook | None
    source: str
    used: dict[str, Sourced] = field(default_factory=dict)

    def take(self, section: str, name: str) -> Sourced:
        if self.book is None:
            problem = f"= {shown(name)} is to be looked up, but there is no price book: give --prices BOOK, or `prices` in the file"
            raise InputError(problem, source=self.source, key=section)
        self.used[f"{section}.{name}"] = entry = self.book.find(section, name, self.source)
        return entry

    def check_gpu(self, key: str, name: str, priced: str, wanted: str) -> None:
        """Prices of one GPU do not pay for another."""
        if priced != wanted:
            raise InputError(f"= {shown(name)} is the price of a {priced}, and the replica is of {wanted}", source=self.source, key=key)


def api_usd_per_million(
    against: Against, book: PriceBook | None, output_share: float, cached_share: float, batch_share: float, source: str
) -> float:
    """The blended price of an API for a mix of tokens. Raises InputError where the book lacks it."""
    prices = _api_prices(against, _Shelf(book, source))
    inputs = Inputs(
        tokens_per_s=1.0,
        peak_to_average=1.0,
        target_utilisation_share=1.0,
        output_share=output_share,
        cached_share=cached_share,
        batch_share=batch_share,
        **prices,
    )
    return float(blended_usd_per_million(inputs))


def _api_prices(against: Against, shelf: _Shelf) -> dict[str, float]:
    """The four fields of Inputs that an API decides."""
    if against.api is None:
        assert against.per_million_usd is not None
        same = dict.fromkeys(
            ("api_input_usd_per_million", "api_output_usd_per_million", "api_cached_usd_per_million"), against.per_million_usd
        )
        return same | {"api_batch_discount_share": 0.0}
    api = shelf.take("apis", against.api)
    assert isinstance(api, Api)
    return {
        "api_input_usd_per_million": api.input_per_million,
        "api_output_usd_per_million": api.output_per_million,
        "api_cached_usd_per_million": api.input_per_million if api.cached_per_million is None else api.cached_per_million,
        "api_batch_discount_share": api.batch_discount_share,
    }


def _rent_usd(rented: Rented, gpu: str, shelf: _Shelf) -> float:
    if rented.rent is None:
        assert rented.per_gpu_hour_usd is not None
        return rented.per_gpu_hour_usd
    entry = shelf.take("rents", rented.rent)
    assert isinstance(entry, Rent)
    shelf.check_gpu("hardware.rent", rented.rent, entry.gpu, gpu)
    return entry.per_gpu_hour


def _with_owned(owned: Owned, gpu: str, inputs: Inputs, terms: Terms, shelf: _Shelf) -> tuple[Inputs, Terms]:
    per_gpu_usd, per_kwh_usd = owned.per_gpu_usd or 0.0, owned.per_kwh_usd or 0.0
    if owned.purchase is not None:
        entry = shelf.take("purchases", owned.purchase)
        assert isinstance(entry, Purchase)
        shelf.check_gpu("hardware.purchase", owned.purchase, entry.gpu, gpu)
        per_gpu_usd = entry.per_gpu
    if owned.power is not None:
        power = shelf.take("power", owned.power)
        assert isinstance(power, Power)
        per_kwh_usd = power.per_kwh
    inputs = replace(
        inputs,
        purchase_usd_per_gpu=per_gpu_usd + owned.server_usd_per_gpu,
        power_usd_per_kwh=per_kwh_usd,
        colocation_usd_per_gpu_month=owned.colocation_usd_per_gpu_month,
    )
    return inputs, replace(
        terms,
        residue_share=owned.residue_share,
        life_months=owned.life_months,
        interest_share_per_year=owned.interest_share_per_year,
        kw_per_gpu=owned.kw_per_gpu * owned.power_use_share * owned.pue,
    )


def _staff_usd(case: Hosting, shelf: _Shelf) -> float:
    if case.overhead.staff is None:
        return 0.0
    entry = shelf.take("staff", case.overhead.staff)
    assert isinstance(entry, Staff)
    return entry.per_fte_month * case.overhead.staff_fte
