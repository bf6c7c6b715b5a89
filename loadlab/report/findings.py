"""What a run shows beyond its tables, in sentences: verdicts, SLO and error budget, warm-up, overload, and what it is too short for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadlab.report.text import METRICS, clean_text, three_digits
from loadlab.units import format_duration, format_share

Json = Mapping[str, Any]
ALL_METRICS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "e2e_s": "end to end"}
QUANTILES = ("p50", "p90", "p95", "p99")
TOO_SHORT = "?"  # behind a number that the run is too short for
_LIMITS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}
_VERDICTS = {"passed": "PASSED", "failed": "FAILED", "undecided": "UNDECIDED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """One threshold: the verdict in capitals, what was asked, what was seen, and why."""

    verdict: str
    threshold: str
    seen: str
    why: str
    is_bad: bool


def interval_text(estimate: Json, scale: float = 1.0) -> str:
    """ "[580, 655]" in the unit of the number, which is never negative; open ends are 0 and "∞", no interval is empty."""
    low, high = estimate["low"], estimate["high"]
    if low is None and high is None:
        return ""
    left = "[0" if low is None else f"[{three_digits(low * scale)}"
    right = "\N{INFINITY})" if high is None else f"{three_digits(high * scale)}]"
    return f"{left}, {right}"


def number_text(estimate: Json, scale: float = 1.0, *, interval: bool = True) -> str:
    """ "612 [580, 655]", with TOO_SHORT behind the number where it is inconclusive; "-" where there is none."""
    if estimate["value"] is None:
        return "-"
    mark = TOO_SHORT if estimate.get("suffices_n") else ""
    said = interval_text(estimate, scale) if interval else ""
    return f"{three_digits(estimate['value'] * scale)}{mark}" + (f" {said}" if said else "")


def measure_text(estimate: Json, unit: str) -> str:
    """A number with its interval in a metric's unit ("s", "share", "/s" or ""): "612 ms [580, 655]"."""
    value = estimate["value"]
    if value is None:
        return "nothing measured"
    if unit == "share":
        scale, shown = 100.0, format_share(value)
    elif unit == "s":
        scale, word = (1e3, "ms") if abs(value) < 1 else (1.0, "s")
        shown = f"{three_digits(value * scale)} {word}"
    else:
        scale, shown = 1.0, f"{three_digits(value)}{unit}"
        if isinstance(value, int):
            return f"{value:,}"
    said = interval_text(estimate, scale)
    return f"{shown} {said}" if said else shown


def verdict_lines(summary: Json) -> list[VerdictLine]:
    """The thresholds of a run, in order."""
    return [
        VerdictLine(
            verdict=_VERDICTS[row["verdict"]],
            threshold=clean_text(row["threshold"]),
            seen=measure_text(row, row["unit"]),
            why=_why(row),
            is_bad=row["verdict"] != "passed",
        )
        for row in summary.get("thresholds", ())
    ]


def _why(row: Json) -> str:
    if row["verdict"] == "passed":
        return ""
    said = clean_text(row["why"])
    if row["verdict"] == "undecided":
        said += f"; leans to {row['leans']}"
        if row["suffices_n"]:
            said += f"; about {_rounded(row['suffices_n'])} requests would decide"
    return said


def has_failed(summary: Json, *, undecided_fails: bool = False) -> bool:
    """True if a threshold of a run, or of any experiment of a campaign, failed; or was undecided, where that counts."""
    bad = {"failed", "undecided"} if undecided_fails else {"failed"}
    runs = summary.get("experiments", [summary])
    return any(row["verdict"] in bad for run in runs for row in run.get("thresholds", ()))


def slo_limits_text(slo: Json) -> str:
    """The limits of a good request: "TTFT <= 800 ms, TPOT <= 60 ms (own limits: chat)"; "success" where there are none."""
    limits = ", ".join(f"{words} <= {format_duration(slo['limits'][key])}" for key, words in _LIMITS.items() if key in slo["limits"])
    classes = f" (own limits: {', '.join(map(clean_text, slo['classes']))})" if slo["classes"] else ""
    return f"{limits or 'success'}{classes}"


