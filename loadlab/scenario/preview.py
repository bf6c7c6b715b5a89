"""What a plan looks like before anyone sends it: its rate over time, how bursty it is, the lengths of each class, its first minute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadlab.scenario.plan import FloatArray, IntArray, RequestPlan

WINDOWS_S = (1, 10, 60)
MIN_WINDOWS = 20  # below, a dispersion says nothing
FIRST_S = 60
PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPreview:
    """The requests of one class: order statistics of their lengths in tokens, and how many come in each second of the first minute."""

    name: str
    requests: int
    prompt_tokens: tuple[int, ...]  # at PERCENTS
    output_tokens: tuple[int, ...]
    first_minute: IntArray  # int64[60]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan in figures. Times are those of requests due by the clock: who follows an answer has none before the run."""

    requests: int
    by_the_clock: int
    span_s: float  # until the last request due by the clock
    edges_s: FloatArray
    rates_per_s: FloatArray
    dispersions: dict[int, float]  # by window: variance over mean of the requests in it; Poisson has 1
    classes: tuple[ClassPreview, ...]
    prompt_tokens: int
    output_tokens: int

    @property
    def rate_per_s(self) -> float:
        """Requests a second that are due by the clock, up to the last of them."""
        return self.by_the_clock / self.span_s if self.span_s else 0.0


def preview(plan: RequestPlan, bins: int = 60) -> Preview:
    """The figures of a plan."""
    times = np.sort(plan.arrival_s[~np.isnan(plan.arrival_s)])
    span_s = float(times[-1]) if len(times) and times[-1] > 0 else 1.0
    counts, edges = np.histogram(times, bins=bins, range=(0.0, span_s))
    return Preview(
        requests=len(plan),
        by_the_clock=len(times),
        span_s=span_s,
        edges_s=edges,
        rates_per_s=counts / np.diff(edges),
        dispersions={w: _dispersion(times, w) for w in WINDOWS_S if span_s / w >= MIN_WINDOWS},
        classes=tuple(
            _class(plan, code, name) for code, name in enumerate(plan.traffic_class.names) if np.any(plan.traffic_class.codes == code)
        ),
        prompt_tokens=int(plan.prompt_tokens.sum()),
        output_tokens=int(plan.output_tokens.sum()),
    )


def _dispersion(times: FloatArray, window_s: int) -> float:
    whole = int(times[-1] // window_s)
    counts = np.bincount((times // window_s).astype(np.int64), minlength=whole)[:whole]
    return float(counts.var() / counts.mean())


def _class(plan: RequestPlan, code: int, name: str) -> ClassPreview:
    mine = plan.traffic_class.codes == code
    times = plan.arrival_s[mine]
    return ClassPreview(
        name=name,
        requests=int(mine.sum()),
        prompt_tokens=_quantiles(plan.prompt_tokens[mine]),
        output_tokens=_quantiles(plan.output_tokens[mine]),
        first_minute=np.bincount(times[times < FIRST_S].astype(np.int64), minlength=FIRST_S),
    )


def _quantiles(tokens: IntArray) -> tuple[int, ...]:
    ordered = np.sort(tokens)
    return tuple(int(ordered[-(-percent * len(ordered) // 100) - 1]) for percent in PERCENTS)
