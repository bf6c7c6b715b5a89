from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from loadlab.cli.live import live_line, live_table
from loadlab.engines.live import LiveWindow
from loadlab.record.request import OUTCOME_OF, Cause, Outcome, RequestRecord
from loadlab.scenario.build import build_plan
from tests.engines.null_target import equal_requests
from tests.record.examples import failed, ok


def window(requests: int = 100) -> LiveWindow:
    """Of a plan with ten requests a second."""
    return LiveWindow(build_plan(equal_requests(rate_per_s=10, requests=requests), 1))


def tell(live: LiveWindow, at_s: float, records: list[RequestRecord], sent: int, in_flight: int = 0) -> None:
    live.add(records, {"at_s": at_s, "sent": sent, "in_flight": in_flight})


def test_rates_and_quantiles_are_of_the_last_ten_seconds() -> None:
    live = window(400)
    tell(live, 5.0, [ok(0, ttft_s=9.0)], sent=50)
    for t in range(6, 31):
        tell(live, float(t), [ok(t, ttft_s=0.5)], sent=10 * t, in_flight=7)
    view = live.view(is_stopping=False)
    assert (view.ended, view.ok, view.in_flight, view.sent) == (26, 26, 7, 300)
    assert view.window_s == pytest.approx(10.0)
    assert view.offered_per_s == pytest.approx(10.0)
    assert view.achieved_per_s == pytest.approx(10.0)
    assert (view.ttft_p50_s, view.ttft_p95_s) == (0.5, 0.5), "nine seconds were long ago"
    assert view.tpot_p50_s == pytest.approx(0.1)
    assert view.last_due_s == pytest.approx(39.9)


def test_failures_count_and_have_no_latency() -> None:
    live = window()
    tell(live, 1.0, [failed(0, Cause.OOM_REPORTED, Outcome.OOM), failed(1, Cause.DEADLINE, Outcome.TIMEOUT)], sent=10)
    view = live.view(is_stopping=True)
    assert (view.ended, view.ok, view.oom, view.ttft_p50_s) == (2, 0, 1, None)
    line = live_line("smoke", view)
    for words in (
        "smoke: 2 of 100 ended",
        "OK 0.0 %, not OK: 1 oom_reported, 1 deadline, 1 OOM",
        "TTFT p50 - p95 -",
        "Ctrl-C again does not wait",
    ):
        assert words in line, words


def test_nothing_told_yet_is_shown_without_a_crash() -> None:
    view = window().view(is_stopping=False)
    assert (view.achieved_per_s, view.offered_per_s) == (0.0, None)
    assert "until the last is due" in live_line("x", view)
    assert np.isfinite(view.at_s)


def test_causes_are_shown_commonest_first_and_the_rest_as_a_number() -> None:
    live = window()
    several = [Cause.RATE_LIMITED] * 4 + [Cause.STALL] * 3 + [Cause.RESET] * 2 + [Cause.DEADLINE]
    tell(live, 1.0, [failed(i, cause, OUTCOME_OF[cause]) for i, cause in enumerate(several)], sent=10)
    assert "not OK: 4 rate_limited, 3 stall, 2 reset, 1 others" in live_line("x", live.view(is_stopping=False))


def test_answers_without_a_first_token_show_their_end_to_end_latency() -> None:
    live = window()
    tell(live, 1.0, [replace(ok(0), first_token_s=None, last_token_s=None, scheduled_s=1.0, finished_s=1.25)], sent=1)
    line = live_line("embeddings", live.view(is_stopping=False))
    assert "end to end p50 250 ms p95 250 ms" in line
    assert "TTFT" not in line


def test_several_workers_add_up_and_each_is_shown() -> None:
    live = window()
    for t in range(11):
        for worker in (0, 1):
            live.add(
                [], {"worker": worker, "at_s": float(t), "sent": (5 + worker) * t, "in_flight": 2, "lag_s": 0.02 * worker, "cpu_s": 0.3 * t}
            )
    view = live.view(is_stopping=False)
    assert (view.sent, view.in_flight) == (110, 4)
    assert view.achieved_per_s == pytest.approx(11.0)
    assert [worker.sent_per_s for worker in view.workers] == pytest.approx([5.0, 6.0])
    assert [worker.lag_s for worker in view.workers] == [0.0, 0.02]
    assert view.workers[0].cpu_share == pytest.approx(0.3)
    screen = Console(width=80, record=True, file=StringIO())
    screen.print(live_table("smoke", view))
    shown = screen.export_text()
    assert "worker 1  6/s  lag 20.0 ms  30 % of a core  2 in flight" in shown
