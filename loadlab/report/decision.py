"""A hosting decision for machines (JSON) and for people (a terminal)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.decision import SURE_AT, Flip, Judged, Question, Verdict
from loadlab.report.break_even import tokens_text, usd_text
from loadlab.report.text import clean_text
from loadlab.schema import as_table
from loadlab.units import format_share

SCHEMA = "loadlab/decision-result/1"
Json = dict[str, Any]


def summarise_decision(question: Question, verdict: Verdict, versions: Mapping[str, str], command: str) -> Json:
    """The JSON of a verdict. Volumes in tokens a day, money in USD a month."""
    return {
        "schema": SCHEMA,
        "name": question.name,
        "description": question.description,
        "tokens_per_day": question.tokens_per_day,
        "needs": as_table(question.needs),
        "verdict": None if verdict.place is None else verdict.place.value,
        "sentence": verdict_text(verdict),
        "binding": verdict.binding,
        "flips": [_flip(flip) for flip in verdict.flips],
        "places": [_place(judged, question.tokens_per_day) for judged in verdict.places],
        "rule": f"one's own counts as cheaper where the volume is above the {SURE_AT:.0%} quantile of its permanent break-even",
        "versions": dict(versions),
        "command": command,
    }


def _flip(flip: Flip) -> Json:
    return {"what": flip.what, "now": flip.now, "at": flip.at, "unit": flip.unit, "to": flip.to.value, "sentence": flip_text(flip)}


def _place(judged: Judged, tokens_per_day: float) -> Json:
    found = judged.break_even
    return {
        "place": judged.place.value,
        "usd_per_month": judged.usd_per_month,
        "barred_by": list(judged.barred_by),
        "break_even_p75_tokens_per_day": None if found is None else found.draws.break_even_quantile(SURE_AT),
        "break_even_tokens_per_day": None if found is None else found.crossings.permanent_tokens_per_day,
        "share_of_draws_below_volume": None if found is None else found.draws.share_below(tokens_per_day),
        "marginal_usd_per_million": None if found is None else found.marginal_usd_per_million,
        "payback_months": None if found is None else found.bill.payback_months,
        "notes": [] if found is None else list(found.notes),
    }


def place_text(place: str) -> str:
    """ "public API"; "on premises"."""
    return place.replace("-", " ").replace("api", "API")


def verdict_text(verdict: Verdict) -> str:
    """The verdict in a line."""
    return "nowhere: every place fails a hard gate" if verdict.place is None else place_text(verdict.place.value)


def flip_text(flip: Flip) -> str:
    """ "API price from $5.40 to $3.20 (per million tokens): public API"."""
    to = place_text(flip.to.value)
    if flip.what == "volume":
        return f"volume from {tokens_text(flip.now)} to {tokens_text(flip.at)}: {to}"
    return f"{flip.what} from {usd_text(flip.now)} to {usd_text(flip.at)} ({flip.unit.removeprefix('USD ')}): {to}"


def print_decision(question: Question, verdict: Verdict, console: Console) -> None:
    """The verdict, what binds, what would flip it, and every place with its bill and its gates."""
    console.print(clean_text(question.name), style="bold", markup=False)
    console.print(f"verdict: {verdict_text(verdict)}", style="bold", markup=False)
    console.print(f"binding: {verdict.binding}", markup=False)
    for flip in verdict.flips:
        console.print(f"would flip it: {flip_text(flip)}", markup=False)
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("place", "a month", "P(cheaper for good)", "barred by"):
        table.add_column(head, justify="right" if head in ("a month", "P(cheaper for good)") else "left")
    for judged in verdict.places:
        found = judged.break_even
        sure = "-" if found is None else format_share(found.draws.share_below(question.tokens_per_day))
        table.add_row(place_text(judged.place.value), usd_text(judged.usd_per_month), sure, "; ".join(judged.barred_by) or "-")
    console.print(table)
    for note in dict.fromkeys(note for j in verdict.places if j.break_even for note in j.break_even.notes):
        console.print(f"! stale price: {clean_text(note)}", style="bold", markup=False)
