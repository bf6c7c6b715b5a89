"""The page of a study of verdict, figures and tables alone: a sweep, a calibration. One file, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.report.text import clean_text

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFigure:
    """A figure under the question that it answers. `svg`: our own, names escaped; `is_small`: one panel, which a phone shows whole."""

    question: str
    reading: str
    svg: str
    is_small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Rows of cells, as a person reads them. `texts`: which columns are words; any other cell that begins with ! is an alarm."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = ()
    note: str = ""


def render_study(
    title: str, verdict: Json, figures: Sequence[PageFigure], tables: Sequence[PageTable], facts: Sequence[tuple[str, str]], command: str
) -> bytes:  # fmt: skip
    """The page. `verdict`: word, tone and rows for verdict.html.j2. Every text but a figure is escaped here; the caller has cleaned it."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("study.html.j2").render(
        title=title,
        **verdict,
        figures=[(figure, Markup(figure.svg)) for figure in figures],  # noqa: S704  our own, names escaped
        tables=tables,
        facts=facts,
        command=clean_text(command),
    )
    return page.encode()


def pool_facts(conditions: Sequence[Json]) -> list[tuple[str, str]]:
    """A row for each pool, or the endpoint: what all tables of that name have alike, and the names of what they have not."""
    named: dict[str, list[Json]] = {}
    for table in conditions:
        named.setdefault(f"pool {table['pool']}" if "pool" in table else "endpoint", []).append(table)
    return [(name, _alike(tables)) for name, tables in named.items()]


def _alike(tables: Sequence[Json]) -> str:
    shown = {
        key: {str(table.get(key)) for table in tables}
        for key, value in tables[0].items()
        if isinstance(value, str | int | float) and not isinstance(value, bool) and key != "pool"
    }
    return ", ".join(f"{key} {values.pop() if len(values) == 1 else 'varies'}" for key, values in shown.items())