def slo_sentences(summary: Json) -> Iterator[str]:
    """What a good request is, how many were, and how fast the error budget goes."""
    slo = summary.get("slo")
    if slo is None:
        return
    attained, goodput = measure_text(slo["attainment"], "share"), measure_text(slo["goodput_per_s"], "/s")
    yield f"SLO {slo_limits_text(slo)}: attained by {attained}; target {format_share(slo['target'])}. Goodput {goodput}."
    budget = slo["error_budget"]
    if budget["burn"]["value"] is None:
        return
    burn = f"Error budget burns {number_text(budget['burn'])} times as fast as it may"
    left = budget["hours_left"]
    if left["value"] is None:
        yield f"{burn}: nothing was bad."
        return
    alert = f" As an alert this is a {budget['alert']}." if budget["alert"] else ""
    yield f"{burn}: at this load 30 days of it last {_days(left)}.{alert}"


def _days(hours: Json) -> str:
    value, scale, unit = hours["value"], 1.0, "h"
    if value >= 72:
        scale, unit = 1 / 24, "days"
    said = interval_text(hours, scale)
    return f"{three_digits(value * scale)} {unit}" + (f" {said}" if said else "")


def steadiness_sentences(summary: Json) -> Iterator[tuple[str, bool]]:
    """(sentence, is it an alarm) about warm-up and overload; nothing where there is nothing to say."""
    steadiness = summary.get("steadiness")
    if steadiness is None:
        return
    overload, warm_up = steadiness["overload"], steadiness["warm_up"]
    if overload["is_overloaded"]:
        grew = format_share(overload["backlog_growth"])
        yield (
            (
                f"OVERLOADED: the backlog grew by {grew} of the requests that came, and latency rose all along. "
                "Latencies say how long the run was, not how fast the target is."
            ),
            True,
        )
    if warm_up["requests"]:
        until = format_duration(warm_up["until_s"])
        yield f"Warm-up: the first {warm_up['requests']:,} requests (due before {until}) are left out of latencies, not of counts.", False
    elif "never settled" in warm_up["note"] and not overload["is_overloaded"]:
        yield (
            "It never settled (MSER-5): the run is too short to have a steady state, so that a longer one may show other latencies.",
            False,
        )


def tau_sentence(summary: Json) -> str | None:
    """How dependent the requests were, in words."""
    key = "ttft_s" if summary["metrics"]["ttft_s"]["n"] else "e2e_s"
    n, tau = summary["metrics"][key]["n"], summary["metrics"][key]["p95"]["tau"]
    if tau is None:
        return None
    worth = f"for {ALL_METRICS[key]} p95, {n:,} requests say as much as {n / tau:,.0f} independent ones"
    return f"Slow requests come together (tau = {three_digits(tau)}): {worth}."


def too_short_sentence(summary: Json) -> str | None:
    """Which quantiles the run is too short for, and how many requests would do; None where it is long enough for all."""
    short = {}
    for key, words in ALL_METRICS.items():
        needs = [(name, summary["metrics"][key][name]["suffices_n"]) for name in QUANTILES if summary["metrics"][key][name]["suffices_n"]]
        if needs:
            short[f"{words} {'/'.join(name for name, _ in needs)}"] = max(number for _, number in needs)
    if not short:
        return None
    said = ", ".join(f"{what} {_rounded(number)}" for what, number in short.items())
    return f"{TOO_SHORT} inconclusive: n < 300 tau. Requests that would do: {said}."


def campaign_too_short(experiments: Sequence[Json]) -> str | None:
    """The same over the experiments of a campaign: how many of them are too short for their p95 or p99 of any latency."""
    ran = [e for e in experiments if any(e["metrics"][key]["n"] for key in METRICS)]
    needs = {e["id"]: max((e["metrics"][key][p]["suffices_n"] or 0) for key in METRICS for p in ("p95", "p99")) for e in ran}
    short = {key: number for key, number in needs.items() if number}
    if not short:
        return None
    which = (
        "every experiment" if len(short) == len(ran) else f"{len(short)} of {len(ran)} experiments ({', '.join(map(clean_text, short))})"
    )
    needed = " to ".join(dict.fromkeys(_rounded(number) for number in (min(short.values()), max(short.values()))))
    return f"Inconclusive: {which} has too few requests for a claim on its p95 and p99 (n < 300 tau); it takes {needed} each."


def campaign_overloaded(experiments: Sequence[Json]) -> str | None:
    """Which experiments were overloaded; None if none was."""
    found = {e["id"]: e["steadiness"]["overload"] for e in experiments if e.get("steadiness")}
    over = [f"{clean_text(key)} (backlog + {format_share(o['backlog_growth'])})" for key, o in found.items() if o["is_overloaded"]]
    return f"OVERLOADED, so that latencies say how long they ran: {', '.join(over)}." if over else None


def _rounded(number: int) -> str:
    """Two digits: it is an estimate itself."""
    return f"{int(float(f'{number:.2g}')):,}"
