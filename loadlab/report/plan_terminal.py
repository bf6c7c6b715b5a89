"""A plan for people, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.report.plan import CLUSTER_FILE, LATENCY_WORDS
from loadlab.report.text import clean_text
from loadlab.units import format_duration, format_share

Json = Mapping[str, Any]
MAX_FRONT = 12
WIDE = 100  # columns of a terminal that has room for both edges


def print_plan(summary: Json, console: Console) -> None:
    """The answer, what it rests on, the front, the best of each GPU, and why the rest lost."""
    console.print(clean_text(f"{summary['name']}: {summary['model']}"), style="bold", markup=False)
    console.print(f"SLO: {summary['slo_text']}; load: {summary['rate_per_s']:.3g} arrivals a second", markup=False)
    console.print(summary["sentence"], style="bold", markup=False)
    for line in answer_lines(summary):
        console.print(f"  {line}", markup=False)
    console.print("\nBest of each GPU:", markup=False)
    for row in summary["best_of_each_gpu"]:
        console.print(f"  {row['gpu']}: {row['configuration'].removeprefix(row['gpu'] + ' ')}: {clean_text(row['why'])}", markup=False)
    if summary["front"]:
        has_edges = console.width >= WIDE
        edges = "median prediction, and the band's high edge" if has_edges else "median prediction"
        console.print(f"\nFront of cost, TTFT, TPOT and goodput; latencies at {percent(summary)}, {edges}:", markup=False)
        console.print(front_table(summary["front"][:MAX_FRONT], has_edges=has_edges))
        if len(summary["front"]) > MAX_FRONT:
            console.print(f"{len(summary['front']) - MAX_FRONT} more are in plan.json.")
    counts = ", ".join(f"{number:,} {fate}" for fate, number in summary["fates"].items() if number)
    console.print(f"{len(summary['candidates']):,} configurations: {counts}. {summary['requests']:,} requests simulated.", markup=False)


def percent(summary: Json) -> str:
    """ "p95": where latencies are read, the SLO's target."""
    return f"p{100 * summary['target_share']:g}"


def answer_lines(summary: Json) -> list[str]:
    """What the answer rests on, and what would change it."""
    chosen = summary["chosen"]
    if chosen is None:
        return ["Raise --max-gpus, allow other GPUs or fewer bits, or ask for less: below stands what each missed by."]
    offer, edges, gpu = chosen["offer"], chosen["edges"], summary["gpus"][chosen["gpu"]]
    at = percent(summary)
    spans = ", ".join(
        f"{words} {format_duration(edges['median'][f'{name}_s'])} ({format_duration(edges['low'][f'{name}_s'])} to "
        f"{format_duration(edges['high'][f'{name}_s'])})"
        for name, words in LATENCY_WORDS.items()
    )
    bad = edges["high"]["bad_share"]
    lines = [
        f"price: {offer['name']}, ${offer['per_gpu_hour']:g} a GPU-hour, {chosen['billed_gpus']} billed ({clean_text(offer['provider'])}, "
        f"as of {offer['as_of']})",
        f"engine: max_running {chosen['max_running']}, max_batched_tokens {chosen['max_batched_tokens']}, KV {chosen['kv_format']}",
        f"predicted {at}: {spans}",
        f"at the high edge {format_share(bad['value'])} of requests are bad [{format_share(bad['low'])} to {format_share(bad['high'])}], "
        f"{format_share(1 - summary['target_share'])} are allowed; n {edges['high']['n']:,}, tau {edges['high']['tau']:.1f}",
        f"band: {gpu['calibration']}, steps {gpu['step_scale'][0]:g} to {gpu['step_scale'][1]:g}, TTFT {gpu['ttft_scale'][0]:g} to "
        f"{gpu['ttft_scale'][1]:g} of the prediction, from {gpu['rows']:,} measured rows ({gpu['source']})",
        *([] if summary["wider"] is None else [wider_text(summary["wider"])]),
        f"plan {chosen['plan_digest'][:15]}, seed {summary['seed']}; scenario {summary['scenario_digest'][:15]}",
        f"check it: loadlab capacity {clean_text(summary['scenario'])} --target sim:{summary['folder'] or 'OUT'}/{CLUSTER_FILE}"
        + "".join(f" --slo {text}" for text in summary["slo_flags"]),
        f"open: {settles(summary)}",
    ]
    return lines + [f"note: {clean_text(note)}" for note in summary["notes"]]


def wider_text(wider: Json) -> str:
    """The cheapest with 8 bits or more, since 4 bits change a model's answers, which nobody judged here."""
    return (
        f"4-bit weights change answers, which is not judged here; the cheapest with 8 bits or more, {wider['configuration']} x "
        f"{wider['replicas']}, costs {100 * wider['costs_more_share']:.0f} % more"
    )


def settles(summary: Json) -> str:
    """What would make the answer another, or none."""
    chosen = summary["chosen"]
    gpu = summary["gpus"][chosen["gpu"]]
    parts = []
    if not chosen["is_proven"]:
        parts.append("the bad share is not proven within the budget: one replica more, or a longer run, would settle it")
    if not gpu["is_calibrated"]:
        parts.append(f"nothing was measured on {chosen['gpu']}: its band is that of its class, and a calibration may move the answer")
    parts.append("another mix of prompts, or a calibration outside the band, would change it")
    return "; ".join(parts)


def front_table(rows: Sequence[Json], *, has_edges: bool) -> Table:
    """A row for each cluster of the front, by cost."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("cluster", overflow="fold", min_width=20)
    times = ("TTFT", "to", "TPOT", "to") if has_edges else ("TTFT", "TPOT")
    for head in ("running\n/ step", "GPUs", "USD a\nmonth", *times, "good/s", "SLO"):
        table.add_column(head, justify="right", no_wrap=True)
    ends = ("value", "high") if has_edges else ("value",)
    for row in rows:
        shape, running, step = _parts(row["configuration"])
        table.add_row(
            f"{row['replicas']} x {shape}", f"{running}/{step}", f"{row['gpus']}", f"{row['usd_per_month']:,.0f}",
            *(format_duration(row[key][end]) for key in ("ttft_s", "tpot_s") for end in ends), f"{row['goodput_per_s']:.3g}",
            "holds" if row["holds"] else "median" if row["holds_at_median"] else "missed",
        )  # fmt: skip
    return table


def _parts(configuration: str) -> tuple[str, str, str]:
    """Shape, sequences running, tokens a step, as a configuration's name has them."""
    shape, running, step = configuration.split(", ")
    return shape, running.split()[0], step.split()[0]
