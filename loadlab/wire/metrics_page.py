"""What a server says of itself on its Prometheus page, in our words: which name of which server is which of our columns.

Only lines with a name of the table are taken apart, so that a page of a thousand lines costs about a millisecond
(docs/decisions/0028-metrics-pages-are-scanned.md). Values are as the page has them: gauges now, counters since the server began.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MIB = 2.0**20
_LABELS = re.compile(r'\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_NOT_FINISHED = frozenset({"abort", "error"})  # reasons of vLLM's request_success_total that are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one name says: the column, the factor to its unit, and the label value that a sample must have to say it."""

    column: str
    scale: float = 1.0
    where: tuple[str, str] | None = None


def _plain(column: str, scale: float = 1.0) -> tuple[Meaning, ...]:
    return (Meaning(column=column, scale=scale),)


def _by(label: str, columns: Mapping[str, str]) -> tuple[Meaning, ...]:
    return tuple(Meaning(column=column, where=(label, value)) for value, column in columns.items())


# Sources, read 2026-11: recorded pages of vLLM 0.32, llama.cpp and Dynamo; docs.sglang.io "Production Metrics"; huggingface.co TGI
# "Metrics"; Triton user guide "Metrics" and its TensorRT-LLM back end; NVIDIA DCGM exporter, default counters.
GAUGES: Mapping[str, tuple[Meaning, ...]] = {
    "vllm:num_requests_running": _plain("running"),
    "vllm:num_requests_waiting": _plain("waiting"),
    "vllm:kv_cache_usage_perc": _plain("kv_usage"),  # 0 to 1, whatever its name says
    "vllm:gpu_cache_usage_perc": _plain("kv_usage"),  # its name before 0.10
    "sglang:num_running_reqs": _plain("running"),
    "sglang:num_queue_reqs": _plain("waiting"),
    "sglang:token_usage": _plain("kv_usage"),
    "tgi_batch_current_size": _plain("running"),
    "tgi_queue_size": _plain("waiting"),
    "llamacpp:requests_processing": _plain("running"),
    "llamacpp:requests_deferred": _plain("waiting"),
    "llamacpp:kv_cache_usage_ratio": _plain("kv_usage"),  # until spring 2025
    "dynamo_frontend_inflight_requests": _plain("in_flight"),
    "dynamo_frontend_queued_requests": _plain("waiting"),
    "dynamo_component_gpu_cache_usage_percent": _plain("kv_usage"),  # 0 to 1 too
    "trtllm_num_requests_running": _plain("running"),
    "trtllm_num_requests_waiting": _plain("waiting"),
    "trtllm_kv_cache_utilization": _plain("kv_usage"),
    "nv_trt_llm_request_metrics": _by("request_type", {"scheduled": "running", "waiting": "waiting"}),
    "nv_trt_llm_kv_cache_block_metrics": _by("kv_cache_block_type", {"used": "kv_blocks_used", "max": "kv_blocks"}),
    "nv_inference_pending_request_count": _plain("pending"),
    "nv_gpu_utilization": _plain("gpu_busy"),
    "nv_gpu_memory_used_bytes": _plain("gpu_memory_used_bytes"),
    "nv_gpu_memory_total_bytes": _plain("gpu_memory_bytes"),
    "nv_gpu_power_usage": _plain("gpu_power_w"),
    "DCGM_FI_DEV_GPU_UTIL": _plain("gpu_busy", 0.01),
    "DCGM_FI_DEV_FB_USED": _plain("gpu_memory_used_bytes", MIB),
    "DCGM_FI_DEV_FB_FREE": _plain("gpu_memory_free_bytes", MIB),
    "DCGM_FI_DEV_POWER_USAGE": _plain("gpu_power_w"),
    "loadlab:speed": _plain("speed"),
}
COUNTERS: Mapping[str, tuple[Meaning, ...]] = {
    "vllm:num_preemptions_total": _plain("preemptions"),
    "vllm:prompt_tokens_total": _plain("prompt_tokens"),
    "vllm:prompt_tokens_cached_total": _plain("cached_tokens"),
    "vllm:prefix_cache_queries_total": _plain("prefix_queries"),
    "vllm:prefix_cache_hits_total": _plain("prefix_hits"),
    "vllm:gpu_prefix_cache_queries_total": _plain("prefix_queries"),  # their names before 0.10
    "vllm:gpu_prefix_cache_hits_total": _plain("prefix_hits"),
    "vllm:generation_tokens_total": _plain("decode_tokens"),
    "vllm:request_success_total": _plain("finished"),
    "sglang:prompt_tokens_total": _plain("prompt_tokens"),
    "sglang:cached_tokens_total": _plain("cached_tokens"),
    "sglang:generation_tokens_total": _plain("decode_tokens"),
    "sglang:num_requests_total": _plain("finished"),
    "sglang:num_retracted_requests_total": _plain("preemptions"),
    "tgi_request_success": _plain("finished"),
    "tgi_request_input_length_sum": _plain("prompt_tokens"),
    "tgi_request_generated_tokens_sum": _plain("decode_tokens"),
    "llamacpp:prompt_tokens_total": _plain("computed_tokens"),  # without the cached ones
    "llamacpp:prompt_tokens_cached_total": _plain("cached_tokens"),
    "llamacpp:tokens_predicted_total": _plain("decode_tokens"),
    "dynamo_frontend_requests_total": _by("status", {"success": "finished"}),
    "dynamo_frontend_input_sequence_tokens_sum": _plain("prompt_tokens"),
    "dynamo_frontend_cached_tokens_sum": _plain("cached_tokens"),
    "dynamo_frontend_output_tokens_total": _plain("decode_tokens"),
    "trtllm_request_success_total": _plain("finished"),
}
HISTOGRAMS: Mapping[str, str] = {  # of whole requests; those of gaps between tokens are per engine step, and no client sees steps
    "vllm:time_to_first_token_seconds": "ttft_s",
    "vllm:request_time_per_output_token_seconds": "tpot_s",
    "vllm:e2e_request_latency_seconds": "e2e_s",
    "sglang:time_to_first_token_seconds": "ttft_s",
    "sglang:e2e_request_latency_seconds": "e2e_s",
    "tgi_request_duration": "e2e_s",
    "dynamo_frontend_time_to_first_token_seconds": "ttft_s",
    "dynamo_frontend_request_duration_seconds": "e2e_s",
    "trtllm_time_to_first_token_seconds": "ttft_s",
    "trtllm_e2e_request_latency_seconds": "e2e_s",
}
_PARTS = {f"{name}_{part}": (column, part) for name, column in HISTOGRAMS.items() for part in ("bucket", "sum", "count")}
_SERVERS = {
    "vllm:": "vLLM", "sglang:": "SGLang", "tgi_": "TGI", "llamacpp:": "llama.cpp", "dynamo_": "Dynamo", "trtllm_": "TensorRT-LLM",
    "nv_": "Triton", "DCGM_": "DCGM", "loadlab:": "loadlab serve",
}  # fmt: skip
_SHARED = frozenset({"running", "waiting", "in_flight", "pending", "kv_blocks_used", "kv_blocks"})  # of several models they add up


