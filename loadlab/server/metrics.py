"""/metrics: vLLM's names and labels (0.32), DCGM's for GPUs, and our own for what neither has. All durations are simulated seconds.

`engine` is the number of the replica, `model_name` the first model of its pool; loadlab:replica_info tells pool and name. Requests that
no replica got to carry none of them: loadlab:requests_refused_total counts those.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from time import process_time

from loadlab import __version__
from loadlab.record.request import Cause
from loadlab.server.errors import ApiError
from loadlab.server.exchange import Choice, Exchange
from loadlab.server.power import board_watts
from loadlab.server.prometheus import Histogram, Labels, Page
from loadlab.server.service import Service
from loadlab.simulator.gauges import ReplicaGauges
from loadlab.units import PS_PER_S

# vLLM's buckets, as it exports them
TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
ITL_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
LATENCY_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)

_FAMILIES: dict[str, tuple[tuple[float, ...], str]] = {
    "time_to_first_token_seconds": (TTFT_S, "Time to first token"),
    "inter_token_latency_seconds": (ITL_S, "Time between two tokens of a request"),
    "request_time_per_output_token_seconds": (ITL_S, "Mean time between tokens of a request"),
    "e2e_request_latency_seconds": (LATENCY_S, "End to end"),
    "request_queue_time_seconds": (LATENCY_S, "Waiting for a replica's batch"),
    "request_prefill_time_seconds": (LATENCY_S, "From admission to the first token"),
    "request_decode_time_seconds": (LATENCY_S, "From the first token to the last"),
    "request_inference_time_seconds": (LATENCY_S, "From admission to the last token"),
    "request_prompt_tokens": (TOKENS, "Prompt tokens of a request"),
    "request_generation_tokens": (TOKENS, "Generated tokens of a request"),
}
_FINISHES = ("stop", "length", "abort", "error")


class _Engine:
    """What one replica has served so far."""

    def __init__(self) -> None:
        self.histograms = {name: Histogram(bounds) for name, (bounds, _) in _FAMILIES.items()}
        self.finishes = Counter[str]()
        self.prompt_tokens = self.cached_tokens = self.generation_tokens = 0

    def add(self, name: str, begin_ps: int | None, end_ps: int | None) -> None:
        if begin_ps is not None and end_ps is not None:
            self.histograms[name].add((end_ps - begin_ps) / PS_PER_S)


class Metrics:
    """Watches every request of a service. A page may be asked for at any time: what is under way counts as far as it has come."""

    def __init__(self, service: Service, connections: Callable[[], int]) -> None:
        self._service = service
        self._connections = connections
        self._engines = [_Engine() for _ in service.real_time.cluster.replicas]
        self._noted: dict[Choice, int] = {}  # tokens of choices under way that are counted already
        self._refused: Counter[tuple[str, Cause]] = Counter()  # by model and cause
        self._busy_s: list[tuple[float, float]] = []  # (simulated second, busy seconds) of each replica at the last page
        service.watchers.append(self.note_end)

    def note_refusal(self, error: ApiError) -> None:
        """A request that came to no model: a bad body, a wrong key, a quota."""
        self._refused["", error.cause] += 1

    def note_end(self, exchange: Exchange) -> None:
        """A request is over."""
        for choice in exchange.choices:
            replica = choice.sequence.replica
            if replica is None:
                self._refused[choice.sequence.model, exchange.cause or Cause.SERVER_ERROR] += 1
                continue
            self._note_tokens(choice, self._engines[replica])
            self._noted.pop(choice, None)
            self._note_choice(choice, self._engines[replica], exchange.cause)

    def _note_choice(self, choice: Choice, engine: _Engine, cause: Cause | None) -> None:
        sequence = choice.sequence
        finish = "abort" if cause is Cause.CLIENT_LEFT else "error" if cause else choice.answer.finish_reason
        engine.finishes["stop" if finish == "tool_calls" else finish] += 1
        if cause is not None:
            return
        first, last, admitted = sequence.first_token_ps, sequence.last_token_ps, sequence.admitted_ps
        engine.add("e2e_request_latency_seconds", sequence.arrival_ps, sequence.ended_ps)
        engine.add("request_queue_time_seconds", sequence.entered_ps, admitted)
        engine.add("request_prefill_time_seconds", admitted, first)
        engine.add("request_decode_time_seconds", first, last)
        engine.add("request_inference_time_seconds", admitted, last)
        engine.histograms["request_prompt_tokens"].add(sequence.prompt_tokens)
        engine.histograms["request_generation_tokens"].add(sequence.generated)
        if sequence.generated > 1 and first is not None and last is not None:
            mean_s = (last - first) / (sequence.generated - 1) / PS_PER_S
            engine.histograms["request_time_per_output_token_seconds"].add(mean_s)

    def _note_tokens(self, choice: Choice, engine: _Engine) -> None:
        """Counts the tokens that came since the last time."""
        sequence, noted, times = choice.sequence, self._noted.get(choice, 0), choice.times_ps
        if not times:
            return
        if noted == 0:
            engine.add("time_to_first_token_seconds", sequence.arrival_ps, times[0])
            engine.prompt_tokens += sequence.prompt_tokens
            engine.cached_tokens += sequence.cached_tokens
        gaps = engine.histograms["inter_token_latency_seconds"]
        for before, after in pairwise(times[max(0, noted - 1) :]):
            gaps.add((after - before) / PS_PER_S)
        engine.generation_tokens += len(times) - noted
        self._noted[choice] = len(times)

    # The page

    def page(self) -> bytes:
        """Everything, now."""
        real_time = self._service.real_time
        real_time.refresh()
        for exchange in self._service.exchanges.values():
            for choice in exchange.choices:
                if choice.sequence.replica is not None:
                    self._note_tokens(choice, self._engines[choice.sequence.replica])
        gauges = real_time.cluster.gauges(real_time.looked_ps)
        labels = [{"engine": str(i), "model_name": gauge.model} for i, gauge in enumerate(gauges)]
        page = Page()
        self._engine_gauges(page, gauges, labels)
        self._engine_counters(page, gauges, labels)
        for name, (_, words) in _FAMILIES.items():
            histograms = [engine.histograms[name] for engine in self._engines]
            page.histograms(f"vllm:{name}", f"{words}.", zip(labels, histograms, strict=True))
        self._gpus(page, gauges)
        self._own(page)
        return page.text()

    def _engine_gauges(self, page: Page, gauges: list[ReplicaGauges], labels: list[dict[str, str]]) -> None:
        def family(name: str, words: str, values: Iterable[float]) -> None:
            page.family(f"vllm:{name}", "gauge", words, zip(labels, values, strict=True))

        family("num_requests_running", "Requests in the batch.", [g.running for g in gauges])
        family("num_requests_waiting", "Requests waiting for it.", [g.waiting for g in gauges])
        reasons = [{**label, "reason": reason} for label in labels for reason in ("capacity", "deferred")]
        waiting = [value for gauge in gauges for value in (gauge.waiting, 0)]
        page.family("vllm:num_requests_waiting_by_reason", "gauge", "The same by reason.", zip(reasons, waiting, strict=True))
        family("kv_cache_usage_perc", "Share of KV cache in use; 1 is all.", [g.kv_usage for g in gauges])
        infos = [
            {**label, "block_size": str(g.block_size_tokens), "num_gpu_blocks": str((g.kv_capacity_tokens or 0) // g.block_size_tokens)}
            for label, g in zip(labels, gauges, strict=True)
        ]
        page.family("vllm:cache_config_info", "gauge", "KV cache of the engine.", [(info, 1) for info in infos])
        named = [{**label, "replica": g.name, "pool": g.pool, "gpu": g.gpu or ""} for label, g in zip(labels, gauges, strict=True)]
        page.family("loadlab:replica_info", "gauge", "Which replica an engine is.", [(name, 1) for name in named])
        page.family("loadlab:replica_up", "gauge", "1 while the replica is up.", zip(labels, [g.is_up for g in gauges], strict=True))
        page.family("loadlab:kv_tokens", "gauge", "KV tokens held by requests.", zip(labels, [g.kv_tokens for g in gauges], strict=True))

    def _engine_counters(self, page: Page, gauges: list[ReplicaGauges], labels: list[dict[str, str]]) -> None:
        def family(name: str, words: str, values: Iterable[float]) -> None:
            page.family(name, "counter", words, zip(labels, values, strict=True))

        engines = self._engines
        family("vllm:num_preemptions_total", "Preemptions.", [g.preemptions for g in gauges])
        family("loadlab:ooms_total", "Out-of-memory deaths of the replica.", [g.ooms for g in gauges])
        family("loadlab:busy_seconds_total", "Time in which any work ran.", [g.busy_s for g in gauges])
        family("vllm:prompt_tokens_total", "Prompt tokens.", [e.prompt_tokens for e in engines])
        family("vllm:prompt_tokens_cached_total", "Of those, found in the KV cache.", [e.cached_tokens for e in engines])
        family("vllm:prefix_cache_queries_total", "Tokens looked up in the KV cache.", [e.prompt_tokens for e in engines])
        family("vllm:prefix_cache_hits_total", "Tokens found there.", [e.cached_tokens for e in engines])
        family("vllm:generation_tokens_total", "Generated tokens.", [e.generation_tokens for e in engines])
        finishes = [({**label, "finished_reason": r}, e.finishes[r]) for label, e in zip(labels, engines, strict=True) for r in _FINISHES]
        page.family("vllm:request_success_total", "counter", "Requests over, by how.", finishes)

    def _gpus(self, page: Page, gauges: list[ReplicaGauges]) -> None:
        """Each GPU of each group. In a group with a slow GPU the others wait for it, so they are less busy."""
        busy = self._busy_shares(gauges)
        rows: list[tuple[Labels, ReplicaGauges, float]] = []
        for gauge, share in zip(gauges, busy, strict=True):
            slowest = min(gauge.gpu_speeds)
            for i, speed in enumerate(gauge.gpu_speeds):
                label = {"gpu": str(len(rows)), "shard": str(i), "replica": gauge.name, "modelName": gauge.gpu or ""}
                rows.append((label, gauge, share * slowest / speed))
        page.family("DCGM_FI_DEV_GPU_UTIL", "gauge", "Busy share in % since the last page.", [(label, 100 * s) for label, _, s in rows])
        used = [(label, g.memory_used_bytes / 2**20) for label, g, _ in rows if g.memory_used_bytes is not None]
        free = [
            (label, (g.memory_bytes - g.memory_used_bytes) / 2**20)
            for label, g, _ in rows
            if g.memory_bytes is not None and g.memory_used_bytes is not None
        ]
        page.family("DCGM_FI_DEV_FB_USED", "gauge", "Memory in use in MiB.", used)
        page.family("DCGM_FI_DEV_FB_FREE", "gauge", "Memory free in MiB.", free)
        watts = [(label, board_watts(g.gpu or "", share)) for label, g, share in rows]
        words = "Power in W, estimated from the busy share."
        page.family("DCGM_FI_DEV_POWER_USAGE", "gauge", words, [(label, watt) for label, watt in watts if watt is not None])

    def _busy_shares(self, gauges: list[ReplicaGauges]) -> list[float]:
        """Of each replica since the last page."""
        now_s = self._service.real_time.looked_ps / PS_PER_S
        before = self._busy_s or [(0.0, 0.0)] * len(gauges)
        self._busy_s = [(now_s, gauge.busy_s) for gauge in gauges]
        return [
            min(1.0, (busy_s - old_busy_s) / (now_s - old_s)) if now_s > old_s else 0.0
            for (now_s, busy_s), (old_s, old_busy_s) in zip(self._busy_s, before, strict=True)
        ]

    def _own(self, page: Page) -> None:
        service, late = self._service, self._service.real_time.lateness
        page.family("loadlab:build_info", "gauge", "Version.", [({"version": __version__}, 1)])
        page.family("loadlab:speed", "gauge", "Simulated seconds in one of the wall.", [({}, service.real_time.speed)])
        page.family("loadlab:simulated_seconds", "counter", "Simulated time.", [({}, service.real_time.looked_ps / PS_PER_S)])
        page.family("loadlab:requests_under_way", "gauge", "Requests that are not over.", [({}, len(service.exchanges))])
        page.family("loadlab:connections", "gauge", "Open connections.", [({}, self._connections())])
        refused = [({"model_name": model, "cause": cause.value}, count) for (model, cause), count in sorted(self._refused.items())]
        page.family("loadlab:requests_refused_total", "counter", "Requests that no replica got.", refused)
        full = [
            ({"model_name": model, "reason": "max_num_queued_reqs"}, self._refused[model, Cause.QUEUE_FULL]) for model in service.models
        ]
        page.family("vllm:admission_rejections_total", "counter", "Requests refused because a queue was full.", full)
        page.histograms("loadlab:write_lateness_seconds", "How late tokens were written, in seconds of the wall.", [({}, late.histogram)])
        high_s = late.quantile_s(0.99)
        page.family("loadlab:write_lateness_p99_seconds", "gauge", "Its p99 since the start.", [] if high_s is None else [({}, high_s)])
        page.family("process_cpu_seconds_total", "counter", "CPU time of this process.", [({}, process_time())])
        page.family("process_resident_memory_bytes", "gauge", "Its memory.", [({}, resident_bytes())])
        page.family("process_open_fds", "gauge", "Its file descriptors.", [({}, open_files())])


def resident_bytes() -> int:
    """Memory of this process; its peak where the system has no /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def open_files() -> int:
    """File descriptors of this process; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 0
