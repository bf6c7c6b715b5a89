"""Tiers, regions, pipeline, pools that compute prompts for others, autoscaling: with numbers that a reader can do in the head."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loadlab.record.request import Cause, Outcome
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import (
    Allocation,
    Autoscale,
    Batching,
    ClusterSpec,
    Pipeline,
    PlainConstants,
    PoolSpec,
    Region,
    Router,
    Speculation,
    Tiers,
)
from loadlab.simulator.step_time import Work, compile_step_times
from tests.simulator.build import drive, make_cluster, request, seconds


def pool(**keys: Any) -> PoolSpec:
    """A step takes a second, 64 blocks of four tokens."""
    base = make_cluster().spec.pools["p"]
    return dataclasses.replace(base, **keys)


def cluster_of(pools: dict[str, PoolSpec], **keys: Any) -> SimulatedCluster:
    return SimulatedCluster(ClusterSpec(name="test", pools=pools, **keys), seed=3)


def test_a_request_goes_to_the_tier_of_its_class_or_its_own() -> None:
    tiers = Tiers(shares={"fast": 1.0, "expert": 0.0}, by_class={"contract": "expert"})
    cluster = cluster_of({"a": pool(tier="fast"), "b": pool(tier="expert")}, tiers=tiers)
    requests = [request(0, 4, 2), request(1, 4, 2, traffic_class="contract"), request(2, 4, 2, tier="expert")]
    assert [s.replica for s in drive(cluster, [(float(i), r) for i, r in enumerate(requests)])] == [0, 1, 1]


def test_shares_draw_the_tier_of_the_others() -> None:
    cluster = cluster_of({"a": pool(tier="fast"), "b": pool(tier="expert")}, tiers=Tiers(shares={"fast": 0.9, "expert": 0.1}))
    done = drive(cluster, [(2.0 * i, request(i, 4, 1)) for i in range(2000)])
    assert 160 < sum(s.replica == 1 for s in done) < 240  # 200, four standard errors of 13


def test_in_a_cascade_the_client_waits_for_every_tier_and_sees_the_last_answer() -> None:
    """Two tiers, each a prefill step and two decodes: the first token comes at the fourth second, the end at the sixth."""
    tiers = Tiers(shares={"fast": 0.0, "expert": 1.0}, cascade=True)
    cluster = cluster_of({"a": pool(tier="fast"), "b": pool(tier="expert")}, tiers=tiers)
    (only,) = drive(cluster, [(0.0, request(0, 4, 3))])
    assert (seconds(only.first_token_ps), seconds(only.ended_ps), only.generated) == (4.0, 6.0, 3)
    assert (only.tier, only.replica) == ("expert", 1)


def test_a_deadline_ends_a_cascade_in_whatever_tier_it_is() -> None:
    tiers = Tiers(shares={"fast": 0.0, "expert": 1.0}, cascade=True)
    cluster = cluster_of({"a": pool(tier="fast"), "b": pool(tier="expert")}, tiers=tiers)
    early, late = drive(cluster, [(0.0, request(0, 4, 3, deadline_s=1.5)), (10.0, request(1, 4, 3, deadline_s=14.5))])
    assert (early.outcome, early.generated, seconds(early.ended_ps)) == (Outcome.TIMEOUT, 0, 1.5)
    assert (late.outcome, late.generated, seconds(late.ended_ps)) == (Outcome.TIMEOUT, 1, 14.5)
    assert all(replica.outstanding == 0 for replica in cluster.replicas)


REGIONS = {"eu": Region(round_trip_s={"eu": 0.0, "us": 0.5}), "us": Region(round_trip_s={"eu": 0.5, "us": 0.0})}


def test_a_request_is_served_in_its_region_and_elsewhere_when_that_is_lost() -> None:
    from loadlab.simulator.faults import LostRegion

    fault = LostRegion(region="eu", at_s=10.0, for_s=20.0)
    cluster = cluster_of({"a": pool(region="eu"), "b": pool(region="us")}, regions=REGIONS, faults=(fault,))
    times = (0.0, 9.5, 15.0, 40.0)
    done = drive(cluster, [(at_s, request(i, 4, 2, region="eu")) for i, at_s in enumerate(times)])
    assert [s.replica for s in done] == [0, 0, 1, 0]
    assert done[1].cause is Cause.ENGINE_DIED
    assert seconds(done[2].first_token_ps) == 16.5  # the round trip, then a step


def test_stages_before_generation_share_their_workers() -> None:
    """Two workers, three seconds each: of three requests at once the third waits for the first, then all join the next steps."""
    cluster = cluster_of({"a": pool()}, pipeline=Pipeline(threads=2, tokenise_s=2.0, tokenise_per_token_s=0.25))
    done = drive(cluster, [(0.0, request(i, 4, 1)) for i in range(3)])
    assert [seconds(s.first_token_ps) for s in done] == [4.0, 4.0, 7.0]


def test_a_class_that_the_filter_refuses_never_reaches_an_engine() -> None:
    cluster = cluster_of({"a": pool()}, pipeline=Pipeline(filter_s=0.25, refused_classes=("injection",)))
    (only,) = drive(cluster, [(0.0, request(0, 4, 1, traffic_class="injection"))])
    assert (only.cause, seconds(only.ended_ps), only.replica) == (Cause.FILTERED, 0.25, None)


def test_post_processing_delays_the_end_but_not_the_tokens_and_may_meet_the_deadline() -> None:
    cluster = cluster_of({"a": pool()}, pipeline=Pipeline(post_process_s=2.0))
    patient, hasty = drive(cluster, [(0.0, request(0, 4, 2)), (10.0, request(1, 4, 2, deadline_s=13.0))])
    assert (seconds(patient.last_token_ps), seconds(patient.ended_ps), patient.outcome) == (2.0, 4.0, Outcome.OK)
    assert (hasty.cause, seconds(hasty.ended_ps), hasty.generated) == (Cause.DEADLINE, 13.0, 2)


def test_a_prompt_computed_elsewhere_is_decoded_here_after_its_kv_has_come() -> None:
    """A step there for the first token, then the link's latency of 15 us, then the next step boundaries here."""
    pools = {"prefill": pool(serves=()), "decode": pool(prefill_pool="prefill", transfer_link="pcie3")}
    cluster = cluster_of(pools)
    (only,) = drive(cluster, [(0.0, request(0, 6, 3))])
    assert seconds(only.first_token_ps) == 1.0
    assert seconds(only.ended_ps) == pytest.approx(3.0 + 15e-6, abs=1e-8)
    assert [piece[0] for piece in only.pieces] == [0, 1]
    assert len(cluster.token_times_ps(only)) == 3
    assert all(replica.batcher.pool.used == 0 for replica in cluster.replicas)


