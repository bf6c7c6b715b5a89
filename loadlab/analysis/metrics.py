"""The value of a metric, with its interval, from the rows of a run. What metrics there are: `loadlab.slo`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadlab.analysis.attainment import attained, burn_rate
from loadlab.analysis.intervals import Estimate, mean_estimate, quantile_estimates, share_estimate
from loadlab.analysis.itl import gaps_of, itl_quantile, mean_itl
from loadlab.analysis.latency import dispatch_lag_s, duration_s, e2e_s, tpot_s, ttft_s
from loadlab.analysis.table import BoolArray, FloatArray, RequestTable
from loadlab.analysis.totals import FAILED
from loadlab.record.request import Outcome
from loadlab.slo import BURN, LATENCIES, Metric, Slos, Unit

_NO_TIME = "no request has a time"
_SERIES = {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s, "dispatch_lag": dispatch_lag_s}


def value_of(metric: Metric, table: RequestTable, slos: Slos | None = None, *, warm_up_s: float | None = None) -> Estimate:
    """The metric over all rows of a run, with a 95 % interval. Rows may come in any order.

    Latencies leave out what was due before `warm_up_s`; counts, shares and rates never do. A rate is over the whole run's duration, also
    where labels narrow the rows. ValueError if the metric needs an SLO and there is none.
    """
    if metric.is_of_server:
        raise ValueError(f"{metric} is of the server: it can be a threshold of a run, and is not compared between runs")
    if metric.needs_slo and slos is None:
        raise ValueError(f"{metric} needs an SLO: write [slo] in the scenario, or pass --slo")
    table = table.in_due_order()
    rows = table.rows(has_labels(metric.labels, table)) if metric.labels else table
    if metric.name in LATENCIES:
        return _latency(metric, rows if warm_up_s is None else rows.rows(rows.scheduled_s >= warm_up_s))
    if metric.statistic == "count":
        return count_estimate(rows, metric.name)
    if metric.unit is Unit.PER_SECOND:
        return _rate(metric, rows, slos, duration_s(table))
    return _share(metric, rows, slos)


def has_labels(labels: Sequence[tuple[str, str]], table: RequestTable) -> BoolArray:
    """True in the rows that have every label."""
    found = np.ones(len(table), dtype=np.bool_)
    for label, value in labels:
        found &= np.equal(table.turn, float(value)) if label == "turn" else table.names(label).are(value)
    return found


def _latency(metric: Metric, rows: RequestTable) -> Estimate:
    if metric.name == "itl":
        return _itl(metric, rows)
    values = _SERIES[metric.name](rows)
    if metric.percentile is not None:
        return quantile_estimates(values, (metric.percentile,))[0]
    return mean_estimate(values) if metric.statistic == "mean" else maximum(values)


def _itl(metric: Metric, rows: RequestTable) -> Estimate:
    if metric.percentile is not None:
        return itl_quantile(gaps_of(rows), metric.percentile)
    return mean_itl(rows) if metric.statistic == "mean" else maximum(rows.itl_max_s[rows.ok & ~np.isnan(rows.itl_max_s)])


def maximum(values: FloatArray) -> Estimate:
    """The largest value seen. It has no interval: of a longer run it is larger."""
    if len(values) == 0:
        return Estimate(value=None, n=0, note="nothing was measured")
    return Estimate(
        value=float(values.max()), low=float(values.max()), n=len(values), note="largest seen; it grows with n, so nothing bounds it"
    )


def count_estimate(rows: RequestTable, name: str) -> Estimate:
    """How many rows ended so: an exact number of this run, its own low and high."""
    count = int(np.count_nonzero(_ended(rows, name)))
    return Estimate(value=count, low=count, high=count, n=len(rows), note="counted, not estimated")


def success_estimate(rows: RequestTable) -> Estimate:
    """OK / planned, rows in due order."""
    return share_estimate(rows.ok, e2e_s(rows))


def attainment_estimate(rows: RequestTable, slos: Slos) -> Estimate:
    """Share of the rows that met their SLO, rows in due order."""
    return share_estimate(attained(rows, slos), e2e_s(rows))


def _ended(rows: RequestTable, name: str) -> BoolArray:
    if name != "failed":
        return rows.has_outcome(Outcome(name))
    failed: BoolArray = np.logical_or.reduce([rows.has_outcome(outcome) for outcome in FAILED])
    return failed


def _share(metric: Metric, rows: RequestTable, slos: Slos | None) -> Estimate:
    if metric.statistic == "rate":
        return share_estimate(_ended(rows, metric.name), e2e_s(rows))
    if metric.name == "success_rate":
        return success_estimate(rows)
    assert slos is not None
    attainment = attainment_estimate(rows, slos)
    return burn_rate(attainment, slos.target_of(dict(metric.labels).get("class"))) if metric.name == BURN else attainment


def _rate(metric: Metric, rows: RequestTable, slos: Slos | None, over_s: float | None) -> Estimate:
    if metric.name == "requests_per_s":
        return rate_of(success_estimate(rows), over_s)
    if metric.name == "goodput":
        assert slos is not None
        return rate_of(attainment_estimate(rows, slos), over_s)
    return token_rate(rows, metric.name, over_s)


def rate_of(share: Estimate, over_s: float | None) -> Estimate:
    """A share of n planned requests as requests a second; the duration is taken as it was."""
    return share.scaled(share.n / over_s) if over_s else Estimate(value=None, n=share.n, note=_NO_TIME)


def token_rate(rows: RequestTable, name: str, over_s: float | None) -> Estimate:
    """Tokens of OK requests a second: the mean over all planned ones, times planned / duration. Rows in due order."""
    if not over_s:
        return Estimate(value=None, n=len(rows), note=_NO_TIME)
    tokens = rows.output_tokens if name == "output_tokens_per_s" else np.nan_to_num(rows.image_tokens) + rows.prompt_tokens
    if rows.ok.any() and np.isnan(tokens[rows.ok]).all():
        return Estimate(value=None, n=len(rows), note="tokens were not recorded")
    rate = mean_estimate(np.where(rows.ok, np.nan_to_num(tokens), 0.0)).scaled(len(rows) / over_s)
    return rate if rate.low is None else replace(rate, low=max(rate.low, 0.0))  # Student's interval does not know that tokens are no debts
