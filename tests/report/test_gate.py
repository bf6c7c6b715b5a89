"""A gate's outputs, golden: every verdict, and a stranger's text that wants to be markup."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
import xmlschema
from rich.console import Console

from loadlab.analysis.compare import compare_runs
from loadlab.analysis.gating import GateVerdict, judge, parse_margin
from loadlab.errors import ExitCode
from loadlab.report.gate import GateReport, Line, gate_document, headline
from loadlab.report.gate_terminal import print_gate
from loadlab.report.junit import junit_xml
from loadlab.report.markdown import escaped, markdown
from loadlab.report.summary import dump_summary
from tests.analysis.examples import run_of
from tests.report.examples import HOSTILE

GOLDEN = Path(__file__).parents[1] / "golden" / "gate"
SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
PASSES, OPEN, REGRESSES = 1.02, 1.045, 1.20  # of p50, under margins of 5, 5 and 5 %


def report_of(p50: float, *, name: str = "smoke", fewest: int = 5, **changes: object) -> GateReport:
    """Five pairs: TTFT p50 is `p50` times as long, give or take 1 %; p99 is the same; nothing fails."""
    noise = (0.99, 1.01, 1.0, 1.005, 0.995)
    values = {"ttft.p50": 0.2, "ttft.p99": 0.8, "success_rate": 1.0}
    base = [run_of(values, str(k), label=f"runs/base/{k + 1}", seed=k + 1) for k in range(5)]
    candidate = [
        run_of(values | {"ttft.p50": 0.2 * p50 * n}, str(k), label=f"runs/candidate/{k + 1}", seed=k + 1) for k, n in enumerate(noise)
    ]
    margins = [parse_margin(text) for text in ("ttft.p50=5%", "ttft.p99=10%", "success_rate=1pt")]
    comparison = compare_runs(base, candidate, [margin.metric for margin in margins])
    report = GateReport(
        name=name, command="loadlab gate runs/candidate --baseline runs/base", t0="2026-01-14T10:15:00+00:00", hostname="box",
        duration_s=100.5,        comparison=comparison, result=judge(comparison, margins, fewest),
    )  # fmt: skip
    return replace(report, **changes)  # type: ignore[arg-type]


BROKEN = (("runs/candidate/3", GateVerdict.INCOMPLETE, "its status is aborted: run it again"),)
LATE = (("runs/candidate/1", GateVerdict.INVALID, "requests left late: dispatch lag p99 31.0 ms, the limit is 10.0 ms"),)
THRESHOLD = (
    Line(name="ttft.p95 < 800ms", verdict=GateVerdict.FAILED, said="912 ms [880, 950]", detail="the whole interval is beyond the limit"),
)
CASES: dict[str, Callable[[], GateReport]] = {
    "passed": lambda: report_of(PASSES),
    "regressed": lambda: report_of(REGRESSES),
    "inconclusive": lambda: report_of(OPEN),
    "inconclusive-passes": lambda: report_of(OPEN, passes_inconclusive=True),
    "incomplete": lambda: report_of(PASSES, problems=BROKEN),
    "invalid": lambda: report_of(REGRESSES, problems=LATE, warnings=("the plans differ",)),
    "failed": lambda: report_of(PASSES, thresholds=THRESHOLD),
    "hostile": lambda: report_of(
        PASSES, name=HOSTILE, hostname=HOSTILE, command=f"loadlab gate '{HOSTILE}'", warnings=(f"| {HOSTILE} `x`",)
    ),
}
EXIT = {
    "passed": 0, "regressed": 99, "inconclusive": 99, "inconclusive-passes": 0, "incomplete": 97, "invalid": 98, "failed": 99, "hostile": 0,
}  # fmt: skip


def terminal(report: GateReport) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    print_gate(report, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_the_golden_one(case: str, update_golden: bool) -> None:
    report = CASES[case]()
    made = {
        "xml": junit_xml(report),
        "md": markdown(report).encode(),
        "json": dump_summary(gate_document(report)),
        "txt": terminal(report).encode(),
    }
    for suffix, data in made.items():
        path = GOLDEN / f"{case}.{suffix}"
        if update_golden:
            path.write_bytes(data)
        assert data == path.read_bytes(), path.name


@pytest.mark.parametrize("case", CASES)
def test_exit_codes(case: str) -> None:
    assert CASES[case]().exit_code == EXIT[case]


@pytest.mark.parametrize("case", CASES)
def test_junit_is_valid_and_counts_what_it_holds(case: str) -> None:
    report = CASES[case]()
    document = junit_xml(report).decode()
    SCHEMA.validate(document)
    suite = fromstring(document)[0]
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases) == len(report.lines)
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[attribute]) == sum(case.find(kind) is not None for case in cases)
    red = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert (red == 0) == (report.exit_code is ExitCode.OK)


def test_nothing_passes_on_a_run_that_is_no_measurement() -> None:
    for problems, code in ((BROKEN, ExitCode.INCOMPLETE), (LATE, ExitCode.INVALID), ((*BROKEN, *LATE), ExitCode.INVALID)):
        assert report_of(PASSES, problems=problems, passes_inconclusive=True).exit_code is code


def test_the_headline_says_how_many_more_pairs_are_needed() -> None:
    assert "more pairs would settle it" in headline(report_of(OPEN))
    assert "about 3 more pairs" in headline(report_of(PASSES, fewest=8))


def test_a_strangers_text_is_no_markup() -> None:
    assert escaped("<b>|`x`|</b> *y*\x1b[2J") == r"\<b\>\|\`x\`\|\</b\> \*y\*" + "\ufffd" + r"\[2J"
    page = markdown(CASES["hostile"]())
    assert "<script>" not in re.sub(r"`[^`]*`", "", page)  # within a code span it is shown as it is
    assert all("\x1b" not in text for text in (page, terminal(CASES["hostile"]()), junit_xml(CASES["hostile"]()).decode()))
