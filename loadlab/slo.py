"""What a run is held to: limits per request (`Slo`), metrics by name (`Metric`), and lines drawn on them (`Threshold`).

Only words are read and checked here, before anything runs; `analysis/metrics.py` gives a metric its value, `analysis/verdict.py` judges.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Annotated, Any, assert_never

from loadlab.schema import Bound, In, Positive, read_table
from loadlab.units import parse_count, parse_duration_s, parse_rate_per_s, parse_share, quoted

DEFAULT_TARGET = 0.99
Target = Bound("above 0 and below 1: of 100% there is no error budget", lambda x: 0 < x < 1)

LATENCIES: Mapping[str, str] = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first, of each request",
    "itl": "gap between two tokens, over all gaps",
    "e2e": "end to end",
    "dispatch_lag": "sent - due: the load generator's own delay",
}
PLAIN: Mapping[str, str] = {
    "success_rate": "OK / planned",
    "attainment": "share of planned requests that are OK and meet every limit of the SLO",
    "goodput": "requests a second that are OK and meet every limit of the SLO",
    "requests_per_s": "OK requests a second",
    "output_tokens_per_s": "output tokens of OK requests a second",
    "prompt_tokens_per_s": "prompt tokens of OK requests a second",
}
COUNTED = (
    "ok", "rejected", "oom", "timeout", "http_error", "connection_error", "truncated", "not_sent", "unknown",
    "failed",  # oom + timeout + http_error + connection_error + truncated
)  # fmt: skip
OF_SERVER: Mapping[str, str] = {
    "server.kv_usage": "share of the KV cache in use",
    "server.gpu_busy": "share of time in which a GPU worked",
    "server.gpu_memory": "share of a GPU's memory in use",
    "server.running": "requests in a replica's batch",
    "server.waiting": "requests that wait for it",
    "server.gpu_power_w": "power of a GPU, watts",
}  # each with .mean (over time and replicas) or .max (of any replica)
PREFIX_HITS, PREEMPTIONS = "server.prefix_hit_rate", "server.preemptions"
_SERVER_SHARES = ("server.kv_usage", "server.gpu_busy", "server.gpu_memory", PREFIX_HITS)
LABELS = ("class", "model", "tier", "region", "turn", "mode")
BURN = "error_budget"
_STATISTICS = "mean, max, or p and a percentage such as p50, p99 or p99.9"
METRICS_TEXT = (
    f"{', '.join(LATENCIES)} (each with .{_STATISTICS}); {', '.join(PLAIN)}; {', '.join(COUNTED)} (each with .count or .rate); "
    f"{BURN}.burn; {', '.join(OF_SERVER)} (each with .mean or .max); {PREFIX_HITS}; {PREEMPTIONS}.count"
)
_METRIC = re.compile(r"((?:server\.)?[a-z_0-9]+)(?:\.([a-z0-9.]+))?\s*(?:\{([^{}]*)\})?")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)")
_THRESHOLD = re.compile(r"([^<>=]+(?:\{[^{}]*\})?)\s*(<=|>=|==|<|>)\s*([^<>={}\s][^<>={}]*)")
MAX_THRESHOLD_CHARS = 400
_LABEL = re.compile(r"\s*([a-z]+)\s*=\s*(\"[^\"]*\"|[^\s\",=]+)\s*(?=,|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Limits on one request, in seconds, and the share of requests that must succeed within all of them.

    A limit that is None does not bind. `target` is what the error budget is counted from: 99 % leaves 1 % for bad requests.
    """

    ttft: Annotated[float, In("_s"), Positive] | None = None
    tpot: Annotated[float, In("_s"), Positive] | None = None
    e2e: Annotated[float, In("_s"), Positive] | None = None
    target: Annotated[float, In("share"), Target] | None = None

    def over(self, base: Slo) -> Slo:
        """These limits where there are any, else those of `base`."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(base, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Slos:
    """The SLO of a scenario, and of each traffic class that has its own keys; what a class leaves out it takes from the scenario."""

    default: Slo
    by_class: Mapping[str, Slo]

    def of(self, traffic_class: str | None) -> Slo:
        """The limits of a class, the scenario's filled in."""
        return self.by_class.get(traffic_class or "", Slo()).over(self.default)

    def target_of(self, traffic_class: str | None) -> float:
        """The share of requests that must be good; 99 % where nobody said.

        For all classes together (None) where only classes say: the strictest of theirs.
        """
        own = [slo.target for slo in self.by_class.values() if slo.target is not None]
        if traffic_class is None and self.default.target is None and own:
            return max(own)
        return self.of(traffic_class).target or DEFAULT_TARGET


