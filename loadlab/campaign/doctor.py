"""What this machine's load generator can do: probes of rising load against the null server, whose own stamps say what is true."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic
from loadlab.analysis.table import FloatArray, RequestTable, build_table
from loadlab.campaign.ceiling import Ceiling
from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.errors import LoadlabError
from loadlab.record.client import ClientFacts
from loadlab.record.request import RequestRecord
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.schema import read_table

LAG_LIMIT_S = 0.010
STEP = 1.6  # from one probe of a climb to the next
MAX_STEPS = 12
OWN_DESCRIPTORS = 64
HOLD_S = 4.0  # how long connections of that probe stay open
RUN_ID = "doctor"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one probe asks for: `rate_per_s` streams of `tokens` tokens, the first after `ttft_s`, then one every `gap_s`."""

    rate_per_s: float
    tokens: int = 1
    ttft_s: float = 0.0
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of one load: seconds, of the requests that were answered. Errors are ours against the server's stamps of TTFT."""

    load: Load
    requests: int
    ok: int
    lag_p50_s: float
    lag_p99_s: float
    ttft_error_p50_s: float
    ttft_error_p99_s: float
    achieved_per_s: float
    tokens_per_s: float
    in_flight: int
    cpu_share: float  # of one core
    run_queue_wait_share: float | None

    @property
    def holds(self) -> bool:
        """True if everything was answered, and left in time."""
        return self.ok == self.requests and self.lag_p99_s < LAG_LIMIT_S and self.achieved_per_s >= 0.99 * self.load.rate_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that `loadlab doctor` found. Each climb ends with the first probe that did not hold, or with its last step."""

    ceiling: Ceiling
    at_rest: Probe
    rates: tuple[Probe, ...]
    tokens: tuple[Probe, ...]
    connections: tuple[Probe, ...]
    facts: Mapping[str, Any]


def examine(seconds: float, now: str, say: Say) -> Findings:
    """Climbs in request rate, in streamed tokens/s and in open connections; some `seconds` a probe. `now`: UTC, ISO 8601."""
    say("at rest: 50 streams/s of 32 tokens")
    at_rest = probe(Load(rate_per_s=50, tokens=32, ttft_s=0.05, gap_s=0.01), seconds)
    rates = _climb((Load(rate_per_s=100 * STEP**i) for i in range(MAX_STEPS)), seconds, say)
    tokens = _climb((Load(rate_per_s=16 * STEP**i, tokens=128, ttft_s=0.02, gap_s=0.01) for i in range(MAX_STEPS)), seconds, say)
    most = _most_connections()
    held = [Load(rate_per_s=n / HOLD_S, ttft_s=HOLD_S) for i in range(MAX_STEPS) if (n := 250 * STEP**i) < most]
    connections = _climb(iter([*held, Load(rate_per_s=most / HOLD_S, ttft_s=HOLD_S)]), HOLD_S, say)
    ceiling = Ceiling(
        requests_per_s=max((p.achieved_per_s for p in rates if p.holds), default=0.0),
        tokens_per_s=max((p.tokens_per_s for p in tokens if p.holds), default=0.0),
        connections=max((p.in_flight for p in connections if p.holds), default=0),
        lag_limit_s=LAG_LIMIT_S,
        measured=now,
        cpus=os.cpu_count() or 1,
    )
    facts = {"cpus": ceiling.cpus, "load_average": os.getloadavg(), "file_descriptors": _descriptors(), "platform": sys.platform}
    return Findings(ceiling=ceiling, at_rest=at_rest, rates=rates, tokens=tokens, connections=connections, facts=facts)


def _climb(loads: Iterable[Load], seconds: float, say: Say) -> tuple[Probe, ...]:
    """Probes until one does not hold, twice: a neighbour may have disturbed it once."""
    probes: list[Probe] = []
    for load in loads:
        say(f"{load.rate_per_s:,.0f} requests/s, {load.rate_per_s * load.tokens:,.0f} tokens/s")
        found = probe(load, seconds)
        if not found.holds:
            probes.append(found)
            found = probe(load, seconds)
        probes.append(found)
        if not found.holds:
            break
    return tuple(probes)


def probe(load: Load, seconds: float) -> Probe:
    """One load for some seconds."""
    scenario = read_table(Scenario, _scenario(load, max(20, round(load.rate_per_s * seconds))), RUN_ID)
    rows = _Rows()
    with null_server(load) as port:
        endpoint = Endpoint(scheme="http", host="127.0.0.1", port=port, preflight=False, max_in_flight=60_000)
        LocustEngine(endpoint, scenario.classes, RUN_ID).replay(build_plan(scenario, 1), rows, lambda *_: None)
        truth = _truth(port)
    facts = rows.facts
    assert facts is not None, "a replay that ended says how"
    table = build_table(sorted(rows.records, key=lambda record: record.seq))
    lag_s = table.sent_s - table.scheduled_s
    error_s = _ttft_error_s(table, truth)
    ok = int(np.count_nonzero(table.ok))
    span_s = float(np.nanmax(table.sent_s) - np.nanmin(table.sent_s)) or 1.0
    answering_s = float(np.nanmax(table.finished_s) - np.nanmin(table.first_token_s)) or 1.0
    wall_s = facts.wall_s or 1.0
    return Probe(
        load=load,
        requests=len(table),
        ok=ok,
        lag_p50_s=_quantile(lag_s, 0.5),
        lag_p99_s=_quantile(lag_s, 0.99),
        ttft_error_p50_s=_quantile(error_s, 0.5),
        ttft_error_p99_s=_quantile(error_s, 0.99),
        achieved_per_s=(len(table) - 1) / span_s,
        tokens_per_s=_busiest(truth) if load.tokens > 1 else ok / answering_s,
        in_flight=facts.most_in_flight or 0,
        cpu_share=(facts.cpu_s or 0.0) / wall_s,
        run_queue_wait_share=None if facts.run_queue_wait_s is None else facts.run_queue_wait_s / wall_s,
    )


class _Rows:
    """A RecordSink in memory."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.facts: ClientFacts | None = None

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.records.extend(records)

    def append_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.records.extend(map(RequestRecord.from_row, rows))

    def append_timeline(self, _: Iterable[Mapping[str, Any]]) -> None:
        raise AssertionError("nobody watches the null server")

    def flush(self) -> None:
        """Nothing is held back."""

    def note_client(self, facts: ClientFacts, _: float | None) -> None:
        self.facts = facts


