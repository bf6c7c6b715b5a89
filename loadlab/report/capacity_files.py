"""Writes what a capacity study leaves: capacity.json, its figure as SVG and PNG, and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.record.run_dir import REPORT_FILE
from loadlab.report.break_even import dump_json
from loadlab.report.capacity_page import render_capacity

CAPACITY_FILE = "capacity.json"


def save_capacity_report(summary: Mapping[str, Any], out: Path) -> Path:
    """Writes all into `out`, made if absent. Returns the figure's path. Raises InputError where it cannot write."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_capacity import draw_capacity

    make_folder(out)
    save_bytes(out / CAPACITY_FILE, dump_json(dict(summary)))
    figure = draw_capacity(summary)
    save_bytes(out / "capacity.svg", as_svg_file(figure))
    save_bytes(out / "capacity.png", figure.png())
    save_bytes(out / REPORT_FILE, render_capacity(summary, figure))
    return out / "capacity.svg"
