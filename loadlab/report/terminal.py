"""Summaries as tables on a terminal, for people: one wide table where it fits, else two stacked ones; 80 columns suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadlab.report.text import (
    METRICS,
    OTHER_OUTCOMES,
    OUTCOME_WORDS,
    PERCENTILES,
    UNITS,
    band_text,
    clean_text,
    failures_text,
    is_maximum,
    key_words,
    look_up,
    percentile_text,
    sources_text,
    success_text,
    three_digits,
    value_text,
    whole_percent,
)
from loadlab.units import format_share

Json = Mapping[str, Any]
_STATUS_WORDS = {
    "running": "RUNNING, or killed: rows so far",
    "incomplete": "INCOMPLETE: some requests have no result",
    "aborted": "STOPPED before its end: what was not sent counts against success",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of a table: its head, how wide its cells may be, and its cells (the last one for the total line)."""

    head: str
    cells: Sequence[str]
    is_text: bool = False
    is_alarm: bool = False  # a cell other than 0 is bad news
    opens_group: bool = False  # set apart from the column before it where columns stand close


def print_campaign(summary: Json, console: Console) -> None:
    """The experiments of a campaign with a total line, what is published elsewhere beside it, and success by client timeout."""
    experiments = summary["experiments"]
    ids = _Column(head="id", cells=[*(clean_text(e["id"]) for e in experiments), ""], is_text=True)
    names = _Column(head="experiment", cells=[*(clean_text(e["name"]) for e in experiments), "total"], is_text=True)
    _print_status(summary, console)
    outcomes = list(_outcome_columns([*experiments, summary]))
    latencies = [*_latency_columns(experiments), *_use_columns(experiments, summary)]
    wide = _build_table([ids, names, *outcomes, *latencies], has_total=True)
    if _fits(wide, console):
        console.print(wide)
    else:
        console.print(Text("\nWhat became of the requests", style="bold"))
        console.print(_build_table([ids, names, *outcomes], has_total=True))
        console.print(Text("\nHow long the OK ones took, and what the server did", style="bold"))
        named = _build_table([_without_last(column) for column in (ids, names, *latencies)], has_total=False)
        close = _build_table([_without_last(column) for column in (ids, *latencies)], has_total=False, gap=1)
        console.print(named if _fits(named, console) else close)
    _print_notes(experiments, summary, console)
    _print_published(summary, console)
    _print_sensitivity(summary, console)