def test_a_sequence_preempted_where_it_decodes_is_computed_anew_there() -> None:
    small = PlainConstants(step_s=1.0, kv_tokens=24)
    decode = pool(prefill_pool="prefill", transfer_link="pcie3", hardware=small)
    cluster = cluster_of({"prefill": pool(serves=()), "decode": decode})
    done = drive(cluster, [(0.0, request(i, 8, 8)) for i in range(2)])
    assert [s.outcome for s in done] == [Outcome.OK, Outcome.OK]
    assert [s.generated for s in done] == [8, 8]
    assert sum(s.preemptions for s in done) > 0


def test_autoscaling_starts_replicas_under_load_and_drains_them_after() -> None:
    scale = Autoscale(min_replicas=1, target_outstanding=2, interval_s=1.0, startup_s=5.0)
    cluster = cluster_of({"a": pool(replicas=3, autoscale=scale)})
    burst = [(0.5 * i, request(i, 4, 20)) for i in range(20)]
    calm = [(100.0 + 2 * i, request(20 + i, 4, 1)) for i in range(10)]
    done = drive(cluster, burst + calm)
    assert {s.replica for s in done if s.arrival_ps < 5e12} == {0}  # the second replica is ready five seconds after it was started
    assert {s.replica for s in done[:20]} == {0, 1, 2}
    assert {s.replica for s in done[25:]} == {0}


