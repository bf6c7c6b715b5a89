"""Summaries on a terminal, for people: one wide table where it fits, else stacked ones; 60 columns suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadlab.report.columns import Column, build_table, fits, pack, print_first_that_fits
from loadlab.report.columns import say as _say
from loadlab.report.findings import campaign_overloaded, campaign_too_short
from loadlab.report.imported import IMPORTED
from loadlab.report.prediction import prediction_lines
from loadlab.report.terminal_run import (
    findings,
    print_campaign_classes,
    print_groups,
    print_latencies,
    print_over_time,
    print_verdicts,
    rates_text,
)
from loadlab.report.text import (
    ABBREVIATIONS,
    BUSY_NOTE,
    INTERVAL_NOTE,
    METRICS,
    NOT_RUN,
    OTHER_OUTCOMES,
    OUTCOME_WORDS,
    PERCENTILES,
    UNITS,
    band_text,
    cause_lines,
    clean_text,
    failures_text,
    heading_text,
    is_low,
    is_maximum,
    key_words,
    look_up,
    percentile_text,
    server_words,
    short_success,
    sources_text,
    success_text,
    three_digits,
    value_text,
    whole_percent,
)
from loadlab.report.validity import validity_lines
from loadlab.units import format_share

Json = Mapping[str, Any]
_STATUS_WORDS = {
    "running": "RUNNING, or killed: rows so far",
    "incomplete": "INCOMPLETE: some requests have no result",
    "aborted": "STOPPED before its end: what was not sent counts against success",
}


def print_campaign(summary: Json, console: Console) -> None:
    """The experiments of a campaign with a total line, what is published elsewhere beside it, and success by client timeout."""
    experiments = summary["experiments"]
    _print_heading(summary, console)
    print_verdicts(summary, console)
    _print_validity(experiments, console)
    ids = Column(head="id", cells=[*(clean_text(e["id"]) for e in experiments), ""], is_text=True)
    all_ids = replace(ids, cells=[*ids.cells[:-1], "all"])  # where there is no room for names
    names = Column(head="experiment", cells=[*(clean_text(e["name"]) for e in experiments), "total"], is_text=True, is_name=True)
    outcomes, server = list(_outcome_columns([*experiments, summary])), list(_server_columns(experiments, summary))
    count, *latencies = _ok_groups(experiments)
    wide = build_table([ids, names, *outcomes, *count, *(c for group in latencies for c in group), *server], has_total=True)
    if fits(wide, console):
        _say(console, "\nWhat became of the requests; how long the OK ones took, and their output; what the server did", "bold")
        console.print(wide)
        _print_causes(experiments, console)
    else:
        _say(console, "\nWhat became of the requests", "bold")
        tables = [([ids, names, *outcomes], 2), ([ids, names, *outcomes], 1), ([all_ids, *outcomes], 2), ([all_ids, *outcomes], 1)]
        print_first_that_fits([build_table(columns, has_total=True, gap=gap) for columns, gap in tables], console)
        _print_causes(experiments, console)
        share = Column(head="OK\n%", cells=[*(short_success(e["totals"]) for e in experiments), ""])
        _print_ok(all_ids, names, [*count, share], latencies, server, console)
    print_campaign_classes(experiments, console)
    _print_notes(experiments, summary, console)
    _print_published(summary, console)
    _print_sensitivity(summary, console)


def _print_ok(
    ids: Column, names: Column, first: Sequence[Column], groups: Sequence[Sequence[Column]], server: Sequence[Column], console: Console
) -> None:
    """Latencies and output of the OK requests, and what the server did, in as few tables as the width allows."""
    every = [ids, names, *first, *(column for group in [*groups, server] for column in group)]
    named = build_table([column.without_total() for column in every], has_total=False)
    close = build_table([column.without_total() for column in every if column is not names], has_total=False, gap=1)
    if fits(close, console):
        _say(console, "\nHow long they took, and their output: OK requests only; what the server did (KV, GPU): all requests", "bold")
        print_first_that_fits([named, close], console)
        return
    _say(console, "\nHow long they took, and their output: OK requests only", "bold")
    for i, columns in enumerate(pack([ids, *first], groups, console)):
        if i > 0:
            console.print()
        rows = [column.without_total() for column in columns]
        print_first_that_fits([build_table([rows[0], names.without_total(), *rows[1:]], has_total=False, gap=gap) for gap in (2, 1)]
                              + [build_table(rows, has_total=False, gap=1)], console)  # fmt: skip
    _say(console, "\nWhat the server did: all requests", "bold")
    tables = ([replace(ids, cells=[*ids.cells[:-1], ""]), names, *server], [ids, *server])
    print_first_that_fits([build_table(columns, has_total=True) for columns in tables], console)


def print_run(summary: Json, console: Console) -> None:
    """One run: what became of its requests, a line per latency, and what the server did."""
    _print_heading(summary, console)
    totals = summary["totals"]
    _print_validity([summary], console)
    said = f"{totals['planned']:,} planned, {totals['ok']:,} OK = {success_text(totals)}, {failures_text(totals, summary['causes'])}"
    _say(console, said, "bold")
    print_verdicts(summary, console)
    print_latencies(summary, console)
    print_groups(summary, console)
    print_over_time(summary, console)
    _say(console, f"\n{rates_text(summary)}")
    _say(console, _use_text(summary))
    for sentence, style in findings(summary):
        _say(console, sentence, style)
    _print_notes([summary], summary, console)


def _print_heading(summary: Json, console: Console) -> None:
    _say(console, heading_text(summary), "bold")
    words = _STATUS_WORDS.get(summary["status"])
    if words is not None:
        _say(console, f"{clean_text(summary['name'])}: {words}", "bold red")


def _print_validity(runs: Sequence[Json], console: Console) -> None:
    """The verdict on each run over HTTP, before any figure of it."""
    for run in runs:
        for i, line in enumerate(validity_lines(run)):
            head = f"{clean_text(str(run['id']))}: " if "id" in run and i == 0 else ""
            _say(console, head + line, "" if i else "bold" if run["validity"]["verdict"] == "valid" else "bold red")


def _outcome_columns(blocks: Sequence[Json]) -> Iterator[Column]:
    """n, success, rejected, timed out, OOM; the rarer outcomes only where one occurred. No count where nothing was begun."""
    totals = [block["totals"] for block in blocks]
    not_run = [block["status"] == NOT_RUN for block in blocks]

    def counts(*keys: str) -> list[str]:
        return ["-" if skip else f"{sum(t[key] for key in keys):,}" for t, skip in zip(totals, not_run, strict=True)]

    yield Column(head="n", cells=[f"{t['planned']:,}" for t in totals])
    yield Column(head="success [95 %]", cells=[f"{'! ' if is_low(t) else ''}{success_text(t)}" for t in totals])
    yield Column(head="rejected", cells=counts("rejected"))
    yield Column(head="timed\nout", cells=counts("timeout"))
    yield Column(head="OOM\nrequests", cells=counts("oom"), is_alarm=True)
    if any(t[key] for t in totals for key in OTHER_OUTCOMES):
        yield Column(head="other", cells=counts(*OTHER_OUTCOMES))


def _ok_groups(experiments: Sequence[Json]) -> Iterator[list[Column]]:
    """Of OK requests: their number, then percentiles with the unit in the head, then output. No total: percentiles do not add up."""
    yield [Column(head="OK\nn", cells=[*("-" if e["status"] == NOT_RUN else f"{e['totals']['ok']:,}" for e in experiments), ""])]
    for key, words in (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("e2e_s", "e2e")):
        unit, scale = UNITS[key]
        group = []
        for name in PERCENTILES:
            cells = [percentile_text(e["metrics"][key], name, scale) for e in experiments]
            group.append(Column(head=f"{words}\n{name}\n{unit}", cells=[*cells, ""], opens_group=name == "p50"))
        yield group
    tokens = [three_digits(e["throughput"]["output_tokens_per_s"]["value"]) for e in experiments]
    yield [Column(head="OK\ntok\n/s", cells=[*tokens, ""], opens_group=True)]


def _server_columns(experiments: Sequence[Json], summary: Json) -> Iterator[Column]:
    yield Column(head="KV\npeak\n%", cells=[whole_percent(e["observed"]["kv_peak"]) for e in (*experiments, summary)])
    yield Column(head="GPU\nbusy\n%", cells=[*(whole_percent(e["observed"]["gpu_busy"]) for e in experiments), ""])


def _print_causes(experiments: Sequence[Json], console: Console) -> None:
    lines = cause_lines(experiments)
    if lines:
        _say(console, "Why they failed, by cause", "bold")
    for line in lines:
        _say(console, f"  {line.count:>5,} {line.outcome}, {line.cause}: {line.experiments}")


def _print_notes(experiments: Sequence[Json], summary: Json, console: Console) -> None:
    """What the figures are: never left to be guessed."""
    for note in (*_reading_notes(experiments, summary), *_event_notes(summary), *_bands(experiments)):
        _say(console, note, "dim")


def _reading_notes(experiments: Sequence[Json], summary: Json) -> Iterator[str]:
    totals = summary["totals"]
    yield "Latency is counted from the due time, of OK requests only, and so are output tokens/s; failures stand in the counts."
    if totals["success_rate"]["low"] is not None or any(e["totals"]["success_rate"]["low"] is not None for e in experiments):
        yield INTERVAL_NOTE
    if any(is_low(e["totals"]) for e in (*experiments, summary)):
        mark = "! below" if "experiments" in summary else "Below"
        yield f"{mark} 95 % success: the latencies are those of the requests that got through."
    if "experiments" in summary:
        yield from filter(None, (campaign_overloaded(experiments), campaign_too_short(experiments)))
    if "experiments" in summary and any(
        is_maximum(e["metrics"][key]["n"], name) for e in experiments for key in METRICS for name in PERCENTILES
    ):
        yield "* the maximum: too few requests for this percentile."
    others = [f"{totals[key]:,} {OUTCOME_WORDS[key]}" for key in OTHER_OUTCOMES if totals[key]]
    if others:
        yield f"other: {', '.join(others)}."
    yield f"{ABBREVIATIONS} {BUSY_NOTE}"


def _event_notes(summary: Json) -> Iterator[str]:
    events = summary["observed"]["oom_events"]
    if "experiments" in summary and events:
        requests = summary["totals"]["oom"]
        yield f"OOM events (a replica died): {events:,}; OOM requests (they were on it): {requests:,}."


def _bands(experiments: Sequence[Json]) -> list[str]:
    """One sentence for each distinct label of the simulator's step times."""
    labels = dict.fromkeys(label for e in experiments for pool in e.get("conditions", ()) if (label := band_text(pool)) is not None)
    said = [f"Simulated, step times: {label}." for label in labels]
    return said + [line for e in experiments for line in prediction_lines(e.get("prediction"))]


