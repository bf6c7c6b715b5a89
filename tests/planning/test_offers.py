"""What GPUs cost, by the offers of a book."""

from __future__ import annotations

import pytest

from loadlab.errors import InputError
from loadlab.planning.offers import cheapest, offers_of
from loadlab.planning.prices import PriceBook, Rent


def rent(gpu: str, usd: float, min_gpus: int = 1) -> Rent:
    return Rent(gpu=gpu, provider="somebody", per_gpu_hour=usd, min_gpus=min_gpus, source="a list", as_of="2026-11-01")


BOOK = PriceBook(name="book", rents={"one": rent("H100 SXM", 3.0), "node": rent("H100 SXM", 2.0, 8), "small": rent("L40S", 1.0)})


def test_whole_nodes_are_paid_where_only_nodes_are_rented_out() -> None:
    offers = offers_of(BOOK, "H100", {}, "book.toml")
    assert [cheapest(offers, n).name for n in (1, 5, 6, 8, 9, 16)] == ["one", "one", "node", "node", "one", "node"]
    assert cheapest(offers, 6).usd_per_hour(6) == 16.0  # eight at 2 USD, where six at 3 USD are 18
    assert cheapest(offers, 9).usd_per_hour(9) == 27.0  # sixteen at 2 USD are 32


def test_a_chosen_entry_is_the_only_one() -> None:
    assert [offer.name for offer in offers_of(BOOK, "H100", {"H100": "one"}, "book.toml")] == ["one"]


def test_a_price_that_is_not_listed_is_an_error_that_names_the_key() -> None:
    with pytest.raises(InputError, match=r'book\.toml: rents has no price of T4: add \[rents\.NAME\] with gpu = "T4".*H100 SXM, L40S'):
        offers_of(BOOK, "T4", {}, "book.toml")
    with pytest.raises(InputError, match="--rent = 'small' rents out L40S, not H100"):
        offers_of(BOOK, "H100", {"H100": "small"}, "book.toml")
