"""What the server said of itself in a run over HTTP, beside what the client saw: `server` of summary.json, and sentences of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadlab.analysis.agreement import Compared, compare_with_server
from loadlab.analysis.intervals import Estimate
from loadlab.analysis.server_view import server_value
from loadlab.analysis.table import RequestTable
from loadlab.report.findings import measure_text
from loadlab.report.text import METRICS, clean_text
from loadlab.slo import OF_SERVER, PREEMPTIONS, PREFIX_HITS, parse_metric
from loadlab.units import format_duration

Json = dict[str, Any]
_WORDS = {
    "server.kv_usage": "KV cache", "server.running": "running", "server.waiting": "waiting", "server.gpu_busy": "GPU busy",
    "server.gpu_memory": "GPU memory", "server.gpu_power_w": "GPU power", PREFIX_HITS: "prefix hits", PREEMPTIONS: "preemptions",
}  # fmt: skip
_MEAN_NOTE = "95 %, Student's t on n / tau, over time and replicas"


def server_block(timeline: Sequence[Mapping[str, Any]], table: RequestTable) -> Json | None:
    """`server`: pages that came and did not, metrics, and whether both sides agree; None where no page was scraped."""
    rows = [row for row in timeline if "source" in row]
    if not rows:
        return None
    texts = [f"{name}.{statistic}" for name in OF_SERVER for statistic in ("mean", "max")]
    metrics = {metric: server_value(parse_metric(metric), rows) for metric in (*texts, PREFIX_HITS, f"{PREEMPTIONS}.count")}
    return {
        "pages": [_page(source, rows) for source in sorted({row["source"] for row in rows})],
        "metrics": {name: _estimate(found) for name, found in metrics.items() if found.value is not None},
        "agreement": [_compared(one) for one in compare_with_server(table, rows)],
    }


def _page(source: str, rows: Sequence[Mapping[str, Any]]) -> Json:
    own = [row for row in rows if row["source"] == source]
    came = {row["t_s"] for row in own if "failed" not in row}
    return {
        "source": source,
        "servers": sorted({row["server"] for row in own if "server" in row}),
        "replicas": len({row["replica"] for row in own if "failed" not in row}),
        "came": len(came),
        "failed": dict(Counter(row["failed"] for row in own if "failed" in row)),
        "restarts": sum(1 for row in own if row.get("restarted")),
    }


def _estimate(found: Estimate) -> Json:
    return {"value": found.value, "low": found.low, "high": found.high, "note": found.note or _MEAN_NOTE}


def _compared(one: Compared) -> Json:
    return {
        "what": one.what, "server": one.server, "client": one.client, "told": one.told,
        "low": one.low, "high": one.high, "verdict": one.verdict.value, "why": one.why,
    }  # fmt: skip


def server_sentences(summary: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(sentence, is it an alarm): pages, what they say, and where client and server disagree; none where nothing was scraped."""
    block = summary.get("server")
    if block is None:
        return
    for page in block["pages"]:
        yield _page_sentence(page), not page["came"]
        if page["restarts"]:
            yield f"{clean_text(page['source'])} began anew {page['restarts']:,} times: its counters went back.", True
    said = "; ".join(_metric_texts(block["metrics"]))
    if said:
        yield f"Server: {said}.", False
    yield from _agreement_sentences(block["agreement"])


def _page_sentence(page: Mapping[str, Any]) -> str:
    source = clean_text(page["source"])
    failed = ", ".join(f"{clean_text(why)} {n:,}" for why, n in page["failed"].items())
    missed = f" Not counted: {sum(page['failed'].values()):,} that did not come ({failed})." if failed else ""
    if not page["came"]:
        return f"Metrics of {source}: no page came, so that nothing is known of the server.{missed}"
    kinds = ", ".join(map(clean_text, page["servers"]))
    return f"Metrics of {source} ({kinds}): {page['came']:,} pages, one a second; peaks between them were not seen.{missed}"


def _metric_texts(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name in OF_SERVER:
        mean, most = metrics.get(f"{name}.mean"), metrics.get(f"{name}.max")
        if mean is not None and most is not None:
            unit = " W" if name == "server.gpu_power_w" else parse_metric(f"{name}.mean").unit.value
            yield f"{_WORDS[name]} {measure_text(mean, unit)}, at most {measure_text({**most, 'low': None, 'high': None}, unit)}"
    if PREFIX_HITS in metrics:
        yield f"{_WORDS[PREFIX_HITS]} {measure_text({**metrics[PREFIX_HITS], 'low': None, 'high': None}, 'share')}"
    if f"{PREEMPTIONS}.count" in metrics:
        yield f"{_WORDS[PREEMPTIONS]} {metrics[f'{PREEMPTIONS}.count']['value']:,}"


def _agreement_sentences(compared: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bool]]:
    agreed = [one for one in compared if one["verdict"] == "agrees" and one["told"] is not None]
    for one in compared:
        if one["verdict"] == "disagrees":
            yield f"CLIENT AND SERVER DISAGREE: {_both(one)}: {clean_text(one['why'])}.", True
    apart: dict[str, list[str]] = {}
    for one in compared:
        if one["verdict"] == "not compared":
            apart.setdefault(clean_text(one["why"]), []).append(_both(one))
    for why, both in apart.items():
        yield f"Client and server were not compared, since {why}: {'; '.join(both)}.", False
    if agreed:
        said = "; ".join(_both(one) + (f" ({one['why']})" if one["why"] else "") for one in agreed)
        yield f"Client and server agree: {said}.", False


def _both(one: Mapping[str, Any]) -> str:
    server = clean_text(one["server"])
    if one["what"] == "requests":
        return f"{one['client']:,} requests OK here, {one['told']:,.0f} finished by {server}"
    name, _, statistic = one["what"].partition(".")
    words = f"{METRICS[name]} {statistic}"
    here = f"{format_duration(one['client'])} here (from sending)" if name != "tpot_s" else f"{format_duration(one['client'])} here"
    if one["told"] is not None:
        return f"{words} {here}, {format_duration(one['told'])} by {server}"
    high = "longer" if one["high"] is None else format_duration(one["high"])
    return f"{words} {here}, {format_duration(one['low'])} to {high} by {server}"
