from __future__ import annotations

import pytest

from loadlab.record.request import Cause, Outcome
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import Allocation, Router
from tests.simulator.build import drive, make_cluster, request, seconds


def held(cluster: SimulatedCluster) -> tuple[int, int, int, int]:
    """What is left when everything is over: waiting, running, blocks in use, context tokens. All zero, always."""
    batcher = cluster.replicas[0].batcher
    return batcher.num_waiting, len(batcher.running), batcher.pool.used, batcher.decoding.kv_tokens


def test_a_lone_request_gets_its_first_token_after_one_step_and_one_more_each_step() -> None:
    cluster = make_cluster()
    (only,) = drive(cluster, [(10.0, request(0, prompt=5, output=4))])
    assert [seconds(t) for t in (only.first_token_ps, only.last_token_ps, only.ended_ps)] == [11.0, 14.0, 14.0]
    assert only.outcome is Outcome.OK
    assert held(cluster) == (0, 0, 0, 0)


def test_an_answer_of_one_token_ends_with_its_prefill() -> None:
    (only,) = drive(make_cluster(), [(0.0, request(0, prompt=5, output=1))])
    assert seconds(only.first_token_ps) == seconds(only.ended_ps) == 1.0


def test_a_request_for_no_answer_ends_with_its_prefill_and_has_no_token() -> None:
    cluster = make_cluster()
    (only,) = drive(cluster, [(0.0, request(0, prompt=5, output=0))])
    assert (only.outcome, only.generated, only.first_token_ps, only.last_token_ps) == (Outcome.OK, 0, None, None)
    assert seconds(only.ended_ps) == 1.0
    assert held(cluster) == (0, 0, 0, 0)


def test_an_arrival_in_mid_step_joins_at_the_next_step_end() -> None:
    first, second = drive(make_cluster(), [(0.0, request(0, 4, 10)), (2.5, request(1, 4, 2))])
    assert seconds(second.first_token_ps) == 4.0  # waits until 3.0, prefills until 4.0
    assert seconds(first.ended_ps) == 10.0


def test_an_arrival_exactly_at_a_step_end_joins_one_step_later() -> None:
    """Events at a time precede arrivals at that time: the step that begins there is already decided."""
    wake = 1e-12
    _, second = drive(make_cluster(), [(0.0, request(0, 4, 10)), (3.0 + wake, request(1, 4, 2))])
    assert seconds(second.first_token_ps) == 5.0


def test_simultaneous_arrivals_share_the_first_step() -> None:
    done = drive(make_cluster(), [(0.0, request(i, 4, 3)) for i in range(5)])
    assert {seconds(s.first_token_ps) for s in done} == {1.0}


def test_a_prompt_beyond_the_token_budget_is_prefilled_in_chunks_beside_the_decodes() -> None:
    cluster = make_cluster(limits={"max_batched_tokens": 8, "max_running": 8})
    decoding, chunked = drive(cluster, [(0.0, request(0, 4, 20)), (0.5, request(1, 20, 2))])
    assert seconds(chunked.first_token_ps) == 4.0  # 7 tokens a step beside one decode: 7, 7, 6
    assert seconds(decoding.ended_ps) == 20.0  # never missed a step


def test_no_more_than_max_running_sequences_run() -> None:
    cluster = make_cluster(limits={"max_running": 2})
    done = drive(cluster, [(0.0, request(i, 4, 4)) for i in range(3)])
    assert [seconds(s.first_token_ps) for s in done] == [1.0, 1.0, 5.0]


def test_steps_grow_with_context_and_skipping_adds_up_the_same() -> None:
    """A prefill step of 1 s, then two decodes that read contexts of 4 and 5 tokens at 0.1 s each."""
    (only,) = drive(make_cluster(per_kv_token_s=0.1), [(0.0, request(0, 4, 3))])
    assert seconds(only.ended_ps) == pytest.approx(1 + (1 + 0.4) + (1 + 0.5))


def test_when_blocks_run_out_the_newest_is_preempted_and_recomputed() -> None:
    cluster = make_cluster(kv_tokens=20)  # five blocks of four
    old, new = drive(cluster, [(0.0, request(0, 8, 8)), (0.0, request(1, 8, 4))])
    assert (old.preemptions, new.preemptions) == (0, 1)
    assert (old.outcome, new.outcome) == (Outcome.OK, Outcome.OK)
    assert seconds(old.ended_ps) == 8.0
    # Both decode a token at 1 s; at 1 s each needs a third block and one is left, so the newer one gives way until 8 s.
    assert seconds(new.first_token_ps) == 1.0
    assert new.pieces == [(0, 1, 1), (0, 9, 11)]
    assert held(cluster) == (0, 0, 0, 0)