def print_run(summary: Json, console: Console) -> None:
    """One run: what became of its requests, a line per latency, and what the server did."""
    _print_status(summary, console)
    totals = summary["totals"]
    console.print(
        Text.assemble(
            (clean_text(summary["name"]), "bold"),
            f": {totals['planned']:,} planned, {totals['ok']:,} OK = {success_text(totals)}, {failures_text(totals)}",
        )
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for head in ("", "n", "p50", "p95", "p99"):
        table.add_column(head, justify="left" if head == "" else "right")
    for key, words in METRICS.items():
        unit, scale = UNITS[key]
        metric = summary["metrics"][key]
        table.add_row(f"{words}, {unit}", f"{metric['n']:,}", *(percentile_text(metric, p, scale) for p in PERCENTILES))
    console.print(table)
    console.print(Text(_use_text(summary)))
    _print_notes([summary], summary, console)


def _print_status(summary: Json, console: Console) -> None:
    words = _STATUS_WORDS.get(summary["status"])
    if words is not None:
        console.print(Text(f"{clean_text(summary['name'])}: {words}", style="bold red"))


def _outcome_columns(blocks: Sequence[Json]) -> Iterator[_Column]:
    """n, success, OOM, rejected, timed out; the rarer outcomes only where one occurred."""
    totals = [block["totals"] for block in blocks]
    yield _Column(head="n", cells=[f"{t['planned']:,}" for t in totals])
    yield _Column(head="success [95 %]", cells=[success_text(t) for t in totals])
    heads = {"oom": "OOM", "rejected": "rejected", "timeout": "timed\nout"}
    for key, head in heads.items():
        yield _Column(head=head, cells=[f"{t[key]:,}" for t in totals], is_alarm=key == "oom")
    if any(t[key] for t in totals for key in OTHER_OUTCOMES):
        yield _Column(head="other", cells=[f"{sum(t[key] for key in OTHER_OUTCOMES):,}" for t in totals])


def _latency_columns(experiments: Sequence[Json]) -> Iterator[_Column]:
    """Percentiles, units in the head; no total, as percentiles of different experiments do not add up."""
    yield _Column(head="OK\nn", cells=[*(f"{e['totals']['ok']:,}" for e in experiments), ""])
    for key, words in (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("e2e_s", "e2e")):
        unit, scale = UNITS[key]
        for name in PERCENTILES:
            cells = [percentile_text(e["metrics"][key], name, scale) for e in experiments]
            yield _Column(head=f"{words}\n{name}\n{unit}", cells=[*cells, ""], opens_group=name == "p50")


def _use_columns(experiments: Sequence[Json], summary: Json) -> Iterator[_Column]:
    tokens = [three_digits(e["throughput"]["output_tokens_per_s"]["value"]) for e in experiments]
    yield _Column(head="out\ntok\n/s", cells=[*tokens, ""], opens_group=True)
    yield _Column(head="KV\npeak\n%", cells=[whole_percent(e["observed"]["kv_peak"]) for e in (*experiments, summary)])
    yield _Column(head="GPU\nbusy\n%", cells=[*(whole_percent(e["observed"]["gpu_busy"]) for e in experiments), ""])


def _without_last(column: _Column) -> _Column:
    return replace(column, cells=column.cells[:-1])


def _fits(table: Table, console: Console) -> bool:
    return console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width


def _build_table(columns: Sequence[_Column], *, has_total: bool, gap: int = 2) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
    if gap == 1:
        columns = [_indented(column) if column.opens_group else column for column in columns]
    for column in columns:
        is_name = column.head == "experiment"
        table.add_column(
            Text(column.head), justify="left" if column.is_text else "right", no_wrap=True, overflow="ellipsis", ratio=None,
            max_width=24 if is_name else None, min_width=None if is_name else max(map(len, column.cells), default=0),
        )  # fmt: skip
    for i in range(len(columns[0].cells)):
        is_total = has_total and i == len(columns[0].cells) - 1
        if is_total:
            table.add_section()
        table.add_row(*(_cell(column, i) for column in columns), style="bold" if is_total else None)
    return table


def _indented(column: _Column) -> _Column:
    head = "\n".join(f" {line}" for line in column.head.split("\n"))
    return replace(column, head=head, cells=[f" {cell}" for cell in column.cells])


def _cell(column: _Column, i: int) -> Text:
    cell = column.cells[i]
    return Text(cell, style="bold red" if column.is_alarm and cell not in ("0", "-", "") else "")


def _print_notes(experiments: Sequence[Json], summary: Json, console: Console) -> None:
    """What the figures are: never left to be guessed."""
    maxima = any(is_maximum(e["metrics"][key]["n"], name) for e in experiments for key in METRICS for name in PERCENTILES)
    notes = ["Latency is counted from the due time, of OK requests only; failures stand in the counts."]
    if maxima:
        notes.append("* the maximum: too few requests for this percentile.")
    totals = summary["totals"]
    others = [f"{totals[key]:,} {OUTCOME_WORDS[key]}" for key in OTHER_OUTCOMES if totals[key]]
    if others:
        notes.append(f"other: {', '.join(others)}.")
    notes.extend(_bands(experiments))
    console.print(Text(" ".join(notes), style="dim"))


def _bands(experiments: Sequence[Json]) -> list[str]:
    """One sentence for each distinct label of the simulator's step times."""
    labels = dict.fromkeys(label for e in experiments for pool in e.get("conditions", ()) if (label := band_text(pool)) is not None)
    return [f"Simulated, step times: {label}." for label in labels]


def _use_text(summary: Json) -> str:
    """What the server did, on one line."""
    throughput, observed = summary["throughput"], summary["observed"]
    said = [
        f"{three_digits(throughput['output_tokens_per_s']['value'])} output tokens/s",
        f"KV peak {format_share(observed['kv_peak']['value'])}",
        f"GPU busy {format_share(observed['gpu_busy']['value'])}",
    ]
    events = {"preemptions": observed["preemptions"], "OOM events": observed["oom_events"]}
    return ", ".join([*said, *(f"{'-' if number is None else f'{number:,}'} {words}" for words, number in events.items())])


def _print_published(summary: Json, console: Console) -> None:
    """Only what we have a figure for; the page shows the rest."""
    rows = [row for row in summary.get("published") or () if row.get("ours")]
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, collapse_padding=True)
    for head in ("", "this run", "published elsewhere"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean_text(str(cell))) for cell in (row["what"], look_up(summary, row["ours"]), row["published"])))
    console.print(Text("\nBeside what is published elsewhere: not a target, the conditions differ", style="bold"))
    console.print(table)
    console.print(Text(f"Source: {sources_text(rows)}", style="dim"))


def _print_sensitivity(summary: Json, console: Console) -> None:
    sensitivity = summary.get("sensitivity")
    if not sensitivity:
        return
    key = sensitivity["key"]
    console.print(Text(f"\nSuccess by {key_words(key)}", style="bold"))
    for row in sensitivity["rows"]:
        console.print(Text(f"  {value_text(key, row['value']):>7}  {success_text(row['totals']):>22}"))
