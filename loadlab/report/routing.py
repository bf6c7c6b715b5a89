"""Routed mixes for machines (JSON) and for people (a terminal)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.routing import MixBill, Routed, TierBill, Tiers
from loadlab.report.break_even import tokens_text, usd_text
from loadlab.report.text import clean_text
from loadlab.schema import as_table
from loadlab.units import format_share

SCHEMA = "loadlab/routing/1"
Json = dict[str, Any]


def summarise_routed(routed: Sequence[Routed], versions: Mapping[str, str], command: str) -> Json:
    """The JSON of mixes: a bill for each style, and for everything sent to the last tier. Money in USD a month where not said."""
    return {"schema": SCHEMA, "mixes": [_mix(one) for one in routed], "versions": dict(versions), "command": command}


def _mix(routed: Routed) -> Json:
    mix = routed.mix
    return {
        "name": mix.name,
        "description": mix.description,
        "assumptions": list(mix.assumptions),
        "mix": as_table(mix),
        "styles": {bill.style.value: _bill(bill) for bill in routed.bills},
        "all_expert": _bill(routed.all_expert),
        "premium_loss_per_error_usd": routed.premium_loss_usd,
        "premium": premium_text(mix, routed.premium_loss_usd),
    }


def _bill(bill: MixBill) -> Json:
    quality = bill.quality
    return {
        "usd_per_month": bill.usd_per_month,
        "usd_per_million": bill.usd_per_million,
        "tiers": {
            tier.name: {"tokens_per_day": tier.tokens_per_day, "usd_per_month": tier.usd_per_month, "replicas": tier.replicas}
            for tier in bill.tiers
        },
        "error_share": quality.error_share,
        "check_usd_per_month": quality.check_usd_per_month,
        "loss_usd_per_month": quality.loss_usd_per_month,
        "usd_per_request": quality.usd_per_request,
        "usd_per_good_answer": quality.usd_per_good_answer,
    }


def premium_text(mix: Tiers, loss_usd: float | None) -> str:
    """When the last tier earns its premium, in a sentence."""
    expert = list(mix.tiers)[-1]
    if loss_usd is None:
        return f"{expert} for everything never earns its premium: it errs no less than the mix"
    if loss_usd == 0:
        return f"{expert} for everything costs no more than the mix"
    here = usd_text(mix.loss_per_error_usd)
    return f"{expert} for everything earns its premium where an error costs more than {usd_text(loss_usd)} (here {here})"


def print_routed(routed: Routed, console: Console) -> None:
    """A row for each style: what each tier computes and costs, and what an answer costs that is right."""
    mix, bills = routed.mix, routed.bills
    console.print(clean_text(mix.name), style="bold")
    console.print(f"{tokens_text(mix.tokens_per_day)}, {mix.tokens_per_request:,.0f} tokens a request", markup=False)
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("mix", "a month", "per million", "per request", "errors", "per good answer"):
        table.add_column(head, justify="left" if head == "mix" else "right")
    for name, bill in [("all expert", routed.all_expert), *((bill.style.value, bill) for bill in bills)]:
        quality = bill.quality
        good = "-" if quality.usd_per_good_answer is None else f"${quality.usd_per_good_answer:,.5f}"
        table.add_row(
            name, usd_text(bill.usd_per_month), usd_text(bill.usd_per_million), f"${quality.usd_per_request:,.5f}",
            format_share(quality.error_share), good,
        )  # fmt: skip
    console.print(table)
    for bill in bills:
        console.print(f"{bill.style.value}: {', '.join(map(_tier_text, bill.tiers))}", markup=False)
    console.print(premium_text(mix, routed.premium_loss_usd), markup=False)
    for assumption in mix.assumptions:
        console.print(f"assumed: {clean_text(assumption)}", markup=False)


def _tier_text(tier: TierBill) -> str:
    served = "API" if tier.replicas is None else f"{tier.replicas} replicas"
    return f"{clean_text(tier.name)} {tokens_text(tier.tokens_per_day)} {usd_text(tier.usd_per_month)} ({served})"
