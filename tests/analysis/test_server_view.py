"""Numbers of the server, and whether both sides agree, from a handful of rows."""

from __future__ import annotations

from typing import Any

import pytest

from loadlab.analysis.agreement import Agreement, Compared, compare_with_server
from loadlab.analysis.server_view import NO_ROWS, server_value
from loadlab.analysis.table import RequestTable, table_of_chunks
from loadlab.analysis.verdict import Verdict, judge
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.slo import parse_metric, parse_threshold


def _row(t_s: float, **columns: Any) -> dict[str, Any]:
    return {"t_s": t_s, "dt_s": 1.0, "replica": "h:1", "source": "h:1", "server": "vLLM", **columns}


def _answers(n: int, ttft_s: float = 0.2, e2e_s: float = 1.0) -> RequestTable:
    records = (
        RequestRecord(
            seq=i, outcome=Outcome.OK, scheduled_s=float(i), sent_s=i + 0.5, first_token_s=i + 0.5 + ttft_s, last_token_s=i + 0.5 + e2e_s,
            finished_s=i + 0.5 + e2e_s, output_tokens=11,
        )
        for i in range(n)
    )  # fmt: skip
    return table_of_chunks([[record.as_row() for record in records]])


def _told(n: int, ttft_s: float = 0.195, bucket: tuple[float, float | None] = (0.1, 0.25), **columns: Any) -> list[dict[str, Any]]:
    """Pages over the whole of `_answers(n)`, all of its requests in the last one."""
    tally = {"count": n, "sum_s": n * ttft_s, "buckets": [[*bucket, n]]}
    return [_row(float(t)) for t in range(n + 1)] + [_row(float(n + 1), finished=n, ttft_s=tally, **columns)]


def _found(table: RequestTable, rows: list[dict[str, Any]]) -> dict[str, Compared]:
    return {one.what: one for one in compare_with_server(table, rows)}


def test_a_mean_is_over_time_and_replicas_and_a_maximum_of_any_replica() -> None:
    rows = [_row(0.0, kv_usage=0.2, kv_usage_max=0.3), _row(1.0, kv_usage=0.4, kv_usage_max=0.9) | {"dt_s": 3.0}]
    assert server_value(parse_metric("server.kv_usage.mean"), rows).value == pytest.approx((0.2 + 3 * 0.4) / 4)
    assert server_value(parse_metric("server.kv_usage.max"), rows).value == 0.9


def test_a_column_without_a_maximum_of_its_own_has_the_highest_mean() -> None:
    assert server_value(parse_metric("server.gpu_busy.max"), [_row(0.0, gpu_busy=0.5), _row(1.0, gpu_busy=0.7)]).value == 0.7


def test_memory_is_a_share_of_what_there_is() -> None:
    rows = [_row(0.0, gpu_memory_used_bytes=30, gpu_memory_bytes=40)]
    assert server_value(parse_metric("server.gpu_memory.max"), rows).value == 0.75


def test_hits_and_preemptions_are_counted() -> None:
    rows = [_row(0.0, cached_tokens=30, prefill_tokens=10, preemptions=2), _row(1.0, cached_tokens=0, prefill_tokens=60, preemptions=1)]
    assert server_value(parse_metric("server.prefix_hit_rate"), rows).value == 0.3
    assert server_value(parse_metric("server.preemptions.count"), rows).value == 3


