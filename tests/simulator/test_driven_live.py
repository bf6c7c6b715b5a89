"""What a server does to a cluster that nobody planned: clients that leave, faults that come while it runs."""

from __future__ import annotations

import pytest

from loadlab.record.request import Cause
from loadlab.simulator.faults import DeadReplica, OutOfMemory, SlowGpu
from loadlab.units import PS_PER_S
from tests.simulator.build import drive, make_cluster, request, seconds


def test_a_request_that_is_given_up_makes_room_at_the_next_step_end() -> None:
    cluster = make_cluster(limits={"max_running": 1})
    first, second = request(0, 4, 60), request(1, 4, 1)
    cluster.submit(first, 0)
    cluster.submit(second, 0)
    cluster.advance_to(int(2.5 * PS_PER_S))
    cluster.give_up(first, Cause.CLIENT_LEFT, int(2.5 * PS_PER_S))
    cluster.advance_to(10 * PS_PER_S)
    assert (first.cause, first.generated, seconds(first.ended_ps)) == (Cause.CLIENT_LEFT, 2, 2.5)
    assert seconds(second.first_token_ps) == 4.0
    cluster.give_up(second, Cause.CLIENT_LEFT, 10 * PS_PER_S)
    assert second.cause is None


def test_running_out_of_memory_loses_what_runs_and_restarts() -> None:
    """In mid-step at 2.5 s, two tokens out; back after 3 s."""
    cluster = make_cluster(limits={"restart_s": 3.0}, faults=(OutOfMemory(pool="p", at_s=2.5),))
    lost, later = drive(cluster, [(0.0, request(0, 4, 60)), (6.0, request(1, 4, 1))])
    assert (lost.cause, lost.generated, seconds(lost.ended_ps)) == (Cause.OOM_REPORTED, 2, 2.5)
    assert (later.cause, seconds(later.first_token_ps)) == (None, 7.0)
    assert cluster.snapshot()[0].ooms == 1


def test_an_injected_fault_is_as_one_of_the_file() -> None:
    fault = DeadReplica(pool="p", at_s=2.5, for_s=3.0)
    planned = drive(make_cluster(faults=(fault,)), [(0.0, request(0, 4, 60)), (7.0, request(1, 4, 2))])
    cluster = make_cluster()
    cluster.inject(fault, 0)
    injected = drive(cluster, [(0.0, request(0, 4, 60)), (7.0, request(1, 4, 2))])
    assert [(s.cause, s.ended_ps, s.generated) for s in injected] == [(s.cause, s.ended_ps, s.generated) for s in planned]
    with pytest.raises(ValueError, match="replica = 9 must be below 1"):
        cluster.inject(DeadReplica(pool="p", replica=9, at_s=0, for_s=1), 0)


def test_what_was_told_of_the_past_stays() -> None:
    """A fault that began before it was injected changes nothing that has happened: the step under way ends as it began."""
    cluster = make_cluster()
    cluster.submit(request(0, 4, 60), 0)
    cluster.advance_to(int(2.5 * PS_PER_S))
    cluster.inject(SlowGpu(pool="p", speed=0.5, at_s=1.0, for_s=100.0), int(2.5 * PS_PER_S))
    cluster.advance_to(int(2.5 * PS_PER_S))
    assert cluster.next_event_ps() == 3 * PS_PER_S + 1