def test_a_preempted_sequence_waits_until_all_of_it_fits_and_nobody_overtakes_it() -> None:
    """Six blocks: 8 and 12 tokens take five, and at the first second both need one more. The newer one then needs four for its 13
    tokens, and three are free; a chunk of it would fit, and so would the small one behind it. Both wait for the older one's end."""
    cluster = make_cluster(kv_tokens=24)
    old, new, small = drive(cluster, [(0.0, request(0, 8, 9)), (0.0, request(1, 12, 9)), (0.5, request(2, 4, 1))])
    assert (old.preemptions, new.preemptions, seconds(old.ended_ps)) == (0, 1, 9.0)
    assert new.pieces == [(0, 1, 1), (0, 10, 17)]
    assert seconds(small.first_token_ps) == 10.0


def test_a_client_that_leaves_while_waiting_is_gone_at_once() -> None:
    cluster = make_cluster(limits={"max_running": 1})
    _, late = drive(cluster, [(0.0, request(0, 4, 10)), (0.0, request(1, 4, 2, deadline_s=3.5))])
    assert (late.outcome, late.cause, seconds(late.ended_ps), late.first_token_ps) == (Outcome.TIMEOUT, Cause.DEADLINE, 3.5, None)
    assert held(cluster) == (0, 0, 0, 0)


def test_a_client_that_leaves_while_running_keeps_the_tokens_it_got_and_frees_its_place_at_the_step_end() -> None:
    cluster = make_cluster(limits={"max_running": 1})
    late, after = drive(cluster, [(0.0, request(0, 4, 10, deadline_s=3.5)), (0.0, request(1, 4, 2))])
    assert (late.outcome, late.generated, seconds(late.last_token_ps), seconds(late.ended_ps)) == (Outcome.TIMEOUT, 3, 3.0, 3.5)
    assert seconds(after.first_token_ps) == 5.0
    assert held(cluster) == (0, 0, 0, 0)


def test_an_answer_that_completes_exactly_at_the_deadline_counts() -> None:
    cluster = make_cluster()
    (only,) = drive(cluster, [(0.0, request(0, 4, 3, deadline_ps=3 * 10**12 + 1))])
    assert only.outcome is Outcome.OK


def test_when_a_waiting_client_leaves_the_next_one_that_fits_gets_in() -> None:
    """The head of the line needs more blocks than are free; behind it a small one fits as soon as the head gives up."""
    cluster = make_cluster(kv_tokens=32)
    arrivals = [(0.0, request(0, 20, 12)), (0.5, request(1, 28, 1, deadline_s=4.5)), (0.6, request(2, 4, 1))]
    big, head, small = drive(cluster, arrivals)
    assert head.outcome is Outcome.TIMEOUT
    assert seconds(small.first_token_ps) == 6.0
    assert seconds(big.ended_ps) == 12.0


def test_unbounded_allocation_dies_of_memory_fails_what_it_held_and_comes_back() -> None:
    cluster = make_cluster(kv_tokens=30, limits={"allocation": Allocation.UNBOUNDED, "prefix_caching": False, "restart_s": 10.0})
    doomed, waiting_for_restart = drive(cluster, [(0.0, request(0, 20, 30)), (25.0, request(1, 4, 2))])
    assert (doomed.outcome, doomed.cause) == (Outcome.OOM, Cause.OOM_REPORTED)
    assert seconds(doomed.ended_ps) == 11.0  # 20 tokens of prompt and 10 of answer are 30
    assert doomed.generated == 11
    assert cluster.replicas[0].ooms == 1
    assert waiting_for_restart.outcome is Outcome.OK


def test_a_replica_that_restarts_refuses() -> None:
    cluster = make_cluster(kv_tokens=30, limits={"allocation": Allocation.UNBOUNDED, "prefix_caching": False, "restart_s": 10.0})
    _, refused = drive(cluster, [(0.0, request(0, 20, 30)), (15.0, request(1, 4, 2))])
    assert (refused.outcome, refused.cause) == (Outcome.REJECTED, Cause.NO_REPLICA)


@pytest.mark.parametrize(
    ("prompt", "output", "cause"),
    [
        (200, 57, Cause.KV_TOO_SMALL),  # 256 + 1 tokens, of which 256 need KV: fits; one more does not
        (2**20, 1, Cause.CONTEXT_LENGTH),
    ],
)
def test_what_can_never_run_is_refused_at_once(prompt: int, output: int, cause: Cause) -> None:
    fits, refused = drive(make_cluster(), [(0.0, request(0, 200, 57)), (1.0, request(1, prompt, output + 1))])
    assert fits.outcome is Outcome.OK
    assert (refused.cause, seconds(refused.ended_ps)) == (cause, 1.0)


