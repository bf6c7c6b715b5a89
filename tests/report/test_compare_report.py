from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadlab.analysis.compare import Comparison, compare_runs
from loadlab.errors import InputError
from loadlab.report.compare_files import headline, save_compare_report
from loadlab.report.compare_terminal import print_comparisons
from loadlab.report.comparison import ComparedPage, bounds_text, change_text, comparison_block, document
from loadlab.report.figures_compare import draw_comparison
from loadlab.slo import parse_metric
from tests.analysis.examples import run_of, sides
from tests.report.examples import HOSTILE

METRICS = [parse_metric("ttft.p50"), parse_metric("success_rate")]
FIVE = [0.04, 0.06, 0.05, 0.07, 0.03]


def comparison(differences: list[float] = FIVE) -> Comparison:
    return compare_runs(*sides(differences), METRICS, {"ttft": differences})


def shown(one: Comparison, width: int, name: str = "smoke") -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_comparisons([ComparedPage(name=name, comparison=one, warnings=("a warning",))], console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_and_says_what_was_compared(width: int) -> None:
    text = shown(comparison(), width)
    assert max(map(len, text.splitlines())) <= width
    for words in ("smoke: candidate against base", "WARNING: a warning", "Paired: 5 pairs", "+5.1 %", "[+3.6, +6.7]", "WORSE"):
        assert words in " ".join(text.split()), words


def test_a_hostile_name_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    assert "\x1b[2J" not in shown(comparison(), 80, HOSTILE)
    page = ComparedPage(name=HOSTILE, comparison=comparison(), warnings=(HOSTILE,))
    html = save_compare_report(tmp_path, {}, [page], f"loadlab {HOSTILE}").read_text()
    assert "<script" not in html
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|http-equiv', "", html)


def test_the_folder_holds_the_json_the_page_and_the_figures(tmp_path: Path) -> None:
    one = comparison()
    pages = [ComparedPage(name="smoke", comparison=one)]
    found = document(pages)
    path = save_compare_report(tmp_path / "out", found, pages, "loadlab compare a b")
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == found
    assert (tmp_path / "out" / "figures" / "compare-1.png").read_bytes().startswith(b"\x89PNG")
    assert "Of 2 metrics, 1 worse: ttft.p50." in path.read_text()
    with pytest.raises(InputError, match="cannot be written"):
        save_compare_report(path, found, [], "x")


def test_equal_comparisons_give_equal_bytes() -> None:
    assert draw_comparison(comparison(), "x") == draw_comparison(comparison(), "x")


@pytest.mark.parametrize("differences", [[0.0] * 5, [0.5], [-3.0, 9.0, 2.0]])
def test_figures_of_extremes_are_drawn(differences: list[float]) -> None:
    svg, png = draw_comparison(comparison(differences), "x")
    assert svg.startswith("<svg")
    assert png


def test_the_block_is_shares_of_the_base_and_points() -> None:
    block: Any = comparison_block(comparison([0.0, 0.0, 0.0]))
    assert block["metrics"][0]["effect"]["value"] == 0.0
    (worse,) = (m for m in comparison_block(comparison())["metrics"] if m["metric"] == "ttft.p50")
    assert worse["effect"]["value"] == pytest.approx(0.0513, abs=1e-4)
    assert worse["pairs"][0] == pytest.approx(0.0408, abs=1e-4)
    assert block["shift"][0]["deciles"][4]["p"] == 0.5


@pytest.mark.parametrize(
    ("metric", "effect", "said"),
    [
        ("ttft.p50", 0.0488, "+5.0 %"),
        ("ttft.p50", -0.105, "-10.0 %"),
        ("ttft.p50", 3.0, "x 20.1"),
        ("success_rate", -0.0123, "-1.23 pt"),
        ("oom.count", 3.0, "+3.0"),
    ],
)
def test_changes_are_told_in_their_own_unit(metric: str, effect: float, said: str) -> None:
    assert change_text(parse_metric(metric), effect) == said


def test_a_bound_that_bounds_nothing_is_open() -> None:
    from dataclasses import replace

    (d, _) = comparison().differences
    assert bounds_text(replace(d, low=-20.0, high=20.0)) == "[-inf, inf]"
    assert bounds_text(replace(d, low=None)) == ""


def test_the_headline_claims_nothing_where_nothing_is_shown() -> None:
    assert headline(comparison([0.0] * 5)) == "No difference is shown in any of 2 metrics."
    alone = compare_runs([run_of(1.0, "x")], [run_of(1.0, "y")], METRICS)
    assert headline(alone) == "Nothing can be judged: see below."
