"""A gate as Markdown, for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterator

from loadlab.analysis.gating import GateVerdict
from loadlab.report.comparison import claims, side_text
from loadlab.report.gate import GateReport, headline
from loadlab.report.text import clean_text

_MARKS = {GateVerdict.PASSED: "passed", GateVerdict.INCONCLUSIVE: "**inconclusive**"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def markdown(report: GateReport) -> str:
    """The page: the verdict, what was compared, a row for each check, and what a reader must know of the numbers."""
    return "\n".join(_lines(report)) + "\n"


def escaped(text: str) -> str:
    """Text from outside that is shown as it is: cleaned, and nothing in it is markup."""
    return _SPECIAL.sub(r"\\\1", clean_text(text))


def _lines(report: GateReport) -> Iterator[str]:
    yield f"## loadlab gate, {escaped(report.name)}: {report.verdict.value}"
    yield ""
    yield f"**{escaped(headline(report))}**"
    yield ""
    for warning in report.warnings:
        yield f"> {escaped(warning)}"
        yield ""
    if report.lines:
        yield "| check | found | verdict | |"
        yield "|---|---|---|---|"
    for line in report.lines:
        mark = _MARKS.get(line.verdict, f"**{line.verdict.value.upper()}**")
        yield f"| {escaped(line.name)} | {escaped(line.said)} | {mark} | {escaped(line.detail)} |"
    if report.comparison is not None:
        yield ""
        yield f"- base: {escaped(side_text(report.comparison.base))}"
        yield f"- candidate: {escaped(side_text(report.comparison.candidate))}"
        for claim in claims(report.comparison):
            yield f"- {escaped(claim)}"
        yield "- [..] are one-sided 95 % bounds each way; a regression is claimed after Holm's correction over all margins."
    yield ""
    yield f"Exit code {int(report.exit_code)}. Made by `{clean_text(report.command).replace('`', '')}`"
