"""One run on a terminal: verdicts first, then latencies with their intervals, then groups of requests, as wide as there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from loadlab.report.columns import Column, build_table, print_first_that_fits
from loadlab.report.findings import (
    ALL_METRICS,
    number_text,
    slo_sentences,
    steadiness_sentences,
    tau_sentence,
    too_short_sentence,
    verdict_lines,
)
from loadlab.report.imported import imported_sentences
from loadlab.report.over_time import is_worth_a_table, over_time_columns, over_time_note
from loadlab.report.server import server_sentences
from loadlab.report.terminal_styles import GOOD, OPEN
from loadlab.report.text import clean_text, short_success

Json = Mapping[str, Any]
UNITS_OF_RUN = {"ttft_s": ("s", 1.0), "tpot_s": ("ms", 1e3), "itl_s": ("ms", 1e3), "e2e_s": ("s", 1.0)}
_GROUP_COLUMNS = (("ttft_s", "TTFT", ("p50", "p95", "p99")), ("tpot_s", "TPOT", ("p50", "p95")), ("e2e_s", "e2e", ("p50", "p95")))
MAX_GROUPS_SHOWN = 12
MAX_CLASSES_SHOWN = 24


def print_verdicts(summary: Json, console: Console) -> None:
    """A line for each threshold of a run, or of each experiment of a campaign, and why where it did not pass."""
    runs = summary.get("experiments", [summary])
    lines = [(clean_text(str(run["id"])) if "experiments" in summary else "", line) for run in runs for line in verdict_lines(run)]
    if not lines:
        return
    console.print(Text("\nThresholds", style="bold"))
    id_width, width = max(len(key) for key, _ in lines), max(len(line.threshold) for _, line in lines)
    for key, line in lines:
        style = "bold red" if line.verdict == "FAILED" else f"bold {OPEN}" if line.is_bad else GOOD
        said = Text(f"{key:{id_width}}  {line.verdict:9}  ", style=style)
        said.append(f"{line.threshold:{width}}   {line.seen}", style="")
        console.print(said, soft_wrap=not console.is_terminal)
        if line.why:
            why = Text(f"{' ' * (id_width + 13)}{line.why}", style="dim")
            console.print(why, soft_wrap=not console.is_terminal)
    console.print()


def print_latencies(summary: Json, console: Console) -> None:
    """Latencies of the OK requests: with intervals where they fit, all statistics where there is room for them."""
    keys = [key for key in ALL_METRICS if key != "itl_s" or summary["metrics"][key]["n"]]
    metrics = [summary["metrics"][key] for key in keys]
    scales = [UNITS_OF_RUN[key][1] for key in keys]

    def column(head: str, name: str, *, interval: bool = False) -> Column:
        cells = [number_text(m[name], scale, interval=interval) for m, scale in zip(metrics, scales, strict=True)]
        return Column(head=head, cells=cells)

    names = Column(head="OK requests only", cells=[f"{ALL_METRICS[key]}, {UNITS_OF_RUN[key][0]}" for key in keys], is_text=True)
    counts = Column(head="n", cells=[f"{m['n']:,}" for m in metrics])
    p50, p95, p99 = column("p50", "p50"), column("p95 [95 %]", "p95", interval=True), column("p99 [95 %]", "p99", interval=True)
    wide = [names, counts, column("mean", "mean"), p50, column("p90", "p90"), p95, p99, column("max", "max")]
    plain = [names, counts, p50, column("p95", "p95"), column("p99", "p99")]
    candidates = [(wide, 2), ([names, counts, p50, p95, p99], 2), ([names, counts, p50, p95, p99], 1), (plain, 2), (plain, 1)]
    print_first_that_fits([build_table(columns, has_total=False, gap=gap) for columns, gap in candidates], console)


def print_groups(summary: Json, console: Console) -> None:
    """A table for each label with more than one value: whose requests were slow."""
    said: dict[str, list[str]] = {}
    for label, groups in summary["groups"].items():
        said.setdefault(repr(sorted(map(repr, groups.values()))), []).append(label)
    for label, *same in said.values():  # tiers that are the classes under another name are shown once
        groups = summary["groups"][label]
        console.print(Text(f"\nBy {label}{''.join(f', the same as by {other}' for other in same)}", style="bold"))
        shown = list(groups.items())[:MAX_GROUPS_SHOWN]
        head, rest = _group_columns(label, shown)
        candidates = [[*head, *rest], [*head, *rest[:-2]], [*head, *rest[:4]]]
        print_first_that_fits([build_table(columns, has_total=False, gap=gap) for columns in candidates for gap in (2, 1)], console)
        if len(groups) > MAX_GROUPS_SHOWN:
            console.print(Text(f"  and {len(groups) - MAX_GROUPS_SHOWN:,} more: summary.json has them", style="dim"))


def print_over_time(summary: Json, console: Console) -> None:
    """A line a window, where the load changes by design or the backlog grew."""
    if not is_worth_a_table(summary):
        return
    console.print(Text("\nOver time", style="bold"))
    columns = list(over_time_columns(summary))
    print_first_that_fits([build_table(columns, has_total=False, gap=gap) for gap in (2, 1)], console)
    console.print(Text(over_time_note(summary), style="dim"))


def print_campaign_classes(experiments: Sequence[Json], console: Console) -> None:
    """The classes of every experiment that has several, under each other: what each tier or step had to carry."""
    rows = [
        (clean_text(str(one["id"])), clean_text(name), group)
        for one in experiments
        for name, group in (one["groups"].get("class") or {}).items()
    ]
    if not rows:
        return
    console.print(Text("\nBy class", style="bold"))
    shown = rows[:MAX_CLASSES_SHOWN]
    ids = Column(head="id", cells=[key for key, _, _ in shown], is_text=True)
    head, rest = _group_columns("class", [(name, group) for _, name, group in shown])
    candidates = [[ids, *head, *rest], [ids, *head, *rest[:-2]], [ids, *head, *rest[:-4]]]
    print_first_that_fits([build_table(columns, has_total=False, gap=gap) for columns in candidates for gap in (2, 1)], console)
    if len(rows) > len(shown):
        console.print(Text(f"  and {len(rows) - len(shown):,} more: summary.json has them", style="dim"))


def _group_columns(label: str, groups: Sequence[tuple[str, Json]]) -> tuple[list[Column], list[Column]]:
    blocks = [group for _, group in groups]
    head = [
        Column(head=label, cells=[clean_text(name) for name, _ in groups], is_text=True, is_name=True),
        Column(head="n", cells=[f"{group['planned']:,}" for group in blocks]),
        Column(head="OK\n%", cells=[short_success({"success_rate": group["success_rate"]}) for group in blocks]),
    ]
    tokens = Column(head="OK\ntok\n/s", cells=[number_text(group["output_tokens_per_s"], interval=False) for group in blocks])
    rest = [
        tokens,
        *(
            Column(
                head=f"{words}\n{name}\n{UNITS_OF_RUN[key][0]}",
                cells=[number_text(group["metrics"][key][name], UNITS_OF_RUN[key][1], interval=False) for group in blocks],
                opens_group=name == "p50",
            )
            for key, words, names in _GROUP_COLUMNS
            for name in names
        ),
    ]
    return head, rest


def findings(summary: Json) -> Iterator[tuple[str, str]]:
    """(sentence, style) of what is to be known before the numbers are believed."""
    for warning, is_alarm in (*imported_sentences(summary), *steadiness_sentences(summary), *server_sentences(summary)):
        yield warning, "bold red" if is_alarm else ""
    for said in (*slo_sentences(summary), tau_sentence(summary), too_short_sentence(summary)):
        if said is not None:
            yield said, ""


def rates_text(summary: Json) -> str:
    """Requests and tokens a second, in and out, with intervals."""
    throughput = summary["throughput"]
    return (
        f"OK requests {number_text(throughput['requests_per_s'])}/s, output tokens {number_text(throughput['output_tokens_per_s'])}/s, "
        f"prompt tokens {number_text(throughput['prompt_tokens_per_s'])}/s"
    )