def test_a_full_queue_refuses() -> None:
    cluster = make_cluster(limits={"max_running": 1}, pool={"queue_limit": 1})
    done = drive(cluster, [(0.0, request(0, 4, 9)), (1.5, request(1, 4, 2)), (2.5, request(2, 4, 2))])
    assert [s.cause for s in done] == [None, None, Cause.QUEUE_FULL]


def test_waiting_too_long_at_the_server_is_refused_but_running_long_is_not() -> None:
    cluster = make_cluster(limits={"max_running": 1}, pool={"max_queue_wait_s": 3.0})
    long, waits = drive(cluster, [(0.0, request(0, 4, 9)), (1.5, request(1, 4, 2))])
    assert long.outcome is Outcome.OK
    assert (waits.cause, seconds(waits.ended_ps)) == (Cause.QUEUE_TIMEOUT, 4.5)


def with_prefix(seq: int, prompt: int, output: int, **more: object) -> Sequence:
    return request(seq, prompt, output, prefix=((7, 16),), **more)


def test_a_shared_prefix_is_computed_once() -> None:
    cluster = make_cluster(per_prefill_token_s=1.0)
    first, second = drive(cluster, [(0.0, with_prefix(0, 20, 1)), (100.0, with_prefix(1, 20, 1))])
    assert (first.cached_tokens, second.cached_tokens) == (0, 16)
    assert seconds(first.ended_ps) == 21.0
    assert seconds(second.ended_ps) == 105.0


def test_a_prompt_that_is_cached_whole_still_computes_its_last_block() -> None:
    cluster = make_cluster(per_prefill_token_s=1.0)
    _, second = drive(cluster, [(0.0, with_prefix(0, 16, 1)), (100.0, with_prefix(1, 16, 1))])
    assert second.cached_tokens == 12
    assert seconds(second.ended_ps) == 105.0


def test_the_next_in_line_hits_a_prefix_that_is_scheduled_in_the_same_step() -> None:
    cluster = make_cluster()
    done = drive(cluster, [(0.0, with_prefix(i, 18, 1)) for i in range(3)])
    assert [s.cached_tokens for s in done] == [0, 16, 16]


def test_a_cached_answer_serves_the_next_turn() -> None:
    turn_1 = request(0, 8, 9, prefix=((1, 8),), answer=(2, 9))
    turn_2 = request(1, 25, 1, prefix=((1, 8), (2, 9), (3, 8)))
    _, second = drive(make_cluster(), [(0.0, turn_1), (100.0, turn_2)])
    assert second.cached_tokens == 16  # 8 of the prompt and 8 of the answer, whose ninth token's KV was never written


def test_without_prefix_caching_nothing_is_reused() -> None:
    cluster = make_cluster(limits={"prefix_caching": False})
    _, second = drive(cluster, [(0.0, with_prefix(0, 20, 1)), (100.0, with_prefix(1, 20, 1))])
    assert second.cached_tokens == 0
    assert held(cluster) == (0, 0, 0, 0)


def test_load_goes_to_the_replica_with_the_least_outstanding() -> None:
    cluster = make_cluster(replicas=2)
    done = drive(cluster, [(0.0, request(0, 4, 9)), (1.5, request(1, 4, 2)), (2.0, request(2, 4, 2)), (8.0, request(3, 4, 2))])
    assert [s.replica for s in done] == [0, 1, 0, 1]


def test_round_robin_takes_turns() -> None:
    cluster = make_cluster(replicas=3, pool={"router": Router.ROUND_ROBIN})
    done = drive(cluster, [(float(i), request(i, 4, 30)) for i in range(6)])
    assert [s.replica for s in done] == [0, 1, 2, 0, 1, 2]


def test_leaving_while_a_cached_prompts_last_block_is_computed_anew_gives_back_what_was_held() -> None:
    """Two blocks of four are cached and shared; of the second, three tokens are computed when the client leaves."""
    cluster = make_cluster(limits={"max_batched_tokens": 3, "max_running": 3})
    whole = request(0, 8, 1, prefix=((7, 8),))
    leaver = request(1, 8, 1, prefix=((7, 8),), deadline_s=100.5)
    drive(cluster, [(0.0, whole), (100.0, leaver)])
    pool = cluster.replicas[0].batcher.pool
    assert leaver.cause is Cause.DEADLINE
    assert (pool.free, pool.cached, pool.used) == (62, 2, 0)
