"""A gate as JUnit XML, which CI systems show as tests: one suite, a test case for each check.

The structure is the one that Ant wrote and that Jenkins, GitLab and GitHub's reporters read: testsuites > testsuite > properties,
testcase*, system-out, system-err. What regressed or failed is a failure, what is no measurement an error, what is inconclusive a failure
too, or skipped where it passes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from loadlab.analysis.gating import GateVerdict
from loadlab.report.gate import GateReport, Line, headline
from loadlab.report.text import clean_text


def junit_xml(report: GateReport) -> bytes:
    """The XML document, UTF-8. Text from outside is cleaned and escaped."""
    root = Element("testsuites")
    lines = report.lines
    results = [_result(line, report) for line in lines]
    counts = {kind: str(results.count(kind)) for kind in ("failure", "error", "skipped")}
    suite = SubElement(
        root,
        "testsuite",
        {
            "name": f"loadlab gate: {clean_text(report.name)}", "package": "loadlab.gate", "id": "0",
            "timestamp": report.t0[:19], "hostname": clean_text(report.hostname),
            "tests": str(len(lines)), "failures": counts["failure"], "errors": counts["error"], "skipped": counts["skipped"],
            "time": f"{report.duration_s or 0.0:.3f}",
        },
    )  # fmt: skip
    properties = SubElement(suite, "properties")
    for name, value in (
        ("verdict", report.verdict.value),
        ("exit_code", str(int(report.exit_code))),
        ("command", clean_text(report.command)),
    ):
        SubElement(properties, "property", {"name": name, "value": value})
    for line, kind in zip(lines, results, strict=True):
        _add_case(suite, report.name, line, kind)
    SubElement(suite, "system-out").text = clean_text(headline(report))
    SubElement(suite, "system-err").text = "\n".join(clean_text(warning) for warning in report.warnings)
    indent(root)
    document: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return document + b"\n"


def _result(line: Line, report: GateReport) -> str | None:
    match line.verdict:
        case GateVerdict.PASSED:
            return None
        case GateVerdict.INVALID | GateVerdict.INCOMPLETE:
            return "error"
        case GateVerdict.INCONCLUSIVE if report.passes_inconclusive:
            return "skipped"
        case _:
            return "failure"


def _add_case(suite: Element, scenario: str, line: Line, kind: str | None) -> None:
    case = SubElement(
        suite, "testcase", {"classname": f"loadlab.gate.{clean_text(scenario)}", "name": clean_text(line.name), "time": "0.000"}
    )
    if kind is None:
        return
    message = clean_text(f"{line.verdict.value}: {line.said}")
    attributes = {"message": message} if kind == "skipped" else {"message": message, "type": line.verdict.value}
    SubElement(case, kind, attributes).text = clean_text(line.detail)
