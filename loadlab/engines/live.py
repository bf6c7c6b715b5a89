"""A run over HTTP as it stands: what a person watching it wants to know, from the rows of the last seconds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.scenario.plan import RequestPlan

WINDOW_S = 10.0
SHOWN_CAUSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker: requests/s and share of a core over the window, the worst dispatch lag in its last news, what is in flight."""

    worker: int
    sent_per_s: float
    lag_s: float
    cpu_share: float
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """One look at a run. Rates and quantiles are of the last `window_s` seconds; None where there is nothing to tell."""

    at_s: float
    window_s: float
    planned: int
    ended: int
    ok: int
    oom: int
    causes: tuple[tuple[Cause, int], ...]  # why those that ended were not OK: the commonest first
    in_flight: int
    sent: int
    offered_per_s: float | None  # None in a closed loop: answers decide
    achieved_per_s: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    tpot_p50_s: float | None
    tpot_p95_s: float | None
    e2e_p50_s: float | None
    e2e_p95_s: float | None
    last_due_s: float | None  # when the last arrival of the plan is due
    is_stopping: bool
    workers: tuple[WorkerView, ...] = ()  # of several


Watch = Callable[[LiveView], None]  # sees a run as it stands


@dataclass(frozen=True, slots=True)
class _Latencies:
    """How long an OK request took, from its due time; None for what its answer has not."""

    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None

    @staticmethod
    def of(record: RequestRecord) -> _Latencies:
        due, first, last, end = record.scheduled_s, record.first_token_s, record.last_token_s, record.finished_s
        tokens = record.output_tokens
        return _Latencies(
            ttft_s=None if first is None or due is None else first - due,
            tpot_s=None if first is None or last is None or tokens is None or tokens < 2 else (last - first) / (tokens - 1),
            e2e_s=None if end is None or due is None else end - due,
        )


@dataclass(frozen=True, slots=True)
class _News:
    """What one worker said of itself."""

    at_s: float
    sent: int
    in_flight: int
    lag_s: float
    cpu_s: float


class LiveWindow:
    """Rows in, views out."""

    def __init__(self, plan: RequestPlan) -> None:
        self._planned = len(plan)
        self._arrivals = plan.arrival_s[~np.isnan(plan.arrival_s)]
        self._is_open = len(self._arrivals) == len(plan)
        self._ends: deque[tuple[float, _Latencies]] = deque()  # when told, of OK rows
        self._causes: Counter[Cause] = Counter()
        self._sends: deque[tuple[float, int]] = deque([(0.0, 0)])  # (at, sent so far by all)
        self._news: dict[int, deque[_News]] = {}  # by worker
        self.at_s, self.ended, self._ok, self._oom = 0.0, 0, 0, 0

    def add(self, records: Sequence[RequestRecord], news: Mapping[str, Any]) -> None:
        """What a worker told."""
        self._note(news)
        self.at_s = max(self.at_s, news["at_s"])
        self._sends.append((self.at_s, sum(told[-1].sent for told in self._news.values())))
        self.ended += len(records)
        for record in records:
            if record.outcome is Outcome.OK:
                self._ok += 1
                self._ends.append((self.at_s, _Latencies.of(record)))
            elif record.cause is not None:
                self._causes[record.cause] += 1
            self._oom += record.outcome is Outcome.OOM
        while self._ends and self._ends[0][0] < self.at_s - WINDOW_S:
            self._ends.popleft()
        while len(self._sends) > 2 and self._sends[1][0] <= self.at_s - WINDOW_S:
            self._sends.popleft()

    def _note(self, news: Mapping[str, Any]) -> None:
        told = self._news.setdefault(news.get("worker", 0), deque())
        told.append(_News(news["at_s"], news["sent"], news["in_flight"], news.get("lag_s", 0.0), news.get("cpu_s", 0.0)))
        while len(told) > 2 and told[1].at_s <= told[-1].at_s - WINDOW_S:
            told.popleft()

    def _workers(self) -> tuple[WorkerView, ...]:
        return tuple(_worker_view(k, self._news[k]) for k in sorted(self._news))

    def view(self, *, is_stopping: bool) -> LiveView:
        """The run now."""
        since_s, sent_before = self._sends[0]
        span_s = self.at_s - since_s
        sent = self._sends[-1][1]
        due = np.searchsorted(self._arrivals, [since_s, self.at_s])
        ttft = np.array([took.ttft_s for _, took in self._ends if took.ttft_s is not None])
        tpot = np.array([took.tpot_s for _, took in self._ends if took.tpot_s is not None])
        e2e = np.array([took.e2e_s for _, took in self._ends if took.e2e_s is not None])
        return LiveView(
            at_s=self.at_s,
            window_s=span_s,
            planned=self._planned,
            ended=self.ended,
            ok=self._ok,
            oom=self._oom,
            causes=tuple(self._causes.most_common(SHOWN_CAUSES)),
            in_flight=sum(told[-1].in_flight for told in self._news.values()),
            sent=sent,
            offered_per_s=float(due[1] - due[0]) / span_s if self._is_open and span_s > 0 else None,
            achieved_per_s=(sent - sent_before) / span_s if span_s > 0 else 0.0,
            ttft_p50_s=order_statistic(ttft, 0.5),
            ttft_p95_s=order_statistic(ttft, 0.95),
            tpot_p50_s=order_statistic(tpot, 0.5),
            tpot_p95_s=order_statistic(tpot, 0.95),
            e2e_p50_s=order_statistic(e2e, 0.5),
            e2e_p95_s=order_statistic(e2e, 0.95),
            last_due_s=float(self._arrivals[-1]) if self._is_open and len(self._arrivals) else None,
            is_stopping=is_stopping,
            workers=self._workers() if len(self._news) > 1 else (),
        )


def _worker_view(worker: int, told: Sequence[_News]) -> WorkerView:
    first, last = told[0], told[-1]
    span_s = last.at_s - first.at_s
    return WorkerView(
        worker=worker,
        sent_per_s=(last.sent - first.sent) / span_s if span_s > 0 else 0.0,
        lag_s=last.lag_s,
        cpu_share=(last.cpu_s - first.cpu_s) / span_s if span_s > 0 else 0.0,
        in_flight=last.in_flight,
    )
