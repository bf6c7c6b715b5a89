"""`--to prometheus`: what a run came to, as a metrics page for node_exporter's textfile collector or a push gateway.

A run is over, so nothing counts up: families are gauges, but for histograms of latencies, which `histogram_quantile` reads. Seconds and
shares, no other units (https://prometheus.io/docs/practices/naming/). Estimates carry `bound`: value, and low and high where the data
bound it (95 %).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from loadlab.export.rows import exported_chunks, facts_of
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import summarise_run
from loadlab.server.metrics import ITL_S, LATENCY_S, TTFT_S
from loadlab.server.prometheus import Histogram, Page

Json = Mapping[str, Any]
Samples = Iterator[tuple[dict[str, str], float]]
_GROUP = ("class", "model")  # labels of histograms and counts; more would make more series than a page should have
_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")
# Upper bounds of vLLM's own histograms of the same things, so that one dashboard shows both.
BUCKETS: Mapping[str, tuple[float, ...]] = {"ttft": TTFT_S, "tpot": ITL_S, "e2e": LATENCY_S}


def write_prometheus(run: RunDir, file: BinaryIO) -> int:
    """Writes the page; returns how many requests it is of."""
    summary, page = summarise_run(run), Page()
    counts, histograms = _counted(run)
    facts = {key: "" if value is None else str(value) for key, value in facts_of(run).items()}
    page.family("loadlab_run_info", "gauge", "Which run this page is of; always 1.", [(facts, 1)])
    page.family("loadlab_run_requests", "gauge", "Planned requests by what became of them.", counts)
    for latency, found in histograms.items():
        page.histograms(f"loadlab_{latency}_seconds", f"{latency.upper()} of OK requests, warm-up included.", found)
    page.family(
        "loadlab_latency_seconds", "gauge", "Statistics of the report, warm-up left out, with their 95 % intervals.", _stats(summary)
    )
    for name, words, estimate in _rates(summary):
        page.family(f"loadlab_{name}", "gauge", words, _bounds({}, estimate))
    verdicts = [({"threshold": t["threshold"], "verdict": t["verdict"]}, 1.0) for t in summary.get("thresholds", ())]
    page.family("loadlab_threshold", "gauge", "Each threshold with its verdict: passed, failed or undecided; always 1.", verdicts)
    file.write(page.text())
    return int(sum(value for _, value in counts))


def _counted(run: RunDir) -> tuple[list[tuple[dict[str, str], float]], dict[str, list[tuple[dict[str, str], Histogram]]]]:
    """Counts and histograms by labels, in one pass over the rows."""
    counts: Counter[tuple[str, ...]] = Counter()
    histograms: dict[str, dict[tuple[str, ...], Histogram]] = {latency: {} for latency in BUCKETS}
    for chunk in exported_chunks(run):
        for row in chunk:
            group = tuple(row[label] or "" for label in _GROUP)
            counts[(*group, row["outcome"], row["cause"] or "")] += 1
            for latency, bounds in BUCKETS.items():
                if (value := row[f"{latency}_s"]) is not None:
                    histograms[latency].setdefault(group, Histogram(bounds)).add(value)
    labels = (*_GROUP, "outcome", "cause")
    samples = [(dict(zip(labels, key, strict=True)), float(n)) for key, n in sorted(counts.items())]
    found = {name: [(dict(zip(_GROUP, key, strict=True)), h) for key, h in sorted(by.items())] for name, by in histograms.items()}
    return samples, found


def _stats(summary: Json) -> Samples:
    for key, metric in summary["metrics"].items():
        for statistic in _STATISTICS:
            yield from _bounds({"latency": key.removesuffix("_s"), "statistic": statistic}, metric[statistic])


def _rates(summary: Json) -> Iterator[tuple[str, str, Json]]:
    yield "success_ratio", "OK requests of planned ones.", summary["totals"]["success_rate"]
    for name in ("requests", "output_tokens", "prompt_tokens"):
        yield f"ok_{name}_per_second", f"{name.replace('_', ' ').capitalize()} of OK requests.", summary["throughput"][f"{name}_per_s"]
    if summary["slo"] is not None:
        yield "slo_attainment_ratio", "Requests that kept the SLO, of planned ones.", summary["slo"]["attainment"]
        yield "goodput_requests_per_second", "Requests that kept the SLO.", summary["slo"]["goodput_per_s"]


def _bounds(labels: dict[str, str], estimate: Json) -> Samples:
    for bound in ("value", "low", "high"):
        if estimate[bound] is not None:
            yield {**labels, "bound": bound}, estimate[bound]
