"""Writes what a break-even, a routed mix or a decision leaves: JSON, figures, and for break-evens a page with sliders."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.report import break_even as words
from loadlab.units import format_share

Json = Mapping[str, Any]
_HERE = Path(__file__).parent
_SLIDERS = (
    {"name": "tokens_per_day", "label": "tokens a day"},
    {"name": "api_price", "label": "API, USD a million tokens"},
    {"name": "staff_usd_per_month", "label": "staff, USD a month"},
    {"name": "target_utilisation_share", "label": "target utilisation"},
)


def save_break_even_report(summary: Json, out: Path, base_command: str) -> Path:
    """Writes break-even.json, figures and report.html into `out`, made if absent. Returns the page's path.

    `base_command` is the command without what the sliders set. Raises InputError where it cannot write.
    """
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_money import draw_cost_curve, draw_tornado

    make_folder(out / "figures")
    save_bytes(out / "break-even.json", words.dump_json(dict(summary)))
    drawn = []
    for i, one in enumerate(summary["comparisons"]):
        pair = {"curve": draw_cost_curve(one, summary["name"]), "tornado": draw_tornado(one, summary["name"])}
        for kind, svg in pair.items():
            save_bytes(out / "figures" / f"{kind}-{i + 1}.svg", as_svg_file(svg))
        drawn.append({kind: Markup(svg) for kind, svg in pair.items()})  # noqa: S704  matplotlib's own, texts escaped
    path = out / "report.html"
    save_bytes(path, _render(summary, drawn, base_command).encode())
    return path


def save_decision_report(summary: Json, out: Path) -> Path:
    """Writes decision.json and the one-page picture, as SVG and PNG. Returns the PNG's path."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_decision import draw_decision

    save_json(summary, out, "decision.json")
    svg, png = draw_decision(summary)
    save_bytes(out / "decision.svg", as_svg_file(svg))
    save_bytes(out / "decision.png", png)
    return out / "decision.png"


def save_routing_report(summary: Json, out: Path) -> Path:
    """Writes routing.json and a figure of the mixes beside each other. Returns the figure's path."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_money import draw_routing

    save_json(summary, out, "routing.json")
    save_bytes(out / "routing.svg", as_svg_file(draw_routing(summary)))
    return out / "routing.svg"


def save_json(summary: Json, out: Path, name: str) -> Path:
    """Writes one JSON file into `out`. Returns its path."""
    make_folder(out / "figures")
    save_bytes(out / name, words.dump_json(dict(summary)))
    return out / name


def _render(summary: Json, drawn: list[dict[str, Markup]], base_command: str) -> str:
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"usd": words.usd_text, "tokens": words.tokens_text, "months": words.months_text, "share": format_share}
    script = (_HERE / "break_even.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    prices = {price["name"]: price for one in summary["comparisons"] for price in one["prices"]}
    page: str = environment.get_template("break_even.html.j2").render(
        summary=summary,
        drawn=drawn,
        sliders=_SLIDERS,
        words=words.INPUT_WORDS,
        script=Markup(script),  # noqa: S704  ours
        script_hash=f"sha256-{digest}",
        data=Markup(_for_script(_slider_data(summary, base_command))),  # noqa: S704  "<" is escaped
        prices=list(prices.values()),
        notes=list(dict.fromkeys(note for one in summary["comparisons"] for note in one["notes"])),
    )
    return page


def _slider_data(summary: Json, base_command: str) -> Json:
    """What the script starts from: the inputs of each comparison, and where its sliders stand."""
    comparisons = []
    for one in summary["comparisons"]:
        state = {
            "tokens_per_day": one["at_volume"]["tokens_per_day"],
            "api_price": one["api_usd_per_million"],
            "staff_usd_per_month": one["inputs"]["staff_usd_per_month"],
            "target_utilisation_share": one["inputs"]["target_utilisation_share"],
        }
        comparisons.append({"inputs": one["inputs"], "terms": one["terms"], "state": state, "flag": one["flag"]})
    return {"command": base_command, "comparisons": comparisons}


def _for_script(data: Json) -> str:
    """JSON that cannot end its <script> element."""
    return orjson.dumps(data).decode().replace("<", "\\u003c")
