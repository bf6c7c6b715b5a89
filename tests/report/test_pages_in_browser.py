"""Pages as people see them: nothing complains, nothing runs off the side, and axe finds no fault in light or dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from loadlab.report.files import save_campaign_report, save_run_report
from loadlab.report.summary import summarise_run
from tests.campaign.test_calibrate import cluster, run
from tests.cli.command import CLUSTERS, ROOT, SCENARIOS, Command, command
from tests.record.examples import small_run
from tests.report.browser import BROWSER, WHY_SKIPPED, browser_page, open_file
from tests.report.examples import small_campaign

__all__ = ["command"]
pytestmark = pytest.mark.skipif(BROWSER is None, reason=WHY_SKIPPED)
WIDTHS = (400, 800, 1200)
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[Page, list[str]]]:
    with browser_page() as found:
        yield found


def check(opened: tuple[Page, list[str]], path: Path, shots: Path) -> None:
    """Audits a page in both colour schemes, and leaves a picture of it at each width."""
    page, complaints = opened
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in WIDTHS:
            open_file(page, path, width)
            page.screenshot(path=shots / f"{path.parent.name}-{scheme}-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} runs off the side at {width} px"
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
    assert complaints == []


def test_the_page_of_a_run(opened: tuple[Page, list[str]], tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run")
    check(opened, save_run_report(folder, summarise_run(folder)), tmp_path)


def test_the_page_of_a_campaign(opened: tuple[Page, list[str]], tmp_path: Path) -> None:
    summary, runs = small_campaign(tmp_path)
    check(opened, save_campaign_report(tmp_path, summary, runs), tmp_path)


def test_the_page_of_a_comparison(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    for name, seed in (("base", 1), ("candidate", 2)):
        ran = command(
            "run",
            SCENARIOS / "smoke.toml",
            "--target",
            f"sim:{CLUSTERS / 't4-14b.toml'}",
            "--seed",
            seed,
            "--out",
            tmp_path / name,
            "--no-report",
            "-q",
        )
        assert ran.code == 0, ran.err
    compared = command("compare", tmp_path / "base", tmp_path / "candidate", "--out", tmp_path / "both", "-q")
    assert compared.code == 0, compared.err
    check(opened, tmp_path / "both" / "report.html", tmp_path)


def test_the_page_of_a_break_even(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    answer = command("break-even", "--capacity", SCENARIOS / "hosting" / "l40s-70b.toml", "--out", tmp_path / "money", "-q")
    assert answer.code == 0, answer.err
    check(opened, tmp_path / "money" / "report.html", tmp_path)


def test_the_page_of_a_capacity_study(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    target = f"sim:{CLUSTERS / 't4-14b.toml'}"
    rates = ("--rates", "0.2,1.5/s", "--requests", 300, "--slo", "ttft=5s")
    answer = command("capacity", SCENARIOS / "t4-chat-capacity.toml", "--target", target, *rates, "--out", tmp_path / "study", "-q")
    assert answer.code == 0, answer.err
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {"capacity.json", "capacity.svg", "capacity.png", "report.html"}
    check(opened, tmp_path / "study" / "report.html", tmp_path)


def test_the_page_of_a_sweep(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    grid = (
        "--over",
        "rate=0.5,4/s",
        "--over",
        "max_running=4,32",
        "--requests",
        60,
        "--seeds",
        2,
        "--slo",
        "ttft=2s",
        "--slo",
        "target=90%",
    )
    target = f"sim:{CLUSTERS / 't4-14b.toml'}"
    answer = command("sweep", SCENARIOS / "smoke.toml", "--target", target, *grid, "--out", tmp_path / "sweep", "-q")
    assert answer.code == 0, answer.err
    check(opened, tmp_path / "sweep" / "report.html", tmp_path)


def test_the_page_of_a_calibration(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    path = run(cluster(tmp_path / "truth.toml"), tmp_path / "run", 3.0)
    wrong = cluster(tmp_path / "wrong.toml", step_s=0.016)
    answer = command("calibrate", path, "--cluster", wrong, "--out", tmp_path / "fitted.toml", "-q")
    assert answer.code == 0, answer.err
    check(opened, tmp_path / "fitted.html", tmp_path)


def test_the_page_of_a_plan(opened: tuple[Page, list[str]], command: Command, tmp_path: Path) -> None:
    small = ("--gpus", "l40s", "--max-gpus", 4, "--quantisation", "fp8", "--max-running", 256, "--max-batched-tokens", 4096)
    aim = ("--cluster", CLUSTERS / "l40s-70b.toml", "--rate", "0.8/s")
    answer = command("plan", SCENARIOS / "hardware" / "70b-on-l40s.toml", *aim, *small, "--out", tmp_path / "plan", "-q")
    assert answer.code == 0, answer.err
    check(opened, tmp_path / "plan" / "report.html", tmp_path)


@pytest.mark.parametrize(
    "days", [pytest.param(("--no-simulate",), id="counted", marks=pytest.mark.slow), pytest.param(("--requests", 40_000), id="played")]
)
def test_the_page_of_a_fleet(opened: tuple[Page, list[str]], command: Command, tmp_path: Path, days: tuple[object, ...]) -> None:
    study = ROOT / "reports" / "t4-study" / "capacity"
    flags = (
        "--demand",
        SCENARIOS / "demand" / "support-desk.toml",
        "--price-usd-per-gpu-hour",
        0.35,
        *days,
        "--out",
        tmp_path / "fleet",
        "-q",
    )
    answer = command("fleet", "--capacity", study, *flags)
    assert answer.code == 0, answer.err
    check(opened, tmp_path / "fleet" / "report.html", tmp_path)
