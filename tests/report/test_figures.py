"""Figures are plain SVG: same data same bytes, nothing from elsewhere, hostile names harmless."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from loadlab.analysis.table import build_table
from loadlab.report import figures
from loadlab.report.series import distribution_series, timeline_series
from tests.record.examples import five_requests, timeline_row

NAME = 'a<b>&"$x_2$'


def timeline(name: str) -> str:
    rows = [timeline_row(float(t), replica=name, ooms=int(t == 4), preemptions=int(t == 3)) for t in range(6)]
    return figures.draw_timeline(timeline_series(build_table(five_requests()), rows), name)


def distributions(name: str) -> str:
    return figures.draw_distributions({"TTFT": distribution_series(np.arange(1.0, 50.0)), "TPOT": distribution_series(np.empty(0))}, name)


def overview(name: str) -> str:
    point = figures.OverviewPoint(label=name, success=0.9, low=0.8, high=0.95, oom=3, ttft_p95_s=0.8, e2e_p95_s=12.0)
    empty = figures.OverviewPoint(label="none", success=None, low=None, high=None, oom=0, ttft_p95_s=None, e2e_p95_s=None)
    return figures.draw_overview([point, empty], name)


DRAWINGS = pytest.mark.parametrize("draw", [timeline, distributions, overview])


@DRAWINGS
def test_equal_data_gives_equal_bytes(draw) -> None:  # type: ignore[no-untyped-def]
    assert draw("E01") == draw("E01")


@DRAWINGS
def test_ids_of_two_figures_do_not_collide_in_one_page(draw) -> None:  # type: ignore[no-untyped-def]
    def clips(svg: str) -> set[str]:
        return {element.attrib["id"] for element in parse(svg).iter() if element.tag.endswith("clipPath")}

    assert clips(draw("E01"))
    assert not clips(draw("E01")) & clips(draw("E02"))


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))


@DRAWINGS
def test_names_are_text_and_nothing_is_fetched(draw) -> None:  # type: ignore[no-untyped-def]
    svg = draw(NAME)
    assert parse(svg).attrib["aria-label"].endswith(NAME)
    assert "http" not in svg
    assert "<b>" not in svg
    assert "<script" not in svg


def test_a_name_in_a_script_without_glyphs_is_drawn() -> None:
    assert "漢字" in overview("漢字")


def test_percentiles_stand_in_the_figure() -> None:
    assert all(text in distributions("E01") for text in ("p50 25.0 s", "p95 47.0 s", "p99 49.0 s", "no OK request has it"))


def test_replicas_and_evictions_have_panels_where_there_are_some() -> None:
    def drawn(**columns: int) -> str:
        rows = [timeline_row(float(t), replica=name, **columns) for name in ("a/0", "a/1") for t in range(6)]
        return figures.draw_timeline(timeline_series(build_table(five_requests()), rows), "x")

    several = drawn(evicted_blocks=0)
    assert "queued" in several
    assert "evicted" not in several
    assert "evicted" in drawn(evicted_blocks=3)
    assert "running +" not in timeline("one")


def test_a_run_without_a_server_timeline_has_two_panels() -> None:
    svg = figures.draw_timeline(timeline_series(build_table(five_requests()), []), "x")
    assert "in flight" in svg
    assert "KV cache" not in svg
