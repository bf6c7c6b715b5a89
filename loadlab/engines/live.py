"""A run over HTTP as it stands: what a person watching it wants to know, from the rows of the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic
from loadlab.record.request import Outcome, RequestRecord
from loadlab.scenario.plan import RequestPlan

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """One look at a run. Rates and quantiles are of the last `window_s` seconds; None where there is nothing to tell."""

    at_s: float
    window_s: float
    planned: int
    ended: int
    ok: int
    oom: int
    in_flight: int
    sent: int
    offered_per_s: float | None  # None in a closed loop: answers decide
    achieved_per_s: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    tpot_p50_s: float | None
    tpot_p95_s: float | None
    last_due_s: float | None  # when the last arrival of the plan is due
    is_stopping: bool


class LiveWindow:
    """Rows in, views out."""

    def __init__(self, plan: RequestPlan) -> None:
        self._planned = len(plan)
        self._arrivals = plan.arrival_s[~np.isnan(plan.arrival_s)]
        self._is_open = len(self._arrivals) == len(plan)
        self._ends: deque[tuple[float, float | None, float | None]] = deque()  # finished, TTFT, TPOT of OK rows
        self._sends: deque[tuple[float, int]] = deque([(0.0, 0)])  # (at, sent so far)
        self.at_s, self.ended, self._ok, self._oom, self._in_flight = 0.0, 0, 0, 0, 0

    def add(self, records: Sequence[RequestRecord], news: Mapping[str, Any]) -> None:
        """What the child told."""
        self.at_s, self._in_flight = news["at_s"], news["in_flight"]
        self._sends.append((self.at_s, news["sent"]))
        self.ended += len(records)
        for record in records:
            if record.outcome is Outcome.OK:
                self._ok += 1
                self._ends.append((self.at_s, *_latencies_s(record)))
            self._oom += record.outcome is Outcome.OOM
        while self._ends and self._ends[0][0] < self.at_s - WINDOW_S:
            self._ends.popleft()
        while len(self._sends) > 2 and self._sends[1][0] <= self.at_s - WINDOW_S:
            self._sends.popleft()

    def view(self, *, is_stopping: bool) -> LiveView:
        """The run now."""
        since_s, sent_before = self._sends[0]
        span_s = self.at_s - since_s
        sent = self._sends[-1][1]
        due = np.searchsorted(self._arrivals, [since_s, self.at_s])
        ttft = np.array([ttft_s for _, ttft_s, _ in self._ends if ttft_s is not None])
        tpot = np.array([tpot_s for _, _, tpot_s in self._ends if tpot_s is not None])
        return LiveView(
            at_s=self.at_s,
            window_s=span_s,
            planned=self._planned,
            ended=self.ended,
            ok=self._ok,
            oom=self._oom,
            in_flight=self._in_flight,
            sent=sent,
            offered_per_s=float(due[1] - due[0]) / span_s if self._is_open and span_s > 0 else None,
            achieved_per_s=(sent - sent_before) / span_s if span_s > 0 else 0.0,
            ttft_p50_s=order_statistic(ttft, 0.5),
            ttft_p95_s=order_statistic(ttft, 0.95),
            tpot_p50_s=order_statistic(tpot, 0.5),
            tpot_p95_s=order_statistic(tpot, 0.95),
            last_due_s=float(self._arrivals[-1]) if self._is_open and len(self._arrivals) else None,
            is_stopping=is_stopping,
        )


def _latencies_s(record: RequestRecord) -> tuple[float | None, float | None]:
    first, last, tokens = record.first_token_s, record.last_token_s, record.output_tokens
    ttft_s = None if first is None or record.scheduled_s is None else first - record.scheduled_s
    has_tpot = first is not None and last is not None and tokens is not None and tokens >= 2
    return ttft_s, (last - first) / (tokens - 1) if has_tpot else None  # type: ignore[operator]
