"""Metrics pages of servers: small ones written here, and those recorded from real servers, where they are at hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.server.prometheus import Histogram, Page
from loadlab.wire.metrics_page import Reading, read_page, samples
from tests.wire.captures import FOLDER, WHY_SKIPPED

SGLANG = """# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m",tp_rank="0",pp_rank="0"} 7.0
sglang:num_running_reqs{model_name="m",tp_rank="1",pp_rank="0"} 7.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 2.0
sglang:token_usage{model_name="m",tp_rank="0"} 0.28
sglang:prompt_tokens_total{model_name="m"} 100.0
sglang:cached_tokens_total{model_name="m",cache_source="device"} 30.0
sglang:cached_tokens_total{model_name="m",cache_source="host"} 10.0
sglang:num_retracted_requests_total{model_name="m"} 3.0
"""
TGI = """tgi_batch_current_size 5
tgi_queue_size 1
tgi_request_success{kind="a"} 4
tgi_request_success{kind="b"} 6
tgi_request_duration_bucket{le="0.5"} 3
tgi_request_duration_bucket{le="+Inf"} 10
tgi_request_duration_sum 8.5
tgi_request_duration_count 10
"""
TRITON = """nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 8
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 3
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 50
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 200
nv_gpu_utilization{gpu_uuid="GPU-a"} 0.6
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 30
nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 40
"""
DCGM = """DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",Hostname="node1"} 91
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",Hostname="node1"} 60000
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",Hostname="node1"} 20000
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",Hostname="node1"} 412.5
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-b",Hostname="node2"} 3
"""


def test_shards_of_one_replica_count_once_and_sources_of_cached_tokens_add_up() -> None:
    (reading,) = read_page(SGLANG).values()
    assert reading.gauges == {"running": 7.0, "waiting": 2.0, "kv_usage": 0.28}
    assert reading.counters["prefill_tokens"] == 60.0
    assert (reading.counters["cached_tokens"], reading.counters["preemptions"]) == (40.0, 3.0)


def test_tgi_has_requests_and_their_whole_time() -> None:
    (reading,) = read_page(TGI).values()
    assert (reading.server, reading.gauges, reading.counters) == ("TGI", {"running": 5, "waiting": 1}, {"finished": 10})
    assert (reading.tallies["e2e_s"].count, reading.tallies["e2e_s"].cumulative) == (10, {0.5: 3, float("inf"): 10})


def test_triton_says_its_kv_use_in_blocks_and_its_gpus_apart() -> None:
    page = read_page(TRITON)
    assert page[""].gauges["kv_usage"] == 0.25
    assert (page[""].gauges["running"], page[""].gauges["waiting"]) == (8, 3)
    assert page["GPU GPU-a"].gauges == {"gpu_busy": 0.6, "gpu_memory_used_bytes": 30, "gpu_memory_bytes": 40}


def test_gpus_of_two_hosts_are_two() -> None:
    page = read_page(DCGM)
    assert page["GPU 0 of node1"].gauges["gpu_busy"] == pytest.approx(0.91)
    assert page["GPU 0 of node1"].gauges["gpu_memory_bytes"] == 80000 * 2**20
    assert page["GPU 0 of node1"].gauges["gpu_power_w"] == 412.5
    assert page["GPU 0 of node2"].gauges == {"gpu_busy": 0.03}


def test_aborted_requests_are_not_finished() -> None:
    page = 'vllm:request_success_total{finished_reason="stop"} 4\nvllm:request_success_total{finished_reason="abort"} 9\n'
    assert read_page(page)[""].counters["finished"] == 4


def test_a_page_of_two_servers_keeps_them_apart() -> None:
    page = read_page("vllm:num_requests_running 1\n" + TGI)
    assert {name: reading.gauges["running"] for name, reading in page.items()} == {"vLLM": 1, "TGI": 5}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("vllm:num_requests_running", "no value"),
        ("vllm:num_requests_running{} ", "no value behind labels"),
        ("vllm:num_requests_running NaN", "not a number"),
        ("vllm:num_requests_running +Inf", "not finite"),
        ("vllm:num_requests_running seven", "a word"),
        ("vllm:num_requests_running_total 7", "another name that begins so"),
        ("# vllm:num_requests_running 7", "a comment"),
        ('vllm:num_requests_running{engine="0" 7', "labels without an end"),
        ("<html>vllm:num_requests_running 7</html>", "a page for people"),
        ("", "nothing"),
    ],
)
def test_lines_that_say_nothing_are_left_out(line: str, why: str) -> None:
    assert not read_page(line), why


def test_labels_may_hold_braces_quotes_and_exemplars_may_follow() -> None:
    line = 'vllm:time_to_first_token_seconds_bucket{engine="a\\"}\\n b",le="0.5"} 3 1700000000 # {trace_id="}"} 0.3'
    assert list(samples(line)) == [("vllm:time_to_first_token_seconds_bucket", {"engine": 'a"}\n b', "le": "0.5"}, 3.0)]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.text(max_size=8))
def test_what_our_own_server_writes_is_read_back(values: list[float], engine: str) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for value in values:
        histogram.add(value)
    page = Page()
    page.family("vllm:num_requests_running", "gauge", "x", [({"engine": engine}, len(values))])
    page.histograms("vllm:time_to_first_token_seconds", "x", [({"engine": engine}, histogram)])
    reading = read_page(page.text().decode("utf-8", "replace"))[engine]
    assert reading.gauges["running"] == len(values)
    tally = reading.tallies["ttft_s"]
    assert (tally.count, tally.total_s) == (len(values), pytest.approx(sum(values)))
    assert tally.cumulative == {bound: sum(value <= bound for value in values) for bound in (0.1, 1.0, 10.0, float("inf"))}


@given(st.text(max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    read_page(text)
    read_page(f"vllm:num_requests_running{text}")


RECORDED: dict[str, dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "vllm/metrics.txt": {
        "0": ("vLLM", {"running": 0, "waiting": 0, "kv_usage": 0}, {"finished": 1, "prefill_tokens": 15, "decode_tokens": 6}, {"ttft_s": 1})
    },
    "vllm_limits/metrics_under_pressure.txt": {
        "0": (
            "vLLM",
            {"running": 12, "waiting": 0, "kv_usage": pytest.approx(12 / 23)},
            {"finished": 25, "preemptions": 24, "prefill_tokens": 769, "cached_tokens": 0, "decode_tokens": 15677},
            {"ttft_s": 37, "tpot_s": 25, "e2e_s": 25},
        )
    },
    "llamaserver/metrics_after.txt": {
        "": ("llama.cpp", {"running": 0, "waiting": 0}, {"prefill_tokens": 6720, "cached_tokens": 6040, "decode_tokens": 38269}, {})
    },
    "dynamo/metrics_after.txt": {
        "": (
            "Dynamo",
            {"running": 0, "waiting": 0},
            {"finished": 2581, "prefill_tokens": 58902 - 9088, "cached_tokens": 9088, "decode_tokens": 166497},
            {"ttft_s": 2581, "e2e_s": 2585},
        )
    },
    "hf/metrics.txt": {},
    "litellm/metrics.txt": {},
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_pages(name: str) -> None:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(WHY_SKIPPED)
    page = read_page(path.read_text())
    expected = RECORDED[name]
    assert page.keys() == expected.keys()
    for place, (server, gauges, counters, counts) in expected.items():
        reading: Reading = page[place]
        assert reading.server == server
        assert {key: reading.gauges[key] for key in gauges} == gauges
        assert {key: reading.counters[key] for key in counters} == counters
        assert {key: reading.tallies[key].count for key in counts} == counts
        for tally in reading.tallies.values():
            assert tally.cumulative[float("inf")] == tally.count
