"""A run over HTTP while it runs: a small table on a terminal, a line every five seconds elsewhere; a bar for simulated ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadlab.cli.screen import PLAIN_LINE_EVERY_S, Screen
from loadlab.units import format_duration

if TYPE_CHECKING:
    from loadlab.campaign.target import Target
    from loadlab.engines.live import LiveView, Watch

LAG_LIMIT_S = 0.010  # as in `analysis.validity`: the worst of a fifth of a second, where that judges p99
Show = Callable[[str, int, int], None]


@contextmanager
def live_screen(screen: Screen, what: str, target: Target | None) -> Iterator[tuple[Show, Watch | None]]:
    """(progress, watch) for a replay on `target`: a bar for a simulated one, the live view for HTTP."""
    if target is None or isinstance(target, Path):
        with screen.progress(what) as progress:
            yield progress, None
        return
    doing = what

    def progress_of(now: str, _done: int, _planned: int) -> None:
        nonlocal doing
        doing = now

    if screen.status.is_terminal:
        before = Text(f"{what}: starting, and trying the target with one request", style="dim")
        with Live(before, console=screen.status, transient=True, auto_refresh=False) as live:
            yield progress_of, lambda view: live.update(live_table(doing, view), refresh=True)
    else:
        yield progress_of, _plain(screen.status, lambda: doing)


def _plain(console: Console, doing: Callable[[], str]) -> Watch:
    last = time.monotonic()

    def show(view: LiveView) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_LINE_EVERY_S:
            last = time.monotonic()
            console.print(live_line(doing(), view), soft_wrap=True, markup=False)

    return show


def live_line(doing: str, view: LiveView) -> str:
    """The view on one line, for logs."""
    said = [
        f"{doing}: {view.ended:,} of {view.planned:,} ended",
        f"{view.in_flight:,} in flight",
        f"sent {_rate(view.achieved_per_s)} of {_rate(view.offered_per_s)} requests/s",
        f"OK {_share(view)}",
        *([f"not OK: {_causes(view)}"] if view.causes else []),
        f"{view.oom:,} OOM",
        *(f"{name} p50 {format_duration(p50_s)} p95 {format_duration(p95_s)}" for name, p50_s, p95_s in _latencies(view)),
        _left(view),
    ]
    return ", ".join(said)


def _latencies(view: LiveView) -> list[tuple[str, float | None, float | None]]:
    """What is worth showing: answers without a first token, such as embeddings, have their end to end latency only."""
    ttft, tpot = ("TTFT", view.ttft_p50_s, view.ttft_p95_s), ("TPOT", view.tpot_p50_s, view.tpot_p95_s)
    e2e = ("end to end", view.e2e_p50_s, view.e2e_p95_s)
    return [e2e] if view.ttft_p50_s is None and view.e2e_p50_s is not None else [ttft, tpot]


def live_table(doing: str, view: LiveView) -> Group:
    """The view as a small table between two lines; 60 columns suffice."""
    title = Text(f"{doing}: {_left(view)}", style="bold", overflow="ellipsis", no_wrap=True)
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(justify="left", no_wrap=True)
    alarm = "bold red" if view.oom else ""
    table.add_row("ended", f"{view.ended:,} of {view.planned:,}", "in flight", f"{view.in_flight:,}")
    table.add_row("OK of ended", _share(view), "OOM", Text(f"{view.oom:,}", style=alarm))
    table.add_row("sent", f"{_rate(view.achieved_per_s)}/s", "due", f"{_rate(view.offered_per_s)}/s")
    for name, p50_s, p95_s in _latencies(view):
        table.add_row(f"{name} p50", format_duration(p50_s), "p95", format_duration(p95_s))
    not_ok = [Text(f"not OK: {_causes(view)}", style="red", overflow="ellipsis", no_wrap=True)] if view.causes else []
    dim = Text(f"rates: the last {view.window_s:.0f} s; latencies: OK requests of that time", style="dim")
    return Group(title, table, *not_ok, *_workers_table(view), dim)


def _workers_table(view: LiveView) -> list[Table]:
    """A row per worker, where there are several: who is slow shows before the run is spoilt."""
    if not view.workers:
        return []
    table = Table.grid(padding=(0, 2))
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    for worker in view.workers:
        lag = Text(f"lag {format_duration(worker.lag_s)}", style="bold red" if worker.lag_s > LAG_LIMIT_S else "")
        core = f"{100 * worker.cpu_share:.0f} % of a core"
        table.add_row(f"worker {worker.worker}", f"{_rate(worker.sent_per_s)}/s", lag, core, f"{worker.in_flight:,} in flight")
    return [table]


def _causes(view: LiveView) -> str:
    others = view.ended - view.ok - sum(n for _, n in view.causes)
    said = [f"{n:,} {cause}" for cause, n in view.causes] + ([f"{others:,} others"] if others else [])
    return ", ".join(said)


def _rate(rate_per_s: float | None) -> str:
    return "-" if rate_per_s is None else f"{rate_per_s:.3g}" if rate_per_s < 1000 else f"{rate_per_s:,.0f}"


def _share(view: LiveView) -> str:
    return "-" if view.ended == 0 else f"{100 * view.ok / view.ended:.1f} %"


def _left(view: LiveView) -> str:
    if view.is_stopping:
        return f"stopping: waits for {view.in_flight:,} in flight; Ctrl-C again does not wait"
    if view.last_due_s is None:
        return f"{format_duration(view.at_s)} so far"
    left_s = view.last_due_s - view.at_s
    return f"{format_duration(left_s)} until the last is due" if left_s > 0 else "all sent, waiting for answers"
