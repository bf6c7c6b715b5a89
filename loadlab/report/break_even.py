"""Break-evens for machines (JSON) and for people (a terminal)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.break_even import NPV_DISCOUNT_SHARE, NPV_MONTHS, BreakEven, Varied
from loadlab.planning.curves import Crossings
from loadlab.planning.hosting import Hosting
from loadlab.planning.inputs import VARIABLE, own_curve
from loadlab.planning.uncertainty import VARY_BY, Swing
from loadlab.report.text import clean_text
from loadlab.schema import as_table
from loadlab.units import format_share

SCHEMA = "loadlab/break-even/1"
Json = dict[str, Any]
INPUT_WORDS: Mapping[str, str] = {
    "tokens_per_s": "capacity of a replica, tokens/s",
    "peak_to_average": "peak to average",
    "target_utilisation_share": "target utilisation",
    "rent_usd_per_gpu_hour": "rent, USD per GPU-hour",
    "purchase_usd_per_gpu": "price of a GPU, USD",
    "power_usd_per_kwh": "power, USD per kWh",
    "colocation_usd_per_gpu_month": "colocation, USD per GPU-month",
    "reserve_share": "reserve on hardware",
    "staff_usd_per_month": "staff, USD a month",
    "network_usd_per_month": "network, USD a month",
    "output_share": "output share of tokens",
    "cached_share": "cached share of input",
    "batch_share": "share that may wait",
    "api_input_usd_per_million": "API input, USD per million",
    "api_output_usd_per_million": "API output, USD per million",
    "api_cached_usd_per_million": "API cached input, USD per million",
    "api_batch_discount_share": "API batch discount",
}


def summarise_break_even(
    case: Hosting, found: Sequence[BreakEven], versions: Mapping[str, str], command: str, flags: Mapping[str, str]
) -> Json:
    """The JSON of a case: the case as read, and a comparison per API. Volumes in tokens a day, money in USD a month.

    `flags`: what on the command line chooses an API, by its name.
    """
    return {
        "schema": SCHEMA,
        "name": case.name,
        "description": case.description,
        "assumptions": list(case.assumptions),
        "case": as_table(case),
        "capacity_source": case.capacity.source,
        "comparisons": [_comparison(one, flags.get(one.api_name, "")) for one in found],
        "versions": dict(versions),
        "command": command,
    }


def dump_json(summary: Json) -> bytes:
    """The bytes of a summary, indented."""
    return orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


def _comparison(found: BreakEven, flag: str) -> Json:
    draws, own = found.draws, own_curve(found.inputs, found.terms)
    return {
        "against": found.api_name,
        "flag": flag,
        "api_usd_per_million": found.api_usd_per_million,
        "marginal_usd_per_million": found.marginal_usd_per_million,
        "replica_tokens_per_day": found.replica_tokens_per_day,
        "own_curve": {
            "replica_usd_per_month": float(own.replica_usd_per_month),
            "fixed_usd_per_month": float(own.fixed_usd_per_month),
            "spare_replicas": own.spare_replicas,
        },
        "gpus_per_replica": found.terms.gpus_per_replica,
        "inputs": {name: float(getattr(found.inputs, name)) for name in VARIABLE},
        "terms": asdict(found.terms) | {"annuity_per_usd": found.terms.annuity_per_usd},
        "at_volume": {
            "tokens_per_day": found.tokens_per_day,
            "replicas": found.bill.replicas,
            "own_usd_per_month": found.bill.own_usd,
            "api_usd_per_month": found.bill.api_usd,
            "invested_usd": found.invested_usd,
            "payback_months": found.bill.payback_months,
            "net_present_usd": found.net_present_usd,
            "net_present_months": NPV_MONTHS,
            "net_present_discount_share_per_year": NPV_DISCOUNT_SHARE,
        },
        "volumes": [asdict(bill) for bill in found.bills],
        "varied": None if found.varied is None else _varied(found.varied),
        "crossings": _crossings(found.crossings),
        "verdict": verdict_text(found),
        "uncertainty": {
            "draws": draws.n,
            "seed": found.seed,
            "spreads": {name: [spread.low_share, spread.high_share] for name, spread in found.spreads.items()},
            "never_share": draws.never_share,
            "break_even_tokens_per_day": {f"p{round(100 * p)}": draws.break_even_quantile(p) for p in (0.05, 0.25, 0.5, 0.75, 0.95)},
            "share_below_volume": draws.share_below(found.tokens_per_day),
        },
        "tornado": [_swing(swing) for swing in found.swings],
        "prices": [{"name": name, "source": entry.source, "as_of": entry.as_of, "note": entry.note} for name, entry in found.used.items()],
        "notes": list(found.notes),
        "curve": {
            "tokens_per_day": found.volumes,
            "own_usd_p5_p50_p95": found.draws.cost_own_usd,
            "api_usd_p5_p50_p95": found.draws.cost_api_usd,
            "own_wins_share": found.draws.own_wins_share,
        },
    }


def _crossings(crossings: Crossings) -> Json:
    return {
        "first_tokens_per_day": crossings.first_tokens_per_day,
        "permanent_tokens_per_day": crossings.permanent_tokens_per_day,
        "own_also_wins": [[island.low_tokens_per_day, island.high_tokens_per_day] for island in crossings.islands],
        "more_islands": crossings.more_islands,
    }


def _varied(varied: Varied) -> Json:
    cells = varied.break_even_tokens_per_day.tolist()
    return {
        "inputs": list(varied.names),
        "values": [list(values) for values in varied.values],
        "permanent_tokens_per_day": [[None if cell == float("inf") else cell for cell in row] for row in cells],
    }


def _swing(swing: Swing) -> Json:
    return {
        "input": swing.name,
        "low": swing.low_value,
        "high": swing.high_value,
        "is_assumed": swing.is_assumed,
        "break_even_at_low": swing.break_even_at_low,
        "break_even_at_high": swing.break_even_at_high,
        "saving_at_low_usd": swing.saving_at_low_usd,
        "saving_at_high_usd": swing.saving_at_high_usd,
    }


def tokens_text(tokens_per_day: float | None) -> str:
    """ "29.07M/day"; "never" for None."""
    if tokens_per_day is None:
        return "never"
    for limit, scale, unit in ((1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "B")):
        if tokens_per_day < limit:
            return f"{tokens_per_day / scale:,.2f}{unit}/day"
    return f"{tokens_per_day / 1e12:,.2f}T/day"


def usd_text(usd: float) -> str:
    """ "$4,774.20"; "-$12.00"."""
    return f"{'-' if usd < 0 else ''}${abs(usd):,.2f}"


def months_text(months: float | None) -> str:
    """ "4.30 months"; "never" for None."""
    return "never" if months is None else f"{months:,.2f} months"


def verdict_text(found: BreakEven) -> str:
    """The crossings in a sentence."""
    crossings = found.crossings
    if crossings.permanent_tokens_per_day is None:
        return (
            f"never: a million tokens more costs {usd_text(found.marginal_usd_per_million)} on full replicas, at or above the API's "
            f"{usd_text(found.api_usd_per_million)}, so no volume pays"
        )
    text = f"self-hosting is cheaper for good from {tokens_text(crossings.permanent_tokens_per_day)}"
    if not crossings.islands:
        return text
    spans = [f"{tokens_text(i.low_tokens_per_day)} to {tokens_text(i.high_tokens_per_day)}" for i in crossings.islands[:3]]
    more = len(crossings.islands) + crossings.more_islands - len(spans)
    also = ", ".join(spans) + (f" and {more:,} more spans" if more else "")
    return f"{text}; also from {also}, the API between"


def print_break_even(case: Hosting, found: Sequence[BreakEven], console: Console) -> None:
    """What a person needs to argue: the case, a table of the APIs, what decides, what is assumed, what is stale."""
    console.print(clean_text(case.name), style="bold")
    console.print(f"capacity: {clean_text(case.capacity.source)}", markup=False)
    first = found[0]
    console.print(
        f"one replica: {first.terms.gpus_per_replica} GPUs, {tokens_text(first.replica_tokens_per_day)} on average, "
        f"{usd_text(first.marginal_usd_per_million)} a million tokens when full; {first.bill.replicas} replicas, "
        f"{first.terms.spare_replicas} of them spare, at {tokens_text(first.tokens_per_day)}: {usd_text(first.bill.own_usd)} a month",
        markup=False,
    )
    for one in found:
        _print_comparison(one, console)
    for assumption in case.assumptions:
        console.print(f"assumed: {clean_text(assumption)}", markup=False)
    for note in dict.fromkeys(note for one in found for note in one.notes):
        console.print(f"! stale price: {clean_text(note)}", markup=False, style="bold")


def _print_comparison(found: BreakEven, console: Console) -> None:
    draws, level = found.draws, found.draws.break_even_quantile
    console.print(
        f"\nagainst {clean_text(found.api_name)}, {usd_text(found.api_usd_per_million)} a million tokens", style="bold", markup=False
    )
    console.print(verdict_text(found), markup=False)
    console.print(
        f"at {tokens_text(found.tokens_per_day)}: self-hosting {usd_text(found.bill.own_usd)} a month, API {usd_text(found.bill.api_usd)}; "
        f"payback of {usd_text(found.invested_usd)} invested: {months_text(found.bill.payback_months)}; "
        f"net present value over {NPV_MONTHS} months at {NPV_DISCOUNT_SHARE:.0%} a year: {usd_text(found.net_present_usd)}",
        markup=False,
    )
    console.print(
        f"break-even over {draws.n:,} draws: median {tokens_text(level(0.5))}, 90 % from {tokens_text(level(0.05))} to "
        f"{tokens_text(level(0.95))}; never in {format_share(draws.never_share)}; "
        f"P(break-even below {tokens_text(found.tokens_per_day)}) = {format_share(draws.share_below(found.tokens_per_day))}",
        markup=False,
    )
    if len(found.bills) > 1:
        console.print(volume_table(found))
    if found.varied is not None:
        console.print(varied_table(found.varied))
    console.print(tornado_table(found))


def volume_table(found: BreakEven) -> Table:
    """The month at each volume that the case asks for."""
    table = Table(box=box.SIMPLE_HEAD, title="by volume", title_justify="left")
    for head in ("tokens a day", "replicas", "self-hosting", "API", "payback"):
        table.add_column(head, justify="right")
    for bill in found.bills:
        volume = tokens_text(bill.tokens_per_day).removesuffix("/day")
        table.add_row(volume, f"{bill.replicas:,}", usd_text(bill.own_usd), usd_text(bill.api_usd), months_text(bill.payback_months))
    return table


def varied_table(varied: Varied) -> Table:
    """The permanent break-even over the grid: rows of the first input, columns of the second."""
    columns = varied.values[1] if len(varied.names) > 1 else ()
    across = f", by {INPUT_WORDS[varied.names[1]]}" if columns else ""
    table = Table(box=box.SIMPLE_HEAD, title=f"cheaper for good from{across}", title_justify="left")
    table.add_column(INPUT_WORDS[varied.names[0]], justify="right")
    for value in columns or ("",):
        table.add_column(value if isinstance(value, str) else f"{value:,g}", justify="right")
    for value, row in zip(varied.values[0], varied.break_even_tokens_per_day.tolist(), strict=True):
        table.add_row(f"{value:,g}", *(tokens_text(None if cell == float("inf") else cell) for cell in row))
    return table


def tornado_table(found: BreakEven, rows: int = 6) -> Table:
    """The inputs that move the monthly saving most."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title="what decides: monthly saving at the ends of each input")
    for head in ("input", "low", "saving", "high", "saving"):
        table.add_column(head, justify="left" if head == "input" else "right")
    for swing in found.swings[:rows]:
        mark = " *" if swing.is_assumed else ""
        ends = (
            f"{swing.low_value:,.4g}",
            usd_text(swing.saving_at_low_usd),
            f"{swing.high_value:,.4g}",
            usd_text(swing.saving_at_high_usd),
        )
        table.add_row(INPUT_WORDS[swing.name] + mark, *ends)
    if any(swing.is_assumed for swing in found.swings[:rows]):
        table.caption = f"* no spread is stated: swung by {VARY_BY:.0%} either way"
        table.caption_justify = "left"
    return table
