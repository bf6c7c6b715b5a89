"""Two pages as rows: what is counted from one to the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadlab.engines.scraped_rows import rows_between
from loadlab.wire.metrics_page import Reading, Tally

INF = float("inf")


def _vllm(**gauges: float) -> Reading:
    return Reading(server="vLLM", gauges=gauges)


def _counted(**counters: float) -> Reading:
    return Reading(server="vLLM", counters=counters)


def test_a_gauge_is_the_mean_of_both_pages_and_its_maximum_the_larger() -> None:
    (row,) = rows_between({"0": _vllm(kv_usage=0.2, running=4)}, {"0": _vllm(kv_usage=0.6, running=2)}, "h:1", 3.0, 4.0)
    assert (row["kv_usage"], row["kv_usage_max"], row["running"], row["running_max"]) == (0.4, 0.6, 3.0, 4)
    assert (row["t_s"], row["dt_s"], row["replica"], row["source"], row["server"]) == (3.0, 1.0, "h:1/0", "h:1", "vLLM")


def test_a_column_that_the_page_does_not_have_is_absent_and_not_zero() -> None:
    (row,) = rows_between({"": _vllm(running=1)}, {"": _vllm(running=1)}, "h:1", 0.0, 1.0)
    assert not {"kv_usage", "preemptions", "gpu_busy", "finished"} & row.keys()


def test_a_count_that_went_down_is_a_new_process_and_counts_from_zero() -> None:
    (row,) = rows_between({"": _counted(finished=90, decode_tokens=900)}, {"": _counted(finished=3, decode_tokens=30)}, "h:1", 0.0, 1.0)
    assert (row["finished"], row["decode_tokens"], row["restarted"]) == (3, 30, True)


def test_a_replica_that_was_not_there_before_counts_from_zero() -> None:
    rows = {row["replica"]: row for row in rows_between({"0": _counted(finished=5)}, {"0": _counted(finished=6), "1": _counted(finished=2)},
                                                        "h:1", 0.0, 1.0)}  # fmt: skip
    assert (rows["h:1/0"]["finished"], rows["h:1/1"]["finished"]) == (1, 2)


def test_buckets_are_what_fell_between_two_bounds() -> None:
    before = Reading(server="vLLM", tallies={"ttft_s": Tally(count=2, total_s=1.0, cumulative={0.1: 1, 1.0: 2, INF: 2})})
    after = Reading(server="vLLM", tallies={"ttft_s": Tally(count=6, total_s=9.0, cumulative={0.1: 1, 1.0: 4, INF: 6})})
    (row,) = rows_between({"": before}, {"": after}, "h:1", 0.0, 1.0)
    assert row["ttft_s"] == {"count": 4, "sum_s": 8.0, "buckets": [[0.1, 1.0, 2], [1.0, None, 2]]}


@given(st.lists(st.integers(0, 50), min_size=2, max_size=10))
def test_counts_of_rows_add_up_to_what_the_last_page_has_more_than_the_first(steps: list[int]) -> None:
    totals = [sum(steps[: i + 1]) for i in range(len(steps))]
    pages = [{"": _counted(finished=float(total))} for total in totals]
    rows = [row for i in range(len(pages) - 1) for row in rows_between(pages[i], pages[i + 1], "h:1", float(i), float(i + 1))]
    assert sum(row["finished"] for row in rows) == totals[-1] - totals[0]
