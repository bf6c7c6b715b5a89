"""What stands before the pools: which tier and region a request goes to, and the stages it passes on its way."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from loadlab.simulator.draws import uniform
from loadlab.simulator.pool import Pool
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec, Pipeline
from loadlab.units import PS_PER_S

TIER = 1  # what a draw is for: docs/simulator-model.md, Draws


class Front:
    """Finds the pool for a request, and the time at which it gets there."""

    def __init__(self, spec: ClusterSpec, pools: Mapping[str, Pool], seed: int) -> None:
        self._spec = spec
        self._pools = list(pools.values())
        self._seed = seed
        self._by_model: dict[str, list[Pool]] = {}
        for pool in self._pools:
            for model in pool.spec.serves:
                self._by_model.setdefault(model, []).append(pool)
        self._stages = None if spec.pipeline is None else Stages(spec.pipeline)
        self.post_process_ps = 0 if spec.pipeline is None else round(spec.pipeline.post_process_s * PS_PER_S)

    @property
    def models(self) -> tuple[str, ...]:
        """Model names that requests may ask for."""
        return tuple(self._by_model)

    def pool_of_model(self, model: str) -> Pool:
        """The first pool that serves a model."""
        return self._by_model[model][0]

    def is_filtered(self, sequence: Sequence) -> bool:
        """Whether the filter turns it away."""
        pipeline = self._spec.pipeline
        return pipeline is not None and (sequence.is_filtered or sequence.traffic_class in pipeline.refused_classes)

    def tiers(self, sequence: Sequence) -> list[str | None]:
        """The tiers whose answers it takes, in order: one, but in a cascade all up to the one that is drawn."""
        rule = self._spec.tiers
        if sequence.tier is not None or rule is None:
            return [sequence.tier]
        if sequence.traffic_class in rule.by_class:
            return [rule.by_class[sequence.traffic_class]]
        names, drawn, upto = list(rule.shares), uniform(self._seed, TIER, sequence.seq), 0.0
        for i, share in enumerate(rule.shares.values()):
            upto += share
            if drawn < upto or i == len(names) - 1:
                return list(names[: i + 1]) if rule.cascade else [names[i]]
        raise AssertionError("shares sum to one")

    def pool(self, sequence: Sequence, tier: str | None) -> Pool:
        """The pool of its model and tier in its own region if one is up there, else in the nearest region where one is."""
        pools = self._by_model[sequence.model]
        if tier is not None:
            pools = [pool for pool in pools if pool.spec.tier == tier] or pools
        if len(pools) == 1 or sequence.region is None:
            return pools[0]
        order = sorted(pools, key=lambda pool: (pool.spec.region != sequence.region, self._round_trip_s(sequence, pool)))
        return next((pool for pool in order if pool.is_up), order[0])

    def _round_trip_s(self, sequence: Sequence, pool: Pool) -> float:
        region = self._spec.regions.get(sequence.region or "")
        return 0.0 if region is None or pool.spec.region is None else region.round_trip_s.get(pool.spec.region, 0.0)

    def arrives_ps(self, sequence: Sequence, pool: Pool, at_ps: int) -> int:
        """When a request of `at_ps` gets to its pool: after the stages, and the round trip, which is charged on the way in."""
        done_ps = at_ps if self._stages is None else self._stages.done_ps(sequence, at_ps)
        return done_ps + round(self._round_trip_s(sequence, pool) * PS_PER_S)

    def filtered_ps(self, sequence: Sequence, at_ps: int) -> int:
        """When the filter has said no."""
        assert self._stages is not None
        return self._stages.done_ps(sequence, at_ps)


class Stages:
    """Workers that authenticate, tokenise, filter and select, first come first served."""

    def __init__(self, pipeline: Pipeline) -> None:
        fixed_s = pipeline.authenticate_s + pipeline.tokenise_s + pipeline.filter_s + pipeline.select_s
        self._fixed_ps = round(fixed_s * PS_PER_S)
        self._per_token_ps = round(pipeline.tokenise_per_token_s * PS_PER_S)
        self._free_ps = [0] * pipeline.threads  # when each worker is free: a heap

    def done_ps(self, sequence: Sequence, at_ps: int) -> int:
        """When the stages of a request that comes at `at_ps` are done; takes the worker that is free first."""
        start_ps = max(at_ps, self._free_ps[0])
        done_ps = start_ps + self._fixed_ps + self._per_token_ps * sequence.prompt_tokens
        heapq.heapreplace(self._free_ps, done_ps)
        return done_ps