def test_what_a_page_does_not_say_is_not_zero() -> None:
    found = server_value(parse_metric("server.preemptions.count"), [_row(0.0, running=1)])
    assert (found.value, found.note) == (None, "no server row has preemptions")
    assert server_value(parse_metric("server.kv_usage.max"), []).note == NO_ROWS


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("server.kv_usage.max < 95%", Verdict.PASSED),
        ("server.kv_usage.max < 80%", Verdict.FAILED),
        ("server.preemptions.count == 0", Verdict.FAILED),
    ],
)
def test_thresholds_on_the_server(text: str, verdict: Verdict) -> None:
    rows = [_row(float(t), kv_usage=0.5, kv_usage_max=0.9, preemptions=1) for t in range(20)]
    threshold = parse_threshold(text)
    assert judge(threshold, server_value(threshold.metric, rows)).verdict is verdict


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server.kv_usage < 95%", "needs .mean"),
        ("server.kv_usage.p95 < 95%", "needs .mean"),
        ("server.kv_usge.max < 95%", "did you mean 'server.kv_usage'"),
        ("server.kv_usage.max < 950%", "from 0% to 100%"),
        ("server.running.max{class=chat} < 9", "does not know whose requests"),
        ("server.preemptions.mean < 9", "has one statistic"),
        ("server.prefix_hit_rate.max > 5%", "stands alone"),
    ],
)
def test_what_is_no_metric_of_the_server(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_threshold(text)


def test_both_sides_agree_where_the_client_sees_a_little_more() -> None:
    found = _found(_answers(100), _told(100))
    assert {what: one.verdict for what, one in found.items()} == dict.fromkeys(
        ("requests", "ttft_s.mean", "ttft_s.p50", "ttft_s.p95"), Agreement.AGREES
    )
    assert (found["ttft_s.p95"].low, found["ttft_s.p95"].high) == (0.1, 0.25)


@pytest.mark.parametrize(
    ("told", "verdict", "why"),
    [
        (90, Agreement.DISAGREES, "a replica's page missing"),
        (130, Agreement.DISAGREES, "30 more than we sent"),
        (100, Agreement.AGREES, ""),
    ],
)
def test_requests(told: int, verdict: Agreement, why: str) -> None:
    rows = [_row(0.0), _row(200.0, finished=told)]
    one = _found(_answers(100), rows)["requests"]
    assert (one.verdict, one.client, one.told) == (verdict, 100, told)
    assert why in one.why


def test_a_request_that_the_server_finished_and_the_client_gave_up_is_no_disagreement() -> None:
    late = RequestRecord(seq=1, outcome=Outcome.TIMEOUT, cause=Cause.DEADLINE, scheduled_s=1.0, sent_s=1.0, finished_s=2.0)
    ok = RequestRecord(seq=0, outcome=Outcome.OK, scheduled_s=0.0, sent_s=0.0, finished_s=1.0)
    one = _found(table_of_chunks([[ok.as_row(), late.as_row()]]), [_row(0.0), _row(5.0, finished=2)])["requests"]
    assert (one.verdict, one.why) == (Agreement.AGREES, "the other 1 were answered there and not counted as OK here")


@pytest.mark.parametrize(
    ("told_s", "why"), [(0.25, "no client can see less"), (0.1, "network, gateway, or this machine")], ids=["server slower", "far apart"]
)
def test_means_that_cannot_both_be_right(told_s: float, why: str) -> None:
    one = _found(_answers(100), _told(100, ttft_s=told_s))["ttft_s.mean"]
    assert one.verdict is Agreement.DISAGREES
    assert why in one.why


def test_a_quantile_outside_the_servers_bucket() -> None:
    assert _found(_answers(100), _told(100, bucket=(0.05, 0.1)))["ttft_s.p95"].verdict is Agreement.DISAGREES
    assert _found(_answers(100), _told(100, bucket=(0.1, None)))["ttft_s.p95"].verdict is Agreement.AGREES


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (_told(100)[5:], "after the run had begun"),
        (_told(100, speed=10.0), "simulated seconds"),
        (_told(100, restarted=True), "began anew"),
        (_told(80), "came before the run had ended"),
    ],
)
def test_what_cannot_be_compared_is_not(rows: list[dict[str, Any]], why: str) -> None:
    one = _found(_answers(100), rows)["ttft_s.mean"]
    assert one.verdict is Agreement.NOT_COMPARED
    assert why in one.why


def test_other_requests_in_the_histogram_are_not_ours() -> None:
    rows = _told(100)
    rows[-1]["ttft_s"]["count"] = 150
    assert _found(_answers(100), rows)["ttft_s.mean"].why == "it timed 150 requests, we 100"


def test_simulated_timelines_have_no_second_side() -> None:
    assert compare_with_server(_answers(3), [{"t_s": 0.0, "dt_s": 1.0, "replica": "a", "running": 1}]) == []