def read_slos(scenario: Mapping[str, Any], source: str) -> Slos | None:
    """The SLOs of a scenario as tables, such as a manifest keeps; None if it has none. Raises InputError on bad ones."""
    classes = {name: table["slo"] for name, table in scenario.get("classes", {}).items() if table.get("slo") is not None}
    if scenario.get("slo") is None and not classes:
        return None
    default = read_table(Slo, scenario.get("slo") or {}, source, "slo")
    return Slos(default=default, by_class={name: read_table(Slo, table, source, f"classes.{name}.slo") for name, table in classes.items()})


class Unit(Enum):
    """What a metric is measured in."""

    SECONDS = "s"
    SHARE = "share"
    PER_SECOND = "/s"
    NUMBER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a run has: `ttft.p95`, `tpot.p99{class=chat}`, `success_rate`, `oom.count`.

    `statistic` is "mean", "max" or "p95" of a latency, "count" or "rate" of an outcome, "burn" of the error budget, else None.
    `labels` narrow it to the requests that have them all.
    """

    name: str
    statistic: str | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        narrowed = ",".join(f"{label}={_as_written(value)}" for label, value in self.labels)
        return self.key + (f"{{{narrowed}}}" if narrowed else "")

    @property
    def key(self) -> str:
        """The metric without its labels: "ttft.p95"."""
        return self.name if self.statistic is None else f"{self.name}.{self.statistic}"

    @property
    def percentile(self) -> float | None:
        """0.95 of p95; None for what is no percentile."""
        match = _PERCENTILE.fullmatch(self.statistic or "")
        return None if match is None else round(float(match[1]) / 100, 9)

    @property
    def unit(self) -> Unit:
        """What it is measured in."""
        if self.name in LATENCIES:
            return Unit.SECONDS
        if self.name in ("success_rate", "attainment", *_SERVER_SHARES) or self.statistic == "rate":
            return Unit.SHARE
        return Unit.PER_SECOND if self.name in PLAIN else Unit.NUMBER

    @property
    def is_of_server(self) -> bool:
        """True if it is read from server.jsonl, not from the requests."""
        return self.name.startswith("server.")

    @property
    def needs_slo(self) -> bool:
        """True if it means nothing without an SLO."""
        return self.name in ("attainment", "goodput", BURN)


def parse_metric(text: str) -> Metric:
    """The metric that a text names. Raises ValueError, naming what there is."""
    match = _METRIC.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{quoted(text)} is not a metric such as ttft.p95 or tpot.p99{{class=chat}}")
    name, statistic, labels = match[1], match[2], match[3]
    _check_statistic(name, statistic)
    if name.startswith("server.") and labels is not None:
        raise ValueError(f"{quoted(text.strip())}: {name} is of the server, which does not know whose requests it serves: leave out {{..}}")
    return Metric(name=name, statistic=statistic, labels=() if labels is None else _parse_labels(labels))


def _check_statistic(name: str, statistic: str | None) -> None:
    if name in PLAIN:
        allowed = statistic is None
        says = "stands alone"
    elif name in LATENCIES:
        match = _PERCENTILE.fullmatch(statistic or "")
        allowed = statistic in ("mean", "max") or (match is not None and float(match[1]) > 0)
        says = f"needs a statistic: {_STATISTICS}"
    elif name in COUNTED:
        allowed = statistic in ("count", "rate")
        says = "needs .count or .rate (of planned requests)"
    elif name == BURN:
        allowed = statistic == "burn"
        says = "has one statistic: error_budget.burn"
    elif name in OF_SERVER:
        allowed = statistic in ("mean", "max")
        says = "needs .mean (over time and replicas) or .max (of any replica)"
    elif name == PREFIX_HITS:
        allowed = statistic is None
        says = "stands alone"
    elif name == PREEMPTIONS:
        allowed = statistic == "count"
        says = "has one statistic: server.preemptions.count"
    else:
        known = (*LATENCIES, *PLAIN, *COUNTED, BURN, *OF_SERVER, PREFIX_HITS, PREEMPTIONS)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"{quoted(name)} is not a metric; {hint}There are: {METRICS_TEXT}")
    if not allowed:
        written = name if statistic is None else f"{name}.{statistic}"
        raise ValueError(f"{quoted(written)}: {name} {says}")


def _parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    written = f"{{{text}}}"
    found: dict[str, str] = {}
    at = 0
    while at <= len(text):
        match = _LABEL.match(text, at)
        if match is None or match[1] not in LABELS:
            raise ValueError(f"{quoted(written)} must be label=value pairs with commas between; the labels are {', '.join(LABELS)}")
        if match[1] in found:
            raise ValueError(f"{quoted(written)} names {match[1]} twice")
        found[match[1]] = match[2].strip('"')
        at = match.end() + 1
    if not found.get("turn", "0").isdigit():
        raise ValueError(f"turn = {quoted(found['turn'])} must be a whole number from 0")
    return tuple(found.items())


def _as_written(value: str) -> str:
    return value if re.fullmatch(r"[^\s\",={}<>]+", value) else f'"{value}"'


class Comparison(Enum):
    """How a metric is to lie to its limit."""

    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    EQUAL = "=="

    def holds(self, value: float, limit: float) -> bool:
        """True if value <, <=, >, >= or == limit; equal up to the last bits of float64 counts as equal."""
        is_equal = math.isclose(value, limit, rel_tol=1e-12)
        match self:
            case Comparison.LESS:
                return value < limit and not is_equal
            case Comparison.AT_MOST:
                return value < limit or is_equal
            case Comparison.GREATER:
                return value > limit and not is_equal
            case Comparison.AT_LEAST:
                return value > limit or is_equal
            case Comparison.EQUAL:
                return is_equal
        assert_never(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A line drawn on a metric: `ttft.p95 < 800ms`. `limit` is in the metric's unit, `written` as a person wrote it."""

    metric: Metric
    comparison: Comparison
    limit: float
    written: str

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison.value} {self.written}"


