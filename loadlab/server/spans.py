"""What a request spent its time on: its stages as spans, in simulated time."""

from __future__ import annotations

from dataclasses import dataclass

from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import Pipeline
from loadlab.units import PS_PER_S

# Stages in front of the pools, with the key of [pipeline] that says how long each takes; tokenise has a part by the token too.
_FRONT = (("authenticate", "authenticate_s"), ("tokenise", "tokenise_s"), ("filter", "filter_s"), ("select", "select_s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stage: when it began, in simulated seconds of the server, and how long it took."""

    name: str
    start_s: float
    duration_s: float


def spans_of(sequence: Sequence, pipeline: Pipeline | None) -> list[Span]:
    """The stages that a request has passed, in order; what lies between two of them is waiting for a worker, or its way to a region."""
    spans: list[Span] = []
    arrived_s = sequence.arrival_ps / PS_PER_S
    entered_s, admitted_s = _seconds(sequence.entered_ps), _seconds(sequence.admitted_ps)
    first_s, last_s, ended_s = _seconds(sequence.first_token_ps), _seconds(sequence.last_token_ps), _seconds(sequence.ended_ps)
    if pipeline is not None:
        spans += _front_spans(sequence, pipeline, arrived_s, entered_s if entered_s is not None else ended_s)
    if entered_s is not None and admitted_s is not None:
        spans.append(Span(name="queue", start_s=entered_s, duration_s=admitted_s - entered_s))
    if admitted_s is not None and first_s is not None:
        spans.append(Span(name="prefill", start_s=admitted_s, duration_s=first_s - admitted_s))
    if first_s is not None and last_s is not None:
        spans.append(Span(name="decode", start_s=first_s, duration_s=last_s - first_s))
    if pipeline is not None and ended_s is not None:
        if sequence.cause is None and last_s is not None:
            spans.append(Span(name="post_process", start_s=last_s, duration_s=ended_s - last_s))
        spans.append(Span(name="log", start_s=ended_s, duration_s=pipeline.log_s))
    return spans


def _front_spans(sequence: Sequence, pipeline: Pipeline, arrived_s: float, until_s: float | None) -> list[Span]:
    """The stages in front take what they cost, one after another; a request waits before the first until a worker is free."""
    costs = {name: float(getattr(pipeline, key)) for name, key in _FRONT}
    costs["tokenise"] += pipeline.tokenise_per_token_s * sequence.prompt_tokens
    waited_s = 0.0 if until_s is None else max(0.0, until_s - arrived_s - sum(costs.values()))
    at_s, spans = arrived_s, [Span(name="worker", start_s=arrived_s, duration_s=waited_s)] if waited_s > 1e-9 else []
    at_s += waited_s
    for name, cost_s in costs.items():
        spans.append(Span(name=name, start_s=at_s, duration_s=cost_s))
        at_s += cost_s
    return spans


def _seconds(ps: int | None) -> float | None:
    return None if ps is None else ps / PS_PER_S