def _use_text(summary: Json) -> str:
    """What the server did, on one line."""
    if summary.get("engine") == "locust":
        return server_words(summary["causes"])
    if summary.get("engine") == IMPORTED:
        return "What the server did is not known."
    observed = summary["observed"]
    said = [f"KV peak {format_share(observed['kv_peak']['value'])}", f"GPU busy {format_share(observed['gpu_busy']['value'])}"]
    events = {"preemptions": observed["preemptions"], "OOM events": observed["oom_events"]}
    return ", ".join([*said, *(f"{'-' if number is None else f'{number:,}'} {words}" for words, number in events.items())])


def _print_published(summary: Json, console: Console) -> None:
    """Only what we have a figure for, the page shows the rest; nothing beside a campaign that is not complete."""
    rows = [row for row in summary.get("published") or () if row.get("ours")]
    if not rows or summary["status"] != "complete":
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, collapse_padding=True)
    for head in ("", "this run", "published elsewhere"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean_text(str(cell))) for cell in (row["what"], look_up(summary, row["ours"]), row["published"])))
    _say(console, "\nBeside what is published elsewhere: not a target, the conditions differ", "bold")
    console.print(table)
    _say(console, f"Source: {sources_text(rows)}", "dim")


def _print_sensitivity(summary: Json, console: Console) -> None:
    sensitivity = summary.get("sensitivity")
    if not sensitivity:
        if summary.get("sensitivity_note"):
            _say(console, f"\nSuccess with other values: {clean_text(summary['sensitivity_note'])}.", "bold red")
        return
    key = sensitivity["key"]
    _say(console, f"\nSuccess by {key_words(key)}", "bold")
    for row in sensitivity["rows"]:
        console.print(Text(f"  {value_text(key, row['value']):>7}  {success_text(row['totals']):>22}"))
