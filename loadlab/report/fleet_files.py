"""Writes what a fleet plan leaves: fleet.json, figures and report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.report import fleet as words
from loadlab.report.break_even import dump_json
from loadlab.report.fleet_terminal import amount, cell
from loadlab.report.study_verdicts import fleet_verdict
from loadlab.report.text import clean_tree

FLEET_FILE = "fleet.json"
_HERE = Path(__file__).parent


def save_fleet_report(summary: dict[str, Any], out: Path, again: list[tuple[str, str]]) -> Path:
    """Writes all of it into `out`, made if absent. Returns the page's path. Raises InputError where it cannot write.

    `again`: for each simulated day its name, and the command that plays it again.
    """
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_fleet import draw_day, draw_held, draw_year

    make_folder(out / "figures")
    save_bytes(out / FLEET_FILE, dump_json(summary))
    shown = clean_tree(summary)
    drawn = {"day": draw_day(shown), "year": draw_year(shown)}
    if shown["days"]:
        drawn["held"] = draw_held(shown)
    for name, svg in drawn.items():
        save_bytes(out / "figures" / f"{name}.svg", as_svg_file(svg))
    page = out / "report.html"
    save_bytes(page, _render(shown, drawn, again).encode())
    return page


def _render(summary: dict[str, Any], drawn: dict[str, str], again: list[tuple[str, str]]) -> str:
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"amount": amount, "cell": cell}
    figures = {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  matplotlib's own, texts escaped
    page: str = environment.get_template("fleet.html.j2").render(
        summary=summary,
        **fleet_verdict(summary),
        drawn=figures,
        again=again,
        demand_text=words.demand_text(summary),
        capacity_text=words.capacity_text(summary),
        rule_text=words.rule_text(summary),
        unit=words.unit_word(summary),
        short_digest=lambda text: text.removeprefix("sha256:")[:12],
    )
    return page