@dataclass(slots=True)
class Tally:
    """A histogram as a page has it: observations at most so large, by upper bound in seconds (inf last); their number and sum."""

    count: float = 0.0
    total_s: float = 0.0
    cumulative: dict[float, float] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """One replica or GPU on one page. `gauges` and `counters` by column; a column that the page does not have is absent."""

    server: str  # vLLM, SGLang ..
    gauges: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)


def read_page(text: str) -> dict[str, Reading]:
    """What the page says of each replica and each GPU, by a name such as "", "1", "GPU 0"; empty if it has no name that we know."""
    found: dict[tuple[str, str], Reading] = {}
    for name, labels, value in samples(text):
        if any(labels.get(rank, "0") not in ("", "0") for rank in ("tp_rank", "pp_rank")):
            continue  # shards of one replica, which all say the same
        server = next(word for prefix, word in _SERVERS.items() if name.startswith(prefix))
        place = _place_of(labels)
        reading = found.get((server, place))
        if reading is None:
            reading = found[server, place] = Reading(server=server)
        _take(reading, name, labels, value)
    speed = found.pop(("loadlab serve", ""), None)
    for reading in found.values():
        if speed is not None:
            reading.gauges |= speed.gauges
        _complete(reading)
    several = len({server for server, place in found if not place.startswith("GPU")}) > 1
    return {" ".join(filter(None, (server if several else "", place))): reading for (server, place), reading in found.items()}


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of each line with a name of the tables. Lines that are none, and values that are not finite, are left out."""
    for line in text.split("\n"):
        name = line[: min(at for at in (line.find("{"), line.find(" "), len(line)) if at >= 0)]
        if name not in GAUGES and name not in COUNTERS and name not in _PARTS:
            continue
        labels, rest = _labels_of(line, len(name))
        words = rest.split(None, 1)  # a time, or an exemplar, may follow
        try:
            value = float(words[0])
        except (ValueError, IndexError):
            continue
        if math.isfinite(value):
            yield name, labels, value


def _labels_of(line: str, at: int) -> tuple[dict[str, str], str]:
    match = _LABELS.match(line, at)
    if match is None:
        return {}, line[at:]
    return {name: _ESCAPED.sub(_unescaped, value) for name, value in _LABEL.findall(match[1])}, line[match.end() :]


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _place_of(labels: Mapping[str, str]) -> str:
    """Which replica or GPU of the page: "" where there is only one."""
    gpu = labels.get("gpu") or labels.get("gpu_uuid")
    if gpu:
        host = labels.get("Hostname")
        return f"GPU {gpu}" + (f" of {host}" if host else "")
    return next((labels[key] for key in ("engine", "dp_rank", "worker_id") if labels.get(key)), "")


def _take(reading: Reading, name: str, labels: Mapping[str, str], value: float) -> None:
    if name in _PARTS:
        column, part = _PARTS[name]
        tally = reading.tallies.setdefault(column, Tally())
        if part == "count":
            tally.count += value
        elif part == "sum":
            tally.total_s += value
        else:
            _take_bucket(tally, labels.get("le", ""), value)
    for meaning in GAUGES.get(name, ()):
        if meaning.where is None or labels.get(meaning.where[0]) == meaning.where[1]:
            before = reading.gauges.get(meaning.column)
            now = value * meaning.scale
            reading.gauges[meaning.column] = now if before is None else before + now if meaning.column in _SHARED else max(before, now)
    if labels.get("finished_reason") in _NOT_FINISHED:
        return
    for meaning in COUNTERS.get(name, ()):
        if meaning.where is None or labels.get(meaning.where[0]) == meaning.where[1]:
            reading.counters[meaning.column] = reading.counters.get(meaning.column, 0.0) + value


def _take_bucket(tally: Tally, bound: str, value: float) -> None:
    try:
        le = float(bound)
    except ValueError:
        return
    tally.cumulative[le] = tally.cumulative.get(le, 0.0) + value


def _complete(reading: Reading) -> None:
    """Columns that follow from others: shares of what there is, prompts by where their tokens came from."""
    gauges, counters = reading.gauges, reading.counters
    if "kv_blocks" in gauges and "kv_blocks_used" in gauges and "kv_usage" not in gauges and gauges["kv_blocks"] > 0:
        gauges["kv_usage"] = gauges["kv_blocks_used"] / gauges["kv_blocks"]
    if "in_flight" in gauges:
        gauges["running"] = max(0.0, gauges["in_flight"] - gauges.get("waiting", 0.0))
    if "pending" in gauges and "waiting" not in gauges:
        gauges["waiting"] = gauges["pending"]
    if "gpu_memory_used_bytes" in gauges and "gpu_memory_free_bytes" in gauges:
        gauges["gpu_memory_bytes"] = gauges["gpu_memory_used_bytes"] + gauges["gpu_memory_free_bytes"]
    if "cached_tokens" not in counters and "prefix_hits" in counters:
        counters["cached_tokens"] = counters["prefix_hits"]
    if "computed_tokens" in counters:
        counters["prefill_tokens"] = counters["computed_tokens"]
    elif "prompt_tokens" in counters:
        counters["prefill_tokens"] = counters["prompt_tokens"] - counters.get("cached_tokens", 0.0)
