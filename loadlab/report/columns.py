"""Columns of numbers laid out as tables on a terminal: named where there is room, close where there is little, never cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

MAX_NAME_CHARS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its head, and its cells; the last cell belongs to the total line."""

    head: str
    cells: Sequence[str]
    is_name: bool = False  # may be shortened: the id stands beside it
    is_text: bool = False
    is_alarm: bool = False  # a cell other than 0 is bad news
    opens_group: bool = False  # set apart from the column before it where columns stand close

    def without_total(self) -> Column:
        """The same column for a table that has no total line."""
        return replace(self, cells=self.cells[:-1])


def print_first_that_fits(candidates: Sequence[Table], console: Console) -> None:
    """The first table that the console is wide enough for; else the last one at its own width, for the terminal to wrap."""
    for table in candidates:
        if fits(table, console):
            console.print(table)
            return
    table = candidates[-1]
    table.width = _width(table, console)
    console.print(table, crop=False, no_wrap=True, overflow="ignore")


def pack(first: Sequence[Column], groups: Iterable[Sequence[Column]], console: Console) -> list[list[Column]]:
    """Groups of columns dealt to tables, in order: each begins with `first` and takes as many groups as fit; at least one."""
    tables: list[list[Column]] = []
    for group in groups:
        if tables and fits(build_table([*tables[-1], *group], has_total=False, gap=1), console):
            tables[-1].extend(group)
        else:
            tables.append([*first, *group])
    return tables


def fits(table: Table, console: Console) -> bool:
    """True if the console is wide enough for the table."""
    return _width(table, console) <= console.width


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def build_table(columns: Sequence[Column], *, has_total: bool, gap: int = 2) -> Table:
    """A table of the columns, `gap` spaces apart. No cell is wrapped or shortened but a long name."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
    if gap == 1:
        columns = [_indented(column) if column.opens_group else column for column in columns]
    for column in columns:
        table.add_column(
            Text(column.head), justify="left" if column.is_text else "right", no_wrap=True, overflow="ellipsis",
            max_width=MAX_NAME_CHARS if column.is_name else None,
            min_width=None if column.is_name else max(map(len, column.cells), default=0),
        )  # fmt: skip
    for i in range(len(columns[0].cells)):
        is_total = has_total and i == len(columns[0].cells) - 1
        if is_total:
            table.add_section()
        table.add_row(*(_cell(column, i) for column in columns), style="bold" if is_total else None)
    return table


def _indented(column: Column) -> Column:
    head = "\n".join(f" {line}" for line in column.head.split("\n"))
    return replace(column, head=head, cells=[f" {cell}" for cell in column.cells])


def _cell(column: Column, i: int) -> Text:
    cell = column.cells[i]
    is_bad = (column.is_alarm and cell not in ("0", "-", "")) or "!" in cell
    return Text(cell, style="bold red" if is_bad and not column.is_text else "")


def say(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """A sentence: wrapped on a terminal, whole where something else reads it."""
    if console.is_terminal:
        console.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))
    else:
        console.print(Text(f"{' ' * indent}{text}", style=style), soft_wrap=True)
