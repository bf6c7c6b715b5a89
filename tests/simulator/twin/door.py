"""What stands between a client and a pool: tiers, regions, and the workers of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadlab.simulator.draws import uniform
from loadlab.simulator.spec import ClusterSpec, Pipeline
from loadlab.units import PS_PER_S
from tests.simulator.twin.pool import Pool
from tests.simulator.twin.request import Job, TwinRequest


def tiers_to_ask(spec: ClusterSpec, seed: int, request: TwinRequest) -> list[str | None]:
    """The tiers that a request is asked of, one after the other."""
    if request.tier is not None or spec.tiers is None:
        return [request.tier]
    if request.traffic_class in spec.tiers.by_class:
        return [spec.tiers.by_class[request.traffic_class]]
    names = list(spec.tiers.shares)
    drawn = len(names) - 1
    running_sum = 0.0
    for i, name in enumerate(names):
        running_sum += spec.tiers.shares[name]
        if uniform(seed, 1, request.seq) < running_sum:
            drawn = i
            break
    return list(names[: drawn + 1]) if spec.tiers.cascade else [names[drawn]]


def pool_for(spec: ClusterSpec, pools: list[Pool], request: TwinRequest, tier: str | None) -> tuple[Pool, int]:
    """The pool of a model and tier that a request goes to, and its round trip."""
    doors = [pool for pool in pools if request.model in pool.spec.serves and pool.spec.tier == tier]
    if not doors:
        raise ValueError(f"nobody serves {request.model} in tier {tier}")
    if request.region is None:
        return doors[0], 0
    round_trips = spec.regions[request.region].round_trip_s
    own = [pool for pool in doors if pool.spec.region == request.region]
    with_somebody = [pool for pool in doors if any(replica.takes_newcomers for replica in pool.replicas)]
    if own and own[0] in with_somebody:
        chosen = own[0]
    elif with_somebody:
        chosen = min(with_somebody, key=lambda pool: round_trips[str(pool.spec.region)])
    else:
        chosen = own[0] if own else min(doors, key=lambda pool: round_trips[str(pool.spec.region)])
    return chosen, round(round_trips[str(chosen.spec.region)] * PS_PER_S)


@dataclass(slots=True)
class Workers:
    """The pipeline's workers: first come, first served."""

    spec: Pipeline
    num_busy: int = 0
    line: list[Job] = field(default_factory=list)

    def stages_ps(self, request: TwinRequest) -> int:
        """How long one of them is taken by a request."""
        spec = self.spec
        tokenise_s = spec.tokenise_s + spec.tokenise_per_token_s * request.prompt_tokens
        return round((spec.authenticate_s + tokenise_s + spec.filter_s + spec.select_s) * PS_PER_S)

    def refuses(self, request: TwinRequest) -> bool:
        """Whether the filter turns it away."""
        return request.traffic_class in self.spec.refused_classes
