"""The first thing on a page: what was asked, does it hold, how sure is that, and is the run valid. For HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loadlab.report.findings import ALL_METRICS, VerdictLine, measure_text, slo_limits_text, verdict_lines
from loadlab.report.text import NOT_RUN, band_text, clean_text, failures_text, success_text, three_digits
from loadlab.report.validity import validity_lines
from loadlab.units import format_duration, format_share

Json = Mapping[str, Any]
MAX_SHOWN = 6  # lines of thresholds; the table below has them all


class Answer(StrEnum):
    """The word in large letters."""

    INVALID = "INVALID"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"
    UNDECIDED = "UNDECIDED"
    HOLDS = "HOLDS"
    NOT_ASKED = "NO LIMIT ASKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictBox:
    """`answer`, its sentence, and pairs of (question, lines that answer it)."""

    answer: Answer
    said: str
    rows: Sequence[tuple[str, Sequence[str]]]

    @property
    def is_alarm(self) -> bool:
        """True where somebody must act, or must not use the figures."""
        return self.answer in (Answer.INVALID, Answer.INCOMPLETE, Answer.FAILED)

    @property
    def is_open(self) -> bool:
        """True where the run does not say."""
        return self.answer is Answer.UNDECIDED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A threshold or an SLO of one run, with the name of the experiment where there are several."""

    where: str
    line: VerdictLine

    def text(self) -> str:
        why = f" ({self.line.why})" if self.line.why else ""
        return f"{self.where}{self.line.verdict} {self.line.threshold}: {self.line.seen}{why}"


def verdict_box(summary: Json) -> VerdictBox:
    """The box of a run's summary, or of a campaign's. Texts in it are clean."""
    runs = [run for run in summary.get("experiments", [summary]) if run["status"] != NOT_RUN]
    judged = [found for run in runs for found in _judged(run, is_one_of_many="experiments" in summary)]
    answer, said = _answer(summary, runs, judged)
    rows = [
        ("What was asked", list(_asked(summary, runs, judged))),
        ("Does it hold", list(_held(summary, judged))),
        ("How sure", list(_sure(runs))),
        ("Is the run valid", list(_valid(summary, runs))),
    ]
    return VerdictBox(answer=answer, said=said, rows=[(question, lines) for question, lines in rows if lines])


def _judged(run: Json, *, is_one_of_many: bool) -> Iterator[_Judged]:
    where = f"{clean_text(str(run.get('id', run['name'])))}: " if is_one_of_many else ""
    for line in verdict_lines(run):
        yield _Judged(where=where, line=line)
    slo = run.get("slo")
    if slo is not None and slo["attainment"]["value"] is not None:
        yield _Judged(where=where, line=_slo_line(slo))


def _slo_line(slo: Json) -> VerdictLine:
    """The SLO as a threshold: attainment against its target, by the interval."""
    found, target = slo["attainment"], slo["target"]
    low = found["value"] if found["low"] is None else found["low"]
    high = found["value"] if found["high"] is None else found["high"]
    verdict = "PASSED" if low >= target else "FAILED" if high < target else "UNDECIDED"
    return VerdictLine(
        verdict=verdict,
        threshold=f"SLO {slo_limits_text(slo)} for {format_share(target)} of requests",
        seen=f"attained by {measure_text(found, 'share')}",
        why="the interval holds the target" if verdict == "UNDECIDED" else "",
        is_bad=verdict != "PASSED",
    )


def _answer(summary: Json, runs: Sequence[Json], judged: Sequence[_Judged]) -> tuple[Answer, str]:
    """The worst that is true: an invalid run answers nothing, whatever its thresholds say."""
    spoilt = [run for run in runs if run.get("validity") and run["validity"]["verdict"] == "invalid"]
    if spoilt:
        return Answer.INVALID, "The load generator spoilt the measurement: these figures say nothing of the target."
    if summary["status"] != "complete":
        return Answer.INCOMPLETE, "These figures are of a part of what was planned."
    count = {word: sum(found.line.verdict == word for found in judged) for word in ("FAILED", "UNDECIDED", "PASSED")}
    of = f"{len(judged)} {'limit' if len(judged) == 1 else 'limits'}"
    if count["FAILED"]:
        return Answer.FAILED, f"{count['FAILED']} of {of} failed" + (f", {count['UNDECIDED']} undecided." if count["UNDECIDED"] else ".")
    if count["UNDECIDED"]:
        return Answer.UNDECIDED, f"The run is too short to decide {count['UNDECIDED']} of {of}; none failed."
    if judged:
        return Answer.HOLDS, "The limit holds, with its whole interval." if len(judged) == 1 else f"All {of} hold, with their intervals."
    return Answer.NOT_ASKED, "No SLO and no threshold was set, so nothing is judged: see --slo and --threshold."