@contextmanager
def null_server(load: Load) -> Iterator[int]:
    """The port of a null server that answers as `load` says."""
    command = [sys.executable, "-m", "loadlab.engines.null_server", "--ttft-s", str(load.ttft_s), "--gap-s", str(load.gap_s)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise LoadlabError(f"the null server did not start: exit code {server.wait()}")
        yield int(line)
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def _truth(port: int) -> dict[int, tuple[float, float, float, int]]:
    """By seq: when the server had read it, wrote the first and the last token, and how many."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth") as answer:
        rows = json.loads(answer.read())["answers"]
    return {int(name.rpartition("-")[2]): (received, first, last, tokens) for name, received, first, last, tokens in rows}


def _ttft_error_s(table: RequestTable, truth: Mapping[int, tuple[float, float, float, int]]) -> FloatArray:
    """Our TTFT, from the due time, less the server's own time from request to first token."""
    true_s = np.array([truth[seq][1] - truth[seq][0] if seq in truth else np.nan for seq in table.seq.tolist()], dtype=np.float64)
    return table.first_token_s - table.scheduled_s - true_s


def _busiest(truth: Mapping[int, tuple[float, float, float, int]]) -> float:
    """Tokens/s in the middle half of the time in which tokens flowed, those of an answer evenly spread."""
    spans = np.array([(first, last, tokens) for _, first, last, tokens in truth.values()])
    begin_s, end_s = np.quantile([spans[:, 0].min(), spans[:, 1].max()], [0.25, 0.75])
    inside_s = np.clip(np.minimum(spans[:, 1], end_s) - np.maximum(spans[:, 0], begin_s), 0, None)
    return float(np.sum(spans[:, 2] * inside_s / np.maximum(spans[:, 1] - spans[:, 0], 1e-9)) / (end_s - begin_s))


def _quantile(values: FloatArray, p: float) -> float:
    found = order_statistic(values[~np.isnan(values)], p)
    return float("inf") if found is None else found


def _descriptors() -> int | None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _most_connections() -> int:
    """What descriptors and loopback ports allow, with some of both left."""
    return min(_descriptors() or 20_000, 20_000) - OWN_DESCRIPTORS


def _scenario(load: Load, requests: int) -> dict[str, Any]:
    return {
        "name": RUN_ID,
        "timeout_s": 60,
        "load": {"kind": "open_loop", "requests": requests, "arrivals": {"kind": "constant", "rate_per_s": load.rate_per_s}},
        "classes": {
            "chat": {
                "model": "null",
                "prompt_tokens": {"kind": "constant", "value": 200},
                "output_tokens": {"kind": "constant", "value": load.tokens},
            }
        },
    }
