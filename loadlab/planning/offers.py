"""What so many GPUs of a kind cost an hour: the offers of a price book, or one that was chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadlab.catalog.names import gpu_name
from loadlab.errors import InputError
from loadlab.planning.prices import PriceBook, Rent
from loadlab.schema import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An entry of [rents]. Where a provider rents out no less than `min_gpus`, what is not used is paid too."""

    name: str
    rent: Rent

    def billed_gpus(self, gpus: int) -> int:
        """GPUs that are paid for `gpus` of them: whole multiples of `min_gpus`."""
        return math.ceil(gpus / self.rent.min_gpus) * self.rent.min_gpus

    def usd_per_hour(self, gpus: int) -> float:
        """What `gpus` of them cost an hour."""
        return self.billed_gpus(gpus) * self.rent.per_gpu_hour


def offers_of(book: PriceBook, gpu: str, chosen: Mapping[str, str], source: str) -> tuple[Offer, ...]:
    """Every offer for a GPU of the catalogue, cheapest first; the chosen one alone where `chosen` names an entry for this GPU.

    Raises InputError naming the key where the book has none, or the chosen one is for another GPU.
    """
    if gpu in chosen:
        name = chosen[gpu]
        found = book.find("rents", name, source)
        assert isinstance(found, Rent)
        if gpu_name(found.gpu) != gpu:
            raise InputError(f"= {shown(name)} rents out {found.gpu}, not {gpu}", source=source, key="--rent")
        return (Offer(name=name, rent=found),)
    own = [Offer(name=name, rent=rent) for name, rent in book.rents.items() if gpu_name(rent.gpu) == gpu]
    if not own:
        known = ", ".join(sorted({rent.gpu for rent in book.rents.values()})) or "nothing"
        problem = (
            f'has no price of {gpu}: add [rents.NAME] with gpu = "{gpu}", provider, per_gpu_hour, source and as_of, or leave {gpu} out of '
            f"--gpus; it has prices of: {known}"
        )
        raise InputError(problem, source=source, key="rents")
    return tuple(sorted(own, key=lambda offer: (offer.rent.per_gpu_hour, offer.name)))


def cheapest(offers: Sequence[Offer], gpus: int) -> Offer:
    """The offer that rents out `gpus` GPUs for the least."""
    return min(offers, key=lambda offer: (offer.usd_per_hour(gpus), offer.name))
