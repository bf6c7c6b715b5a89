"""What a person sees: tables on stdout, progress on stderr; plain lines where there is no terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_S = 5.0


class Screen:
    """Where text for people goes. `is_quiet` leaves only errors; `is_stdout_taken`: data goes to stdout, so tables go to stderr."""

    def __init__(self, *, is_quiet: bool = False, is_stdout_taken: bool = False) -> None:
        self.tables = _Tables(stderr=is_stdout_taken, quiet=is_quiet, highlight=False)
        self.status = Console(stderr=True, quiet=is_quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line beside the tables, never wrapped, so that a path can be copied."""
        self.tables.print(text, soft_wrap=True, markup=False)

    def show(self, summary: dict[str, Any]) -> None:
        """The table of a run or a campaign."""
        from loadlab.report.summary import CAMPAIGN_SCHEMA
        from loadlab.report.terminal import print_campaign, print_run

        if summary["schema"] == CAMPAIGN_SCHEMA:
            print_campaign(summary, self.tables)
        else:
            print_run(summary, self.tables)

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner with the time that it has taken, while something of unknown length is done; nothing without a terminal.

        It hands out what says how far that is: a few words after its own.
        """
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.status, transient=True, disable=not self.status.is_terminal) as spinner:
            task = spinner.add_task(what, total=None)
            yield lambda how_far: spinner.update(task, description=f"{what}: {how_far}")

    @contextmanager
    def progress(self, what: str, counted: str = "requests") -> Iterator[Callable[[str, int, int], None]]:
        """A bar of requests (or what else is counted) done, with the time remaining; without a terminal a line every five seconds.

        It begins anew where the number planned changes: then something else is counted.
        """
        if not self.status.is_terminal:
            yield self._plain_progress(counted)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(counted), TimeRemainingColumn())
        with Progress(*columns, console=self.status, transient=True) as bar:
            task = bar.add_task(what, total=None)
            planned_before: int | None = None

            def show(doing: str, done: int, planned: int) -> None:
                nonlocal planned_before
                if planned != planned_before:
                    planned_before = planned
                    bar.reset(task, total=planned)
                bar.update(task, description=doing, completed=done)

            yield show

    def _plain_progress(self, counted: str) -> Callable[[str, int, int], None]:
        last = time.monotonic()

        def show(doing: str, done: int, planned: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_LINE_EVERY_S:
                last = time.monotonic()
                self.status.print(f"{doing}: {done:,} of {planned:,} {counted}", soft_wrap=True, markup=False)

        return show


class _Tables(Console):
    """A console that outlives its reader: after `| head` the run still ends as it should."""

    def on_broken_pipe(self) -> None:
        """Called by rich, which would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