def parse_threshold(text: str) -> Threshold:
    """The threshold that a text says. Raises ValueError, naming what is allowed."""
    match = _THRESHOLD.fullmatch(text.strip()) if len(text) <= MAX_THRESHOLD_CHARS else None
    if match is None:
        raise ValueError(f"{quoted(text)} is not a threshold such as 'ttft.p95 < 800ms' or 'success_rate >= 99%' (<, <=, >, >=, ==)")
    metric, comparison, written = parse_metric(match[1]), Comparison(match[2]), match[3]
    if comparison is Comparison.EQUAL and metric.statistic != "count":
        raise ValueError(f"{quoted(text)}: == is for counts, such as oom.count == 0; draw a line with < or >")
    try:
        limit = _parse_limit(metric, written)
    except ValueError as error:
        raise ValueError(f"{quoted(text)}: {error}") from None
    return Threshold(metric=metric, comparison=comparison, limit=limit, written=written)


def _parse_limit(metric: Metric, text: str) -> float:
    match metric.unit:
        case Unit.SECONDS:
            return parse_duration_s(text)
        case Unit.PER_SECOND:
            return parse_rate_per_s(text)
        case Unit.SHARE:
            share = parse_share(text)
            if not 0 <= share <= 1:
                raise ValueError(f"{quoted(text)} must be a share from 0% to 100%, since {metric.key} is one")
            return share
        case Unit.NUMBER:
            return parse_count(text)
    assert_never(metric.unit)