def _asked(summary: Json, runs: Sequence[Json], judged: Sequence[_Judged]) -> Iterator[str]:
    planned = f"{summary['totals']['planned']:,} requests"
    targets = list(dict.fromkeys(clean_text(run["target"]) for run in runs if run.get("target")))
    if "experiments" in summary:
        planned += f" in {len(summary['experiments'])} experiments"
    on = f" to {targets[0]}" if len(targets) == 1 else f" to {len(targets)} targets" if targets else ""
    yield f"{planned}{on}" + (f", judged by {len(judged)} {'limit' if len(judged) == 1 else 'limits'}." if judged else ".")


def _held(summary: Json, judged: Sequence[_Judged]) -> Iterator[str]:
    order = ("FAILED", "UNDECIDED", "PASSED")
    ordered = sorted(judged, key=lambda found: order.index(found.line.verdict))
    yield from (found.text() for found in ordered[:MAX_SHOWN])
    if len(ordered) > MAX_SHOWN:
        yield f"and {len(ordered) - MAX_SHOWN} more, below"
    totals = summary["totals"]
    yield f"{totals['ok']:,} of {totals['planned']:,} succeeded: {success_text(totals)}; {failures_text(totals)}."


def _sure(runs: Sequence[Json]) -> Iterator[str]:
    if len(runs) == 1:
        yield from _worth(runs[0])
    short = [run for run in runs if _suffices(run)]
    if short and len(runs) > 1:
        yield f"{len(short)} of {len(runs)} experiments are too short for a claim on every p95 and p99 (n < 300 tau)."
    bands = [band_text(pool) for run in runs if run.get("engine") in ("simulation", "server") for pool in run.get("conditions", ())]
    known = list(dict.fromkeys(band for band in bands if band))
    if known:
        yield f"Simulated, so a prediction: step times {clean_text('; '.join(known[:3]))}{'; and others' if len(known) > 3 else ''}."


def _worth(run: Json) -> Iterator[str]:
    key = "ttft_s" if run["metrics"]["ttft_s"]["n"] else "e2e_s"
    metric = run["metrics"][key]
    if not metric["n"]:
        return
    tau, enough = metric["p99"]["tau"], _suffices(run)
    worth = "" if tau is None else f", worth {metric['n'] / tau:,.0f} independent ones (tau {three_digits(tau)})"
    yield f"{ALL_METRICS[key]} p99 of {metric['n']:,} requests{worth}: {measure_text(metric['p99'], 's')}, 95 % interval."
    if enough:
        yield f"Too short for a claim on every quantile; about {float(f'{enough:.2g}'):,.0f} requests would do."


def _suffices(run: Json) -> int:
    return max((run["metrics"][key][p]["suffices_n"] or 0 for key in ("ttft_s", "tpot_s", "e2e_s") for p in ("p95", "p99")), default=0)


def _valid(summary: Json, runs: Sequence[Json]) -> Iterator[str]:
    if summary["status"] == "complete":
        yield "Every planned request is accounted for."
    heads = [(run, next(validity_lines(run), "")) for run in runs]
    if len(runs) == 1:
        yield from (head for _, head in heads if head)
    else:
        yield from (f"{clean_text(str(run.get('id', run['name'])))}: {head}" for run, head in heads if head and "VALID:" not in head[:6])
    over = [run for run in runs if run.get("steadiness") and run["steadiness"]["overload"]["is_overloaded"]]
    if over:
        names = "" if len(runs) == 1 else f" in {', '.join(clean_text(str(run.get('id', run['name']))) for run in over)}"
        yield f"OVERLOADED{names}: latencies there say how long the run was, not how fast the target is."
    for run in runs if len(runs) == 1 else ():
        until = run["steadiness"]["warm_up"]["until_s"] if run.get("steadiness") else None
        if until is not None:
            yield f"Requests due before {format_duration(until)} are warm-up: left out of latencies."
