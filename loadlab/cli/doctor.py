"""`loadlab doctor`: how much load this machine can generate before it measures itself."""

from __future__ import annotations

import datetime
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from loadlab.campaign.doctor import Findings, Load, Probe

EPILOG = """Examples:

  loadlab doctor

  loadlab doctor --seconds 1 --json
"""
DOCTOR_SCHEMA = "loadlab/doctor/1"


def doctor(
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long each probe lasts; a probe of connections takes 4 s.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings on stdout, and nothing else; tables go to stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Measure this machine's ceiling: requests/s, streamed tokens/s, open connections.

    Loads a built-in server on loopback that answers by the clock and stamps its own truth, more with each probe, until requests leave
    10 ms late (p99). Takes a minute or two, and both of two cores. The ceiling is kept in the user's cache; reports of later runs
    over HTTP say how much of it they used.
    """
    from dataclasses import asdict

    import orjson

    from loadlab.campaign.ceiling import save_ceiling
    from loadlab.campaign.doctor import examine
    from loadlab.cli.screen import Screen

    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if screen.status.is_terminal:
        with screen.status.status("probing") as status:
            found = examine(seconds, now, lambda what: status.update(f"probing: {what}"))
    else:
        found = examine(seconds, now, lambda what: screen.status.print(f"probing: {what}", markup=False))
    path = save_ceiling(found.ceiling)
    _print(found, screen.tables)
    screen.say(f"kept in {path}")
    if as_json:
        sys.stdout.buffer.write(
            orjson.dumps({"schema": DOCTOR_SCHEMA, **_finite(asdict(found))}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


def _print(found: Findings, console: Console) -> None:
    from rich import box
    from rich.table import Table

    from loadlab.units import format_duration

    ceiling, rest = found.ceiling, found.at_rest
    console.print("This machine's ceiling: one process, lag p99 below 10 ms, against the null server beside it", style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    for head in ("", "holds", "lag p99 there", "CPU there", "beyond it"):
        table.add_column(head, justify="left" if head in ("", "beyond it") else "right")
    for words, value, probes, at in (
        ("requests/s", f"{ceiling.requests_per_s:,.0f}", found.rates, lambda load: f"{load.rate_per_s:,.0f}/s"),
        ("streamed tokens/s", f"{ceiling.tokens_per_s:,.0f}", found.tokens, lambda load: f"{load.rate_per_s * load.tokens:,.0f}/s"),
        ("open connections", f"{ceiling.connections:,}", found.connections, lambda load: f"{load.rate_per_s * load.ttft_s:,.0f}"),
    ):
        best = next((p for p in reversed(probes) if p.holds), None)
        lag = "-" if best is None else format_duration(best.lag_p99_s)
        cpu = "-" if best is None else f"{100 * best.cpu_share:.0f} %"
        table.add_row(words, value, lag, cpu, _beyond(probes, at))
    console.print(table)
    console.print(
        f"At rest, 50 streams/s of 32 tokens: lag p50 {format_duration(rest.lag_p50_s)}, p99 {format_duration(rest.lag_p99_s)}; "
        f"TTFT is read {format_duration(rest.ttft_error_p50_s)} (p50) to {format_duration(rest.ttft_error_p99_s)} (p99) above the server's "
        f"own stamps (n {rest.ok:,}).",
        soft_wrap=not console.is_terminal,
    )
    load, cpus = found.facts["load_average"][0], found.facts["cpus"]
    console.print(f"{cpus} cores, load average {load:.1f}, file descriptors {found.facts['file_descriptors'] or 'unlimited'}.")
    if load > cpus + 2:
        console.print("Others work on this machine now: the ceiling is lower than it would be at rest.", style="bold red")


def _beyond(probes: tuple[Probe, ...], at: Callable[[Load], str]) -> str:
    """Why the climb ended; `at` says how far, in the unit of its row."""
    from loadlab.campaign.doctor import LAG_LIMIT_S
    from loadlab.units import format_duration

    last = probes[-1]
    if last.holds:
        return "not reached by the last probe"
    if last.ok < last.requests:
        return f"{last.requests - last.ok:,} of {last.requests:,} not answered"
    if last.lag_p99_s < LAG_LIMIT_S:
        return f"{last.achieved_per_s:,.1f} of {last.load.rate_per_s:,.1f} requests/s sent"
    return f"lag p99 {format_duration(last.lag_p99_s)} at {at(last.load)}"


def _finite(value: Any) -> Any:
    """The same with null for what was never measured."""
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if value == float("inf"):
            return None
        case _:
            return value
