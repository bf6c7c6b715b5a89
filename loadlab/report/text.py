"""Text and numbers as people read them: cleaned of control characters, with units, and with n beside a percentile."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadlab.analysis.latency import rank_of
from loadlab.record.request import OUTCOME_OF, Cause
from loadlab.units import format_share

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, format (bidi, zero width), surrogate ..
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
METRICS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end"}
UNITS = {"ttft_s": ("s", 1.0), "tpot_s": ("ms", 1e3), "e2e_s": ("s", 1.0)}  # of a column, so that its cells compare at a glance
OUTCOME_WORDS = {
    "rejected": "rejected", "oom": "OOM", "timeout": "timed out", "http_error": "HTTP error", "connection_error": "connection error",
    "truncated": "truncated", "not_sent": "not sent", "unknown": "unknown",
}  # fmt: skip
OTHER_OUTCOMES = ("http_error", "connection_error", "truncated", "not_sent", "unknown")
ENGINE_WORDS = {"simulation": "simulated backend", "locust": "over HTTP", "server": "as the bundled server saw it", "imported": "imported"}
NOT_RUN = "not_run"  # status of an experiment that the campaign did not come to
LOW_SUCCESS = 0.95  # below it, latencies are those of few survivors: marked wherever they stand alone
ABBREVIATIONS = (
    "TTFT: time to first token. TPOT: time per output token after the first. OOM: out of memory. KV: key-value cache of attention."
)
INTERVAL_NOTE = "[..] is a 95 % interval. Requests that queue behind each other are not independent: it counts n / tau of them, not n."
BUSY_NOTE = "GPU busy: time in which any work ran, not utilisation of its compute."


def clean_text(text: str) -> str:
    """Text from outside, safe to print: control, escape, bidi and invisible characters become U+FFFD, line ends and tabs a space."""
    if text.isascii() and text.isprintable():
        return text
    spaced = " ".join(text.splitlines()).replace("\t", " ")
    return "".join("\ufffd" if unicodedata.category(c) in _UNPRINTABLE else c for c in spaced)


def clean_tree(value: Any) -> Any:
    """The same value with every text in it cleaned, keys included."""
    match value:
        case str():
            return clean_text(value)
        case Mapping():
            return {clean_text(str(key)): clean_tree(item) for key, item in value.items()}
        case list() | tuple():
            return [clean_tree(item) for item in value]
        case _:
            return value


def three_digits(value: float | None) -> str:
    """At least three digits that mean something, no unit: "0.812", "4.07", "41.2", "1,234"; "-" for None."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 3
    return f"{value:.{decimals}f}"


def success_text(totals: Mapping[str, Any]) -> str:
    """Success with its interval: "91.3 % [90.6, 91.9]"; "-" where nothing was planned, "not run" where nothing was begun."""
    rate = totals["success_rate"]
    if rate["value"] is None:
        return "not run" if totals["planned"] else "-"
    if rate["low"] is None:
        return format_share(rate["value"])
    return f"{format_share(rate['value'])} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def percentile_text(metric: Mapping[str, Any], name: str, scale: float = 1.0) -> str:
    """A percentile times `scale`; a trailing * where n is so small that it is the maximum."""
    value = metric[name]["value"]
    if value is None:
        return "-"
    return three_digits(value * scale) + ("*" if is_maximum(metric["n"], name) else "")


def is_maximum(n: int, name: str) -> bool:
    """True where the percentile of n values is simply the largest of them."""
    return n > 0 and rank_of(PERCENTILES[name], n) == n


def is_low(totals: Mapping[str, Any]) -> bool:
    """True where so many failed that latencies of the OK ones mislead."""
    value = totals["success_rate"]["value"]
    return value is not None and value < LOW_SUCCESS


def short_success(totals: Mapping[str, Any]) -> str:
    """Success in whole per cent, rounded down, with a "!" where it is low: "99", "83!"."""
    value = totals["success_rate"]["value"]
    return "-" if value is None else f"{math.floor(100 * value + 1e-9)}{'!' if is_low(totals) else ''}"


def failures_text(totals: Mapping[str, Any], causes: Mapping[str, int] | None = None) -> str:
    """Every outcome but ok that occurred, OOM always: "12 rejected, 0 OOM"; with `causes` "12 rejected (queue_full 9, filtered 3)"."""
    by_outcome: dict[str, list[str]] = {}
    for cause, number in (causes or {}).items():
        by_outcome.setdefault(_outcome_of(cause), []).append(f"{clean_text(cause)} {number:,}")
    said = []
    for key, words in OUTCOME_WORDS.items():
        if totals[key] or key == "oom":
            why = by_outcome.get(key, ())
            said.append(f"{totals[key]:,} {words}" + (f" ({', '.join(why)})" if why else ""))
    return ", ".join(said)


