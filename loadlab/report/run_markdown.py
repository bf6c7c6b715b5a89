"""`report.md`: a run or a campaign as one page of Markdown, for a pull request or a ticket."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from loadlab.report.findings import ALL_METRICS, number_text
from loadlab.report.markdown import escaped
from loadlab.report.text import INTERVAL_NOTE, METRICS, NOT_RUN, UNITS, heading_text, percentile_text, success_text
from loadlab.report.verdict_box import verdict_box

Json = Mapping[str, Any]
_SHOWN = ("mean", "p50", "p95", "p99")


def run_markdown(summary: Json) -> str:
    """The verdict with its four answers, the latencies with their intervals, and the command. Text from outside is escaped."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Json) -> Iterator[str]:
    box = verdict_box(summary)
    yield f"## {escaped(summary['name'])}: {box.answer}"
    yield ""
    yield f"**{escaped(box.said)}**"
    yield ""
    for question, lines in box.rows:
        yield f"- **{question}**: {escaped(lines[0])}"
        yield from (f"  - {escaped(line)}" for line in lines[1:])
    yield ""
    yield from _experiments(summary) if "experiments" in summary else _latencies(summary)
    yield ""
    yield f"{escaped(INTERVAL_NOTE)} A ? marks a number that the run is too short for; a * the largest value of too few."
    yield ""
    yield f"{escaped(heading_text(summary))}; started {escaped(summary['host']['t0'])}."
    yield f"To repeat it: `{shlex.join(summary['host']['argv']).replace('`', '')}`"


def _latencies(summary: Json) -> Iterator[str]:
    yield f"| OK requests only [95 %] | n | {' | '.join(_SHOWN)} |"
    yield "|---" * (len(_SHOWN) + 2) + "|"
    for key, words in ALL_METRICS.items():
        metric, (unit, scale) = summary["metrics"][key], UNITS.get(key, ("ms", 1e3))
        if metric["n"]:
            cells = [escaped(number_text(metric[name], scale)) for name in _SHOWN]
            yield f"| {words}, {unit} | {metric['n']:,} | {' | '.join(cells)} |"


def _experiments(summary: Json) -> Iterator[str]:
    heads = [f"{words} {p}, {UNITS[key][0]}" for key, words in METRICS.items() for p in ("p50", "p95", "p99")]
    yield f"| experiment | success [95 %] | planned | OOM | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 4) + "|"
    for run in summary["experiments"]:
        named = escaped(f"{run['id']} {run['name']}")
        if run["status"] == NOT_RUN:
            yield f"| {named} | not run | {run['totals']['planned']:,} |" + " - |" * (len(heads) + 1)
            continue
        cells = [escaped(percentile_text(run["metrics"][key], p, UNITS[key][1])) for key in METRICS for p in ("p50", "p95", "p99")]
        totals = run["totals"]
        yield f"| {named} | {escaped(success_text(totals))} | {totals['planned']:,} | {totals['oom']:,} | {' | '.join(cells)} |"
