"""Each metric on runs that a reader can check in the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadlab.analysis.metrics import token_rate, value_of
from loadlab.analysis.table import RequestTable, build_table
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.slo import Slo, Slos, parse_metric
from tests.record.examples import failed, five_requests, ok

SLOS = Slos(default=Slo(ttft=0.6, target=0.9), by_class={"batch": Slo(ttft=10.0)})


def value(text: str, records: list[RequestRecord], slos: Slos | None = SLOS) -> float | None:
    return value_of(parse_metric(text), build_table(records), slos).value


def labelled() -> list[RequestRecord]:
    """Forty of chat with TTFT 0.5 s, ten of batch with 2 s, on two turns."""
    chat = [replace(ok(i), traffic_class="chat", tier="expert", turn=0) for i in range(40)]
    batch = [replace(ok(i, ttft_s=2.0), traffic_class="batch", tier="small", turn=1) for i in range(40, 50)]
    return chat + batch


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ttft.p50", 0.6),
        ("ttft.max", 0.7),
        ("ttft.mean", 0.6),
        ("e2e.p99", 1.7),
        ("tpot.p50", 0.1),
        ("itl.mean", 0.1),
        ("dispatch_lag.max", 0.0),
        ("success_rate", 0.6),
        ("attainment", 0.4),  # 0.5 and 0.6 s of five
        ("error_budget.burn", 6.0),  # 60 % bad, 10 % allowed
        ("rejected.count", 1),
        ("rejected.rate", 0.2),
        ("timeout.count", 1),
        ("failed.count", 1),  # a rejection is no failure
        ("oom.count", 0),
        ("requests_per_s", 3 / 5.7),  # 0 s to 4 + 0.7 + 1.0 s
        ("goodput", 2 / 5.7),
        ("output_tokens_per_s", 33 / 5.7),
        ("prompt_tokens_per_s", 300 / 5.7),
    ],
)
def test_five_requests(text: str, expected: float) -> None:
    assert value(text, five_requests()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ttft.p99{class=chat}", 0.5),
        ("ttft.p50{class=batch}", 2.0),
        ("ttft.p50{tier=small,turn=1}", 2.0),
        ("ttft.p50{tier=small,turn=0}", None),
        ("ttft.p50{region=eu}", None),
        ("attainment{class=batch}", 1.0),  # its own limit is 10 s
        ("attainment", 1.0),
        ("ok.count{class=chat}", 40),
    ],
)
def test_labels_narrow(text: str, expected: float | None) -> None:
    assert value(text, labelled()) == expected


def test_a_rate_of_a_class_is_over_the_whole_run() -> None:
    both = value("goodput{class=chat}", labelled()), value("goodput{class=batch}", labelled())
    assert sum(rate or 0 for rate in both) == pytest.approx(value("goodput", labelled()))


def test_rows_out_of_order_are_judged_in_the_order_of_their_due_times() -> None:
    table = build_table([ok(i, ttft_s=float(i >= 150) + 0.5) for i in range(300)])
    shuffled = table.rows(np.random.default_rng(1).permutation(300))
    metric = parse_metric("ttft.p50")
    assert value_of(metric, shuffled) == value_of(metric, table)
    assert (value_of(metric, table).tau or 0) > 20


def test_latencies_leave_out_the_warm_up_and_counts_do_not() -> None:
    table = build_table([ok(0, ttft_s=9.0), ok(1), ok(2)])
    assert value_of(parse_metric("ttft.max"), table, warm_up_s=0.5).value == 0.5
    assert value_of(parse_metric("ok.count"), table, warm_up_s=0.5).value == 3


def test_an_answer_without_its_first_token_has_not_shown_its_ttft() -> None:
    unseen = replace(ok(1), first_token_s=None)
    embedding = replace(ok(2), first_token_s=None, last_token_s=None, output_tokens=0)
    assert value("attainment", [ok(0), unseen, embedding]) == pytest.approx(2 / 3)


def test_a_metric_of_an_slo_needs_one() -> None:
    with pytest.raises(ValueError, match="goodput needs an SLO"):
        value("goodput", five_requests(), None)


def test_every_estimate_of_a_decent_run_has_both_ends_but_a_maximum() -> None:
    rng = np.random.default_rng(2)
    records = [
        replace(ok(i, ttft_s=float(rng.exponential(0.4)), tpot_s=float(rng.uniform(0.05, 0.1))), traffic_class="chat") for i in range(900)
    ]
    records[7] = failed(7, Cause.DEADLINE, Outcome.TIMEOUT)
    table = build_table(records)
    for text in ("ttft.p99", "ttft.mean", "itl.mean", "attainment", "success_rate", "goodput", "output_tokens_per_s", "error_budget.burn"):
        found = value_of(parse_metric(text), table, SLOS)
        assert found.low is not None, text
        assert found.high is not None, text
        assert found.low <= (found.value or 0) <= found.high, text
    largest = value_of(parse_metric("ttft.max"), table)
    assert (largest.low, largest.high) == (largest.value, None)


def test_nothing_at_all_has_no_value() -> None:
    empty: RequestTable = build_table([])
    for text in ("ttft.p50", "ttft.max", "ttft.mean", "itl.p50", "itl.mean", "success_rate", "goodput", "attainment", "error_budget.burn"):
        assert value_of(parse_metric(text), empty, SLOS).value is None
    assert value_of(parse_metric("oom.count"), empty).value == 0


def test_a_rate_of_tokens_is_not_below_zero_however_few_answers_there_are() -> None:
    table = build_table([ok(seq) if seq == 3 else failed(seq, Cause.RATE_LIMITED, Outcome.REJECTED) for seq in range(12)])
    rate = token_rate(table, "output_tokens_per_s", 12.0)
    assert rate.value == pytest.approx(11 / 12)
    assert rate.low == 0.0
