"""One run as numbers to compare: each metric as the summary shows it, and as differences of it are taken.

The two are not the same for percentiles. The p99 of 400 requests is the fourth largest, a latency that occurred; its difference between
two runs is mostly the luck of that one request. F. E. Harrell and C. E. Davis's estimator (Biometrika 69, 1982, p. 635) averages the
order statistics around it, weighted by how likely each is the quantile. On the simulated backend with step noise it halves the variance
of log p99(B) - log p99(A): docs/validation.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import betainc, betaincinv

from loadlab.analysis.latency import per_row_s, series_of
from loadlab.analysis.metrics import has_labels, value_of
from loadlab.analysis.table import FloatArray, RequestTable
from loadlab.slo import Metric, Slos, Unit, parse_metric

DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))
SHIFTED = ("ttft", "tpot", "e2e")  # latencies whose deciles are compared
MAX_ORDERED = 1000  # order statistics that stand for a sample in pairwise means
_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
_TAIL = 1e-12  # weight that is left out on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A metric of one run: `value` as its report shows it, `smoothed` as differences are taken; None where the run has no such number.

    `low` and `high` bound the value with 95 % for a run like this one, None where nothing does.
    """

    value: float | None
    smoothed: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNumbers:
    """What a comparison needs of one run. `deciles`: nine smoothed quantiles of each latency, seconds; none of a saved baseline."""

    label: str  # where it was read from
    plan_digest: str
    scenario_digest: str | None
    seed: int
    planned: int
    ok: int
    readings: Mapping[str, Reading]  # by the metric's text
    deciles: Mapping[str, FloatArray] = field(default_factory=dict)


def default_metrics(slos: Slos | None) -> list[Metric]:
    """Five statistics of four latencies, success, and with an SLO attainment: what is compared where nobody says."""
    texts = [f"{name}.{statistic}" for name in ("ttft", "tpot", "itl", "e2e") for statistic in _STATISTICS]
    return [parse_metric(text) for text in (*texts, "success_rate", *(("attainment",) if slos else ()))]


def read_metric(metric: Metric, table: RequestTable, slos: Slos | None) -> Reading:
    """The metric of a run's rows, shown and smoothed. ValueError if it needs an SLO and there is none."""
    found = value_of(metric, table, slos)
    smoothed = found.value
    if found.value is not None and metric.percentile is not None and metric.name in SHIFTED:
        rows = table.rows(has_labels(metric.labels, table)) if metric.labels else table
        smoothed = smoothed_quantile(np.sort(series_of(metric.name, rows)), metric.percentile)
    return Reading(value=found.value, smoothed=smoothed, low=found.low, high=found.high)


def read_deciles(table: RequestTable) -> dict[str, FloatArray]:
    """Nine smoothed quantiles of each latency that the rows have."""
    found = {name: np.sort(series_of(name, table)) for name in SHIFTED}
    return {name: np.array([smoothed_quantile(v, p) for p in DECILES]) for name, v in found.items() if len(v)}


def smoothed_quantile(ordered: FloatArray, p: float) -> float:
    """Harrell and Davis's estimate of the p-quantile of n values in ascending order: sum of w_i x_(i).

    w_i = I(i / n) - I((i - 1) / n), I the distribution function of Beta((n + 1) p, (n + 1) (1 - p)). For p = 1 it is the largest.
    """
    n = len(ordered)
    if n == 0:
        raise ValueError("a quantile of no values")
    a, b = (n + 1) * p, (n + 1) * (1 - p)
    if b <= 0:
        return float(ordered[-1])
    first, last = math.floor(betaincinv(a, b, _TAIL) * n), math.ceil(betaincinv(a, b, 1 - _TAIL) * n)
    weights = np.diff(betainc(a, b, np.arange(first, last + 1) / n))
    return float(weights @ ordered[first:last] / weights.sum())


def typical_shift(base: FloatArray, candidate: FloatArray) -> float | None:
    """By how much the candidate's latencies lie above the base's, as a log ratio; None where either is empty.

    Hodges and Lehmann's estimate (Ann. Math. Statist. 34, 1963, p. 598): the median of log c_j - log b_i over all pairs.
    Samples beyond 1,000 are represented by 1,000 evenly spaced order statistics.
    """
    if len(base) == 0 or len(candidate) == 0:
        return None
    b, c = np.log(_thinned(base)), np.log(_thinned(candidate))
    return float(np.median(c[:, None] - b[None, :]))


def aligned(base: RequestTable, candidate: RequestTable) -> tuple[RequestTable, RequestTable]:
    """The requests that both runs of one plan have, in the order in which the base's came due: equal places are the same request."""
    a = base.in_due_order()
    by_seq = np.argsort(candidate.seq, kind="stable")
    place = np.searchsorted(candidate.seq, a.seq, sorter=by_seq)
    found = by_seq[np.minimum(place, len(by_seq) - 1)] if len(by_seq) else np.zeros(len(a), dtype=np.int64)
    both = np.equal(candidate.seq[found], a.seq) if len(by_seq) else np.zeros(len(a), dtype=np.bool_)
    return a.rows(both), candidate.rows(found[both])


def log_ratios(latency: str, base: RequestTable, candidate: RequestTable) -> FloatArray:
    """log candidate - log base of each request that is OK in both and has this latency. The tables are aligned."""
    a, b = per_row_s(latency, base), per_row_s(latency, candidate)
    known = (a > 0) & (b > 0)
    return np.log(b[known]) - np.log(a[known])


def typical_change(ratios: FloatArray) -> float | None:
    """Centre of the log ratios of the same requests in two runs: the median of the means of any two (Hodges and Lehmann); None of none."""
    if len(ratios) == 0:
        return None
    d = _thinned(ratios)
    i, j = np.triu_indices(len(d))
    return float(np.median((d[i] + d[j]) / 2))


def _thinned(values: FloatArray) -> FloatArray:
    ordered = np.sort(values)
    if len(ordered) <= MAX_ORDERED:
        return ordered
    return ordered[np.floor((np.arange(MAX_ORDERED) + 0.5) / MAX_ORDERED * len(ordered)).astype(np.int64)]


def is_relative(metric: Metric) -> bool:
    """True where differences of a metric are ratios (seconds, rates); shares and counts differ by plain subtraction."""
    return metric.unit in (Unit.SECONDS, Unit.PER_SECOND)


def is_worse_when_higher(metric: Metric) -> bool:
    """True of latencies, failures and budgets burned; False of success, attainment, goodput and rates of work done."""
    if metric.unit is Unit.SECONDS:
        return True
    return metric.statistic is not None and metric.name != "ok"


def scaled(metric: Metric, value: float | None) -> float | None:
    """A value on the scale of differences: its logarithm where those are ratios; None of None, and of zero on logs."""
    if value is None or not is_relative(metric):
        return value
    return math.log(value) if value > 0 else None


def combined(metric: Metric, readings: Sequence[Reading]) -> float | None:
    """The runs' common value, smoothed: the geometric mean where differences are ratios, else the mean. None if a run has none."""
    values = [reading.smoothed for reading in readings]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    if not is_relative(metric):
        return sum(known) / len(known)
    return math.exp(sum(map(math.log, known)) / len(known)) if min(known) > 0 else None
