"""Small but nasty workloads: bursts, arrivals at step ends, shared prefixes, sessions, deadlines. And how to make a failure small.

All choices go through one function `pick(options)`, so that a seeded generator and hypothesis build the same kinds of cases.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

from loadlab.simulator.spec import ClusterSpec
from tests.simulator.twin.blocks import Chain
from tests.simulator.twin.clusters import CORNERS, REGIONS, TIERS, Pick, build_spec
from tests.simulator.twin.compare import Arrivals, differences
from tests.simulator.twin.request import TwinRequest

HALF_STEP_PS = 500_000_000  # half of the regular step of one millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison."""

    spec: ClusterSpec
    seed: int
    arrivals: Arrivals
    is_told_of_idle_faults: bool = False

    def differences(self) -> dict[str, str]:
        """What differs between the fast cluster and its twin, and how. Empty: nothing."""
        return differences(self.spec, self.seed, self.arrivals, is_told_of_idle_faults=self.is_told_of_idle_faults)


def random_case(seed: int, allowed: frozenset[str]) -> Case:
    """The same case for the same seed."""
    return build_case(random.Random(seed).choice, allowed)


def build_case(pick: Pick, allowed: frozenset[str]) -> Case:
    """A case with some of the features, and all of the corners, that are `allowed`."""
    toss = pick(((False, True), (False, False, False, True), (False, False, False, True)))  # few at a time go deeper
    active = {feature for feature in sorted(allowed) if feature in CORNERS or pick(toss)}
    return Case(
        spec=build_spec(pick, active),
        seed=pick(range(5)),
        arrivals=_arrivals(pick, active),
        is_told_of_idle_faults="faults on an idle cluster" not in active,
    )


def _arrivals(pick: Pick, active: set[str]) -> Arrivals:
    step = 25 if "sharded" in active else 1  # a real model's steps are longer
    arrivals: Arrivals = []
    sessions: list[Chain] = []  # what the next turn begins with
    at_ps = 0
    for seq in range(pick((1, 2, 3, 5, 8, 12, 20))):
        at_ps += step * pick((0, 0, 0, 1, HALF_STEP_PS, 2 * HALF_STEP_PS, 3 * HALF_STEP_PS, 777_777_777, 20 * HALF_STEP_PS))
        request = _request(pick, active, seq, at_ps, sessions)
        arrivals.append((at_ps, request))
        if request.answer is not None:
            sessions.append((*request.prefix, request.answer))
    return arrivals


def _request(pick: Pick, active: set[str], seq: int, at_ps: int, sessions: list[Chain]) -> TwinRequest:
    scale = 4 if "sharded" in active else 1
    output = pick((0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 34))
    if active & {"prefixes", "sessions", "tiers"} and "no output among others" not in active:
        output = max(1, output)
    prefix = _prefix(pick, active, seq, sessions, scale)
    shared = sum(tokens for _, tokens in prefix)
    own = pick((0, 0, 3)) if prefix else scale * pick((1, 3, 4, 7, 8, 12, 16, 25))
    return TwinRequest(
        seq=seq,
        model="m",
        prompt_tokens=shared + own,
        output_tokens=output,
        image_tokens=pick((0, 0, 1)),
        prefix=prefix,
        answer=(1000 + seq, output) if "sessions" in active and own == 0 and output and pick((True, False)) else None,
        deadline_ps=at_ps + _patience_ps(pick) if "deadlines" in active and pick((False, False, True)) else None,
        traffic_class=pick((None, "vip", "bad")) if active & {"tiers", "pipeline"} else None,
        tier=pick((None, None, None, *TIERS)) if "tiers" in active else None,
        region=pick((None, *REGIONS, "asia")) if "regions" in active else None,
    )


def _patience_ps(pick: Pick) -> int:
    return int(pick((1, HALF_STEP_PS, 2 * HALF_STEP_PS, 2 * HALF_STEP_PS + 1, 6 * HALF_STEP_PS + 1, 7_777_777_777, 20_000_000_001)))


def _prefix(pick: Pick, active: set[str], seq: int, sessions: list[Chain], scale: int) -> Chain:
    if "sessions" in active and sessions and pick((True, True, False)):
        return (*pick(sessions), (2000 + seq, scale * pick((1, 3, 4, 8))))
    if "prefixes" in active and pick((True, True, False)):
        pieces = (pick(((1, 8), (2, 6))), pick(((3, 4), (4, 8), (5, 2), (6, 16))), pick(((7, 1), (8, 5), (9, 12))))
        return tuple((content, scale * tokens) for content, tokens in pieces[: pick((1, 2, 3))])
    return ()


# Making a failure small


def smaller(case: Case) -> list[Case]:
    """Cases with one thing less."""
    arrivals, faults = case.arrivals, case.spec.faults
    tries = [dataclasses.replace(case, arrivals=arrivals[:i] + arrivals[i + 1 :]) for i in range(len(arrivals))]
    specs = [dataclasses.replace(case.spec, faults=faults[:i] + faults[i + 1 :]) for i in range(len(faults))]
    tries += [dataclasses.replace(case, spec=spec) for spec in specs]
    for i, (at_ps, request) in enumerate(arrivals):
        for change in _less(request):
            new = dataclasses.replace(request, **change)
            if new != request:
                tries.append(dataclasses.replace(case, arrivals=[*arrivals[:i], (at_ps, new), *arrivals[i + 1 :]]))
    return tries


def _less(request: TwinRequest) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = [{"deadline_ps": None}, {"image_tokens": 0}, {"answer": None}, {"prefix": ()}]
    changes += [{"traffic_class": None}, {"tier": None}, {"region": None}]
    output, prompt = request.output_tokens, request.prompt_tokens
    changes += [{"output_tokens": less} for less in {1, output // 2, output - 1} if 0 < less < output]
    shared = sum(tokens for _, tokens in request.prefix)
    return changes + [{"prompt_tokens": less} for less in {1, 4, prompt // 2, prompt - 1} if max(1, shared) <= less < prompt]
