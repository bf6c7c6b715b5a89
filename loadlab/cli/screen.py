"""What a person sees while a command works: progress and tables on stderr, plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_S = 5.0


class Screen:
    """stderr, for people. `is_quiet` leaves only errors."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=is_quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line, never wrapped, so that a path can be copied."""
        self.console.print(text, soft_wrap=True, markup=False)

    def show(self, summary: dict[str, Any]) -> None:
        """The table of a run or a campaign."""
        from loadlab.report.summary import CAMPAIGN_SCHEMA
        from loadlab.report.terminal import print_campaign, print_run

        if summary["schema"] == CAMPAIGN_SCHEMA:
            print_campaign(summary, self.console)
        else:
            print_run(summary, self.console)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A spinner while something of unknown length is done; nothing without a terminal."""
        with self.console.status(what):
            yield

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[str, int, int], None]]:
        """A bar of requests done, with the time remaining; without a terminal a line every five seconds."""
        if not self.console.is_terminal:
            yield self._plain_progress()
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("requests"), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda doing, done, planned: bar.update(task, description=doing, completed=done, total=planned)

    def _plain_progress(self) -> Callable[[str, int, int], None]:
        last = time.monotonic()

        def show(doing: str, done: int, planned: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_LINE_EVERY_S:
                last = time.monotonic()
                self.say(f"{doing}: {done:,} of {planned:,} requests")

        return show
