"""Writes what a plan leaves: plan.json, the chosen cluster.toml, its figure and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.report.break_even import dump_json, usd_text
from loadlab.report.plan import CLUSTER_FILE
from loadlab.report.plan_terminal import answer_lines, percent
from loadlab.report.study_verdicts import plan_verdict
from loadlab.report.text import clean_text, clean_tree
from loadlab.units import format_duration, format_share

PLAN_FILE = "plan.json"
MAX_LOSERS = 400  # rows of a page that one can scroll through; plan.json has all
_HERE = Path(__file__).parent


def save_plan(summary: Mapping[str, Any], out: Path) -> Path:
    """Writes all of it into `out`, made if absent. Returns the page's path. Raises InputError where it cannot write."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_plan import draw_plan

    make_folder(out)
    save_bytes(out / PLAN_FILE, dump_json(dict(summary)))
    if summary["cluster_toml"] is not None:
        save_bytes(out / CLUSTER_FILE, summary["cluster_toml"].encode())
    drawn = draw_plan(summary) if summary["clusters"] else ""
    if drawn:
        save_bytes(out / "plan.svg", as_svg_file(drawn))
    save_bytes(out / "report.html", _render(summary, drawn).encode())
    return out / "report.html"


def _render(summary: Mapping[str, Any], drawn: str) -> str:
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"usd": usd_text, "duration": format_duration, "share": format_share}
    page: str = environment.get_template(
        "plan.html.j2"
    ).render(
        summary=clean_tree(summary),
        **plan_verdict(clean_tree(summary)),
        lines=answer_lines(summary),
        cluster_toml="\n".join(map(clean_text, (summary["cluster_toml"] or "none: nothing holds").splitlines())),
        percent=percent(summary),
        drawn=Markup(drawn),  # noqa: S704  matplotlib's own, texts escaped
        losers=clean_tree(summary["candidates"])[:MAX_LOSERS],
        hidden=max(0, len(summary["candidates"]) - MAX_LOSERS),
    )
    return page