def test_a_replica_that_keeps_no_free_kv_is_passed_over() -> None:
    cluster = cluster_of({"a": pool(replicas=2, min_free_kv_share=0.5, router=Router.ROUND_ROBIN)})
    done = drive(cluster, [(0.0, request(0, 160, 20)), (2.5, request(1, 8, 9)), (3.5, request(2, 160, 9)), (5.5, request(3, 8, 9))])
    assert [s.replica for s in done] == [0, 1, 1, None]
    assert done[3].cause is Cause.KV_EXHAUSTED


def test_a_kv_aware_router_sends_a_prompt_where_its_prefix_is() -> None:
    cluster = cluster_of({"a": pool(replicas=2, router=Router.KV_AWARE)})
    prefixes = [((7, 16),), ((8, 16),), ((8, 16),), ((7, 16),)]
    done = drive(cluster, [(3.0 * i + (0.5 if i == 1 else 0), request(i, 20, 9, prefix=p)) for i, p in enumerate(prefixes)])
    assert [s.replica for s in done] == [0, 1, 1, 0]
    assert [s.cached_tokens for s in done] == [0, 0, 16, 16]


def test_static_batching_admits_only_into_an_empty_replica() -> None:
    """The short one ends early and keeps its place; the third waits for the long one."""
    limits = {"batching": Batching.STATIC, "allocation": Allocation.CONTIGUOUS, "prefix_caching": False, "max_context_tokens": 32}
    cluster = make_cluster(limits=limits | {"max_running": 2})
    done = drive(cluster, [(0.0, request(0, 4, 2)), (0.0, request(1, 4, 6)), (0.5, request(2, 4, 2))])
    assert [seconds(s.ended_ps) for s in done] == [2.0, 6.0, 8.0]


def test_contiguous_allocation_reserves_the_whole_window() -> None:
    """256 tokens of memory, windows of 100: two fit, whatever they use; the third waits, and four fifths of the memory lie idle."""
    limits = {"allocation": Allocation.CONTIGUOUS, "prefix_caching": False, "max_context_tokens": 100}
    cluster = make_cluster(limits=limits)
    done = drive(cluster, [(0.0, request(i, 10, 10)) for i in range(3)])
    assert [seconds(s.ended_ps) for s in done] == [10.0, 10.0, 20.0]
    fragmentation = [bin_.kv_fragmentation for _, bin_, _ in cluster.timeline() if bin_.kv_fragmentation is not None]
    assert min(fragmentation) > 0.8
    assert cluster.replicas[0].batcher.pool.used == 0


def test_speculation_divides_the_decode_step_by_the_tokens_that_it_yields() -> None:
    """Half of one drafted token is accepted: 1.5 tokens a step, which verifies two and spends a tenth on drafting."""
    from loadlab.simulator.step_time import CompiledTimes, ConstantParts

    parts = ConstantParts(constants=PlainConstants(step_s=0.01, per_decode_s=0.001, per_kv_token_s=1e-6, kv_tokens=100))
    speculation = Speculation(draft_tokens=1, acceptance_share=0.5, draft_share=0.1)
    times = CompiledTimes(parts, speculation)
    assert speculation.tokens_per_step == 1.5
    assert times.decode_ps(4) == round((0.01 + 8 * 0.001) * 1.1 / 1.5 * 1e12)
    assert times.kv_ps == round(1e-6 / 1.5 * 1e12)
    plain = compile_step_times(parts.constants)
    work = Work(100, 5000.0, 1, 0)
    assert times.mixed_ps(4, work) - times.decode_ps(4) == plain.mixed_ps(8, work) - plain.decode_ps(8)


def test_step_noise_has_mean_one_and_its_cv_and_is_the_same_for_the_same_seed() -> None:
    def run(seed: int) -> int | None:
        spec = make_cluster(limits={"step_noise_cv": 0.1}, kv_tokens=2**20).spec
        (only,) = drive(SimulatedCluster(spec, seed=seed), [(0.0, request(0, 4, 64_000))])
        return only.ended_ps

    assert run(1) == run(1) != run(2)
    ended_s = (run(1) or 0) / 1e12
    assert ended_s == pytest.approx(64_000, rel=4 * 0.1 / 1000**0.5)
