"""Writes a comparison into a folder: compare.json, report.html, and the figure of each scenario as SVG and PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.analysis.compare import Comparison, Difference, Finding
from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.record.run_dir import REPORT_FILE
from loadlab.report.comparison import (
    BOUNDS_NOTE,
    SMOOTHED_NOTE,
    ComparedPage,
    bounds_text,
    change_text,
    claims,
    finding_text,
    side_text,
    typical_text,
    value_text,
)
from loadlab.report.summary import dump_summary
from loadlab.report.text import clean_text, clean_tree

COMPARE_FILE = "compare.json"


def save_compare_report(out: Path, document: Mapping[str, Any], pages: Sequence[ComparedPage], command: str) -> Path:
    """Writes everything into `out`, made if absent; returns the page's path. Raises InputError where it cannot write."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_compare import draw_comparison

    make_folder(out / "figures")
    save_bytes(out / COMPARE_FILE, dump_summary(document))
    drawn = []
    for number, page in enumerate(pages, 1):
        svg, png = draw_comparison(page.comparison, clean_text(page.name))
        save_bytes(out / "figures" / f"compare-{number}.svg", as_svg_file(svg))
        save_bytes(out / "figures" / f"compare-{number}.png", png)
        drawn.append(svg)
    path = out / REPORT_FILE
    save_bytes(path, _render(pages, drawn, command))
    return path


def _render(pages: Sequence[ComparedPage], drawn: Sequence[str], command: str) -> bytes:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    shown = [_page(page) | {"figure": Markup(svg)} for page, svg in zip(pages, drawn, strict=True)]  # noqa: S704  our own, names escaped
    page = environment.get_template("compare.html.j2").render(pages=shown, command=clean_text(command), notes=[SMOOTHED_NOTE, BOUNDS_NOTE])
    return page.encode()


def _page(page: ComparedPage) -> dict[str, Any]:
    comparison = page.comparison
    cleaned: dict[str, Any] = clean_tree({"name": page.name, "warnings": list(page.warnings), "notes": list(page.notes)})
    word, tone = _answer(comparison)
    return cleaned | {
        "headline": headline(comparison),
        "word": word,
        "tone": tone,
        "base": side_text(comparison.base),
        "candidate": side_text(comparison.candidate),
        "claims": [*cleaned["notes"], *claims(comparison)],
        "rows": [_row(d) for d in comparison.differences],
        "typical": typical_text(comparison),
    }


def _answer(comparison: Comparison) -> tuple[str, str]:
    """(the word in large letters, its tone): worse wins over better."""
    found = {d.finding for d in comparison.differences}
    if Finding.WORSE in found:
        return ("WORSE AND BETTER" if Finding.BETTER in found else "WORSE"), "alarm"
    if Finding.BETTER in found:
        return "BETTER", "good"
    return ("NOT JUDGED" if found <= {Finding.UNKNOWN} else "NO DIFFERENCE SHOWN"), "open"


def headline(comparison: Comparison) -> str:
    """How many metrics are worse and better, by name; or that nothing is shown."""
    found = {
        finding: [str(d.metric) for d in comparison.differences if d.finding is finding] for finding in (Finding.WORSE, Finding.BETTER)
    }
    said = [f"{len(names)} {finding.value}: {', '.join(names)}" for finding, names in found.items() if names]
    judged = sum(d.finding is not Finding.UNKNOWN for d in comparison.differences)
    if not judged:
        return "Nothing can be judged: see below."
    return f"Of {judged} metrics, {'; '.join(said)}." if said else f"No difference is shown in any of {judged} metrics."


def _row(d: Difference) -> dict[str, Any]:
    return {
        "metric": str(d.metric),
        "base": value_text(d.metric, d.base),
        "candidate": value_text(d.metric, d.candidate),
        "change": change_text(d.metric, d.effect),
        "bounds": bounds_text(d),
        "detectable": change_text(d.metric, d.detectable).lstrip("+"),
        "finding": finding_text(d) + (f" ({d.note})" if d.note else ""),
        "is_bad": d.finding is Finding.WORSE,
    }