_CAPACITY = (Cause.QUEUE_FULL, Cause.RATE_LIMITED, Cause.KV_EXHAUSTED, Cause.NO_REPLICA)


def server_words(causes: Mapping[str, int]) -> str:
    """What a server over HTTP said of its memory and capacity: three counts that are never added up."""
    reported, died = causes.get(Cause.OOM_REPORTED, 0), causes.get(Cause.ENGINE_DIED, 0)
    refused = sum(causes.get(cause, 0) for cause in _CAPACITY)
    ooms = f"{reported:,} OOM{'' if reported == 1 else 's'} reported by the server"
    return f"{ooms}, {died:,} reports of a dead engine, {refused:,} refused for capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseLine:
    """One cause over the experiments of a campaign: how many requests, and how many of each experiment that has some."""

    outcome: str
    cause: str
    count: int
    experiments: str


def cause_lines(experiments: Sequence[Mapping[str, Any]]) -> list[CauseLine]:
    """The causes that occurred, by outcome."""
    found: dict[str, list[tuple[str, int]]] = {}
    for experiment in experiments:
        for cause, number in experiment["causes"].items():
            found.setdefault(cause, []).append((clean_text(str(experiment["id"])), number))
    order = list(OUTCOME_WORDS)
    return [
        CauseLine(
            outcome=OUTCOME_WORDS.get(_outcome_of(cause), "?"),
            cause=clean_text(cause),
            count=sum(number for _, number in parts),
            experiments=", ".join(key if len(parts) == 1 else f"{key} {number:,}" for key, number in parts),
        )
        for cause, parts in sorted(found.items(), key=lambda item: order.index(_outcome_of(item[0])))
    ]


def _outcome_of(cause: str) -> str:
    return OUTCOME_OF[Cause(cause)].value


def heading_text(summary: Mapping[str, Any]) -> str:
    """What was run, on one line: name, variant, seed, kind of target, version."""
    said = [clean_text(summary["name"])]
    if "experiments" in summary:
        said.append("no variant" if summary["variant"] is None else f"variant {clean_text(summary['variant'])}")
    if summary.get("engine") != "imported":  # its plan is not ours
        said.append(f"seed {summary['seed']}")
    engines = {experiment.get("engine") for experiment in summary.get("experiments", [summary])} - {None}
    said.extend(ENGINE_WORDS.get(engine, clean_text(engine)) for engine in sorted(engines))
    said.append(f"loadlab {clean_text(summary['versions'].get('loadlab', '?'))}")
    return ", ".join(said)


def look_up(summary: Mapping[str, Any], path: str | None) -> str:
    """The figure of a summary that a dotted path names, in words; "-" if there is none: `totals.success_rate` -> "91.3 % [..]"."""
    value: Any = summary
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, Mapping) else None
    match value:
        case bool() | None:
            return "-"
        case int():
            return f"{value:,}"
        case float():
            return three_digits(value)
        case {"value": float() | int() as number}:
            if path is not None and path.endswith("success_rate"):
                return success_text(summary["totals"])
            return three_digits(number)
        case list():
            return f"{len(value):,}"
        case str():
            return clean_text(value)
        case _:
            return "-"


def key_words(key: str) -> str:
    """A key as people say it: timeout_s -> "client timeout"."""
    return {"timeout_s": "client timeout"}.get(key, clean_text(key))


def value_text(key: str, value: Any) -> str:
    """A value with the unit that its key ends in: timeout_s 30 -> "30 s"."""
    return f"{value:g} s" if key.endswith("_s") and isinstance(value, int | float) else clean_text(str(value))


def band_text(pool: Mapping[str, Any]) -> str | None:
    """How far the simulator's step times can be trusted, in the words of a run's conditions; None where they do not say."""
    label, band = pool.get("label", pool.get("calibration")), pool.get("step_time_band", pool.get("band_share"))
    if label == "datasheet":
        label = "datasheet, not calibrated"
    if isinstance(band, int | float):
        band = f"band \N{PLUS-MINUS SIGN}{100 * band:.0f} %"
    return ", ".join(clean_text(str(words)) for words in (label, band) if words is not None) or None


def whole_percent(share: Mapping[str, Any]) -> str:
    """Whole per cent, without the sign; 100 only where nothing was left."""
    value = share["value"]
    if value is None:
        return "-"
    return "99" if 0.985 <= value < 1 else f"{100 * value:.0f}"


def sources_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The sources of published figures, each once."""
    return "; ".join(dict.fromkeys(clean_text(str(row["source"])) for row in rows))
