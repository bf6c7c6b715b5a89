"""A hybrid capacity for machines and people: what was measured, what was simulated at the same rates, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.levels import Level
from loadlab.report.capacity import level_table, rate_text
from loadlab.report.columns import say
from loadlab.report.text import clean_text
from loadlab.units import format_duration, format_share

Json = dict[str, Any]
FAR = 1.3  # times the highest rate measured: beyond, the answer says that it hangs on the model


def add_hybrid(
    summary: Json, calibration: Mapping[str, Any], pairs: Sequence[tuple[Level, Level]], *, low_per_s: float | None,
    high_per_s: float | None, saturation_per_s: float,
) -> Json:  # fmt: skip
    """A capacity study's JSON with `hybrid`: an interval of both chance and the calibration's band, and nothing certified."""
    value = summary["capacity_per_s"]["value"]
    highest = max((measured.rate_per_s for measured, _ in pairs), default=0.0)
    note = "90 % interval of the simulation, widened by the calibration's band of step times; null: not bracketed"
    ends = f"{'?' if low_per_s is None else f'{low_per_s:.3g}'} to {'?' if high_per_s is None else f'{high_per_s:.3g}'}"
    if value is None:
        sentence = f"predicted, not measured: {summary['sentence']}"
    else:
        runs = calibration["calibration"]["runs"]
        levels = f"{len(runs)} level{'s' if len(runs) > 1 else ''} of up to {rate_text(highest)}"
        sentence = f"capacity is {value:.3g}/s [{ends}], predicted: simulated after calibration on {levels}"
    return summary | {
        "sentence": sentence,
        "note": _note(value, highest, saturation_per_s),
        "capacity_per_s": {"value": value, "low": low_per_s, "high": high_per_s, "note": note},
        "hybrid": {
            "calibration": dict(calibration),
            "saturation_per_s": saturation_per_s,
            "highest_measured_per_s": highest,
            "levels": [
                {"rate_per_s": m.rate_per_s, "n": m.n, "digest": m.digest, "run": m.run, "measured": _side(m), "simulated": _side(s)}
                for m, s in pairs
            ],
        },
    }


def _side(level: Level) -> Json:
    return {
        "bad_share": level.bad_share, "low": level.lower_bound(0.95), "high": level.upper_bound(0.95), "n": level.n,
        "ttft_p50_s": level.ttft_p50_s, "ttft_p99_s": level.ttft_p99_s, "e2e_mean_s": level.e2e_mean_s,
    }  # fmt: skip


def _note(value: float | None, highest: float, saturation_per_s: float) -> str:
    said = f"the simulator saturates at {rate_text(saturation_per_s)}"
    if value is not None and highest and value > FAR * highest:
        times = f"{value / highest:.1f} times above what was measured"
        said += f"; the capacity lies {times}: confirm it with --rates {value * 0.95:.3g},{value:.3g}/s"
    return said


def print_hybrid(summary: Json, console: Console) -> None:
    """The answer, both sides of each measured level, and the simulated ones."""
    console.print(clean_text(summary["name"]), style="bold", markup=False)
    say(console, f"SLO: {summary['slo_text']}")
    say(console, clean_text(summary["sentence"]), "bold")
    say(console, f"{clean_text(summary['note'])}.")
    if summary["rate_note"]:
        say(console, summary["rate_note"])
    say(console, "Measured, and the same rate simulated:")
    console.print(pairs_table(summary["hybrid"]["levels"]))
    say(console, "Simulated:")
    console.print(level_table(summary["levels"]))
    say(
        console,
        "bad: failed, or over a limit. [90 %] on n / tau. !: overloaded, not fitted. Nothing is certified: `loadlab capacity` without "
        "--hybrid measures near the capacity and does.",
        "dim",
    )
    say(console, f"target: {clean_text(summary['target'])}")


def pairs_table(levels: Sequence[Json]) -> Table:
    """A row for each measured level; two blanks between columns, so that no figure is cut at 80."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("rate", "n", "bad", "[90 %]", "bad\nsimulated", "TTFT\np99", "TTFT p99\nsimulated", "plan"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in levels:
        measured, simulated = row["measured"], row["simulated"]
        table.add_row(
            rate_text(row["rate_per_s"]), f"{row['n']:,}", format_share(measured["bad_share"]),
            f"{100 * measured['low']:.2f} to {100 * measured['high']:.2f} %", format_share(simulated["bad_share"]),
            format_duration(measured["ttft_p99_s"]), format_duration(simulated["ttft_p99_s"]),
            row["digest"].removeprefix("sha256:")[:6],
        )  # fmt: skip
    return table
