"""A closed loop at fixed concurrency on the simulated cluster, as load harnesses run one.

All clients start at once; each sends its next request when its last one ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.units import PS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopWork:
    """What a harness sends: `requests` in all, from `clients`, with lengths drawn evenly from `spread` of the nominal ones up to these."""

    clients: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    spread: float = 1.0  # 1: every request has the nominal lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopMeans:
    """Means over the requests that were served, in seconds, and how many were not."""

    ttft_s: float
    tpot_s: float
    e2e_s: float
    served: int
    failed: int

    def output_tok_s(self, work: ClosedLoopWork) -> float:
        """Output tokens a second of all clients, by Little's law: clients * tokens / mean end to end."""
        return work.clients * work.output_tokens / (self.ttft_s + self.tpot_s * (work.output_tokens - 1))


def run_closed_loop(cluster: SimulatedCluster, work: ClosedLoopWork, seed: int = 0) -> ClosedLoopMeans:
    """Runs the loop to its end. `cluster` must be fresh and serve one model. Raises ValueError if nobody was served."""
    prompts, outputs = _lengths(work, seed)
    model, sent = cluster.serves[0], 0
    ended: list[Sequence] = []

    def send(at_ps: int) -> None:
        nonlocal sent
        sequence = Sequence(seq=sent, model=model, prompt_tokens=prompts[sent], output_tokens=outputs[sent])
        sent += 1
        if not cluster.submit(sequence, at_ps):
            ended.append(sequence)

    for _ in range(min(work.clients, work.requests)):
        send(0)
    while (now := cluster.next_event_ps()) != NEVER_PS:
        for kind, when_ps, sequence in cluster.advance_to(now):
            if kind is EventKind.ENDED:
                ended.append(sequence)
                if sent < work.requests:
                    send(when_ps)
    return _means(ended)


def _lengths(work: ClosedLoopWork, seed: int) -> tuple[list[int], list[int]]:
    rng = np.random.default_rng(seed)
    columns = []
    for tokens in (work.prompt_tokens, work.output_tokens):
        low = max(1, round(tokens * work.spread))
        columns.append(rng.integers(low, tokens, size=work.requests, endpoint=True).tolist())
    return columns[0], columns[1]


def _means(ended: list[Sequence]) -> ClosedLoopMeans:
    served = [s for s in ended if s.first_token_ps is not None and s.last_token_ps is not None and s.generated == s.output_tokens]
    if not served:
        raise ValueError(f"no request was served: {ended[0].cause if ended else 'none was sent'}")
    ttft = np.array([s.first_token_ps - s.arrival_ps for s in served]) / PS_PER_S  # type: ignore[operator]
    decode = np.array([(s.last_token_ps - s.first_token_ps) / max(1, s.generated - 1) for s in served]) / PS_PER_S  # type: ignore[operator]
    e2e = np.array([s.last_token_ps - s.arrival_ps for s in served]) / PS_PER_S  # type: ignore[operator]
    return ClosedLoopMeans(
        ttft_s=float(ttft.mean()), tpot_s=float(decode.mean()), e2e_s=float(e2e.mean()), served=len(served), failed=len(ended) - len(served)
    )
