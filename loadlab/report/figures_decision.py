"""A hosting decision on one page, for people who sign budgets."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from loadlab.report.break_even import tokens_text, usd_text
from loadlab.report.decision import place_text
from loadlab.report.figure_style import BLACK, BLUE, GREEN, RC, VERMILION, as_svg
from loadlab.report.text import clean_text

Json = Mapping[str, Any]
_GREY = "#767676"


def draw_decision(summary: Json) -> tuple[str, bytes]:
    """The page as SVG text and as PNG bytes: verdict, what binds, a bar for each place, what would flip it."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"decision {summary['name']}"}):
        figure = Figure(figsize=(8.27, 5.6))
        figure.text(0.05, 0.94, clean_text(summary["name"]), fontsize=12)
        figure.text(0.05, 0.86, f"Host it at: {summary['sentence']}", fontsize=17, weight="bold", color=GREEN)
        _paragraph(figure, 0.81, f"What decides: {summary['binding']}.")
        axes = figure.add_axes((0.24, 0.4, 0.71, 0.32))
        _bars(axes, summary)
        lines = [f"Would flip it: {flip['sentence']}" for flip in summary["flips"]] or ["No volume, price or staffing flips it."]
        for i, line in enumerate(lines):
            _paragraph(figure, 0.26 - 0.05 * i, line)
        _paragraph(figure, 0.08, f"At {tokens_text(summary['tokens_per_day'])}. {summary['rule'].capitalize()}.", size=8, colour=_GREY)
        svg = as_svg(figure, f"hosting decision: {summary['sentence']}, because {summary['binding']}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return svg, buffer.getvalue()


def _paragraph(figure: Figure, y: float, text: str, size: float = 10, colour: str = BLACK) -> None:
    figure.text(0.05, y, "\n".join(textwrap.wrap(clean_text(text), 105)), fontsize=size, va="top", color=colour)


def _bars(axes: Axes, summary: Json) -> None:
    """The monthly bill of each place; a barred one is hatched and says why."""
    places = summary["places"]
    for row, place in enumerate(places):
        is_barred, is_chosen = bool(place["barred_by"]), place["place"] == summary["verdict"]
        colour = GREEN if is_chosen else BLUE
        style: dict[str, Any] = {"facecolor": "#ffffff", "edgecolor": VERMILION, "hatch": "////"} if is_barred else {"color": colour}
        axes.barh(row, place["usd_per_month"], height=0.6, **style)
        note = f"barred: {place['barred_by'][0]}" if is_barred else f"${place['usd_per_month']:,.0f} a month"
        axes.text(0, row + 0.44, clean_text(note), fontsize=7.5, va="center", color=VERMILION if is_barred else BLACK)
    axes.set_yticks(range(len(places)), [place_text(place["place"]) for place in places])
    axes.set_ylim(len(places) - 0.3, -0.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: usd_text(x).replace(".00", "")))
    axes.set_xlabel("USD a month")
