"""Whichever process of several is killed, paused or of another kind: noticed, reported, and every planned request accounted for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario, trace_of
from tests.engines.null_target import NullTarget, null_target
from tests.engines.spread_runs import Machines, SpreadRun, account, children_of, ledger_adds_up, merge
from tests.engines.test_processes import is_gone, wait_until

REPLAY = """
schema = "loadlab/scenario/1"
name = "replay"
load = { kind = "replay", trace = "trace.csv" }
[classes.chat]
model = "m"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_killed_worker_is_noticed_at_once_and_the_rows_of_its_own_file_are_kept(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = SpreadRun(tmp_path, target.url, 2)
        run.wait_for_rows(30)
        os.kill(run.children()[1], signal.SIGKILL)
        killed_s = time.monotonic()
        code, _, err = run.end()
        took_s = time.monotonic() - killed_s
        found = account(run.out, target)
    assert code == 97
    assert "of 2 was lost: its process ended: signal SIGKILL" in err
    assert took_s < 5, "noticed, the other drained, and the summary written"
    found.check(run.requests)
    assert found.status == "incomplete"
    assert found.count("ok") >= 30
    assert found.count("not_sent") > 100
    assert found.count("unknown") <= 5, "what was in flight; what had ended is in its own file"


@pytest.mark.slow
def test_a_killed_master_leaves_no_load_and_no_gap(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = SpreadRun(tmp_path, target.url, 2)
        run.wait_for_rows(30)
        master, *workers = run.children()
        os.kill(master, signal.SIGKILL)
        code, _, err = run.end()
        assert all(map(is_gone, workers))
        found = account(run.out, target)
    assert (code, "the load generator died: signal SIGKILL" in err) == (97, True)
    found.check(run.requests)
    assert found.status == "incomplete"


@pytest.mark.slow
def test_a_killed_recorder_takes_everybody_with_it_and_merge_completes_its_rows(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = SpreadRun(tmp_path, target.url, 2)
        run.wait_for_rows(30)
        children = run.children()
        run.process.kill()
        run.process.communicate()
        wait_until(lambda: all(map(is_gone, children)))
        merged = merge(run.out)
        assert merged.returncode == 0, merged.stderr
        found = account(run.out, target)
        again = merge(run.out)
    found.check(run.requests)
    assert found.status == "incomplete"
    assert len(found.answered) - found.count("ok") <= 2, "at most an answer that was just being read, in each worker"
    assert ": 0 rows that the run had not" in again.stdout + again.stderr


def test_a_silent_worker_is_lost_within_five_seconds(tmp_path: Path) -> None:
    """On another machine nobody sees a process end: here a worker and all that belongs to it are killed, and only silence tells."""
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        machines = Machines(tmp_path, target.url, free_port(), requests=600)
        master, workers = machines.master(2), [machines.worker(name) for name in "ab"]
        rows = machines.out / "requests.jsonl"
        wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 20)
        for pid in children_of(workers[0].pid):
            os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        _, err = master.communicate(timeout=60)
        took_s = time.monotonic() - killed_s
        survivor = workers[1].communicate(timeout=60)[1]
        workers[0].communicate()
        found = account(machines.out, target)
        found.check(600)
        assert master.returncode == 97
        assert "was lost: nothing was heard of it for 4." in err
        assert took_s < 6.5, "4 s of silence, the drain, the summary"
        assert workers[1].returncode == 97, survivor
        before = found.count("unknown")
        merged = merge(machines.out, tmp_path / "a")
        assert merged.returncode == 0, merged.stderr
        assert ledger_adds_up(machines.out, 600)["unknown"] <= before
    manifest = json.loads((machines.out / "manifest.json").read_text())
    assert manifest["status"] == "incomplete"
    assert sum(worker["lost"] is not None for worker in manifest["client"]["workers"]) == 1


def test_a_worker_of_another_plan_is_turned_away_before_the_first_request(tmp_path: Path) -> None:
    with null_target() as target:
        machines = Machines(tmp_path, target.url, free_port(), requests=20)
        err, said = _turned_away(machines, machines.worker("a", "--seed", "2"), target)
    assert "another scenario, seed, window or trace file" in err
    assert "another scenario, seed, window or trace file" in said


def _turned_away(machines: Machines, worker: subprocess.Popen[str], target: NullTarget) -> tuple[str, str]:
    """What master and worker say where the only worker is not taken: nothing was sent, and every request is accounted for as such."""
    master = machines.master(1)
    _, err = master.communicate(timeout=60)
    _, said = worker.communicate(timeout=60)
    assert target.received() == 0
    assert (master.returncode, worker.returncode) == (97, 2), (err, said)
    assert ledger_adds_up(machines.out, 20)["not_sent"] == 20
    return err, said


@pytest.mark.slow
def test_a_trace_of_the_same_name_and_other_content_is_told_by_both_digests_before_the_first_request(tmp_path: Path) -> None:
    with null_target() as target:
        port, digests = free_port(), []
        here, there = (Machines(tmp_path / name, target.url, port, requests=20) for name in ("here", "there"))
        for machines, longest in ((here, 20), (there, 21)):
            rows = [f"{0.02 * k:.2f},{20 if k else longest},10" for k in range(20)]
            (machines.folder / "trace.csv").write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows]) + "\n")
            (machines.folder / "s.toml").write_text(REPLAY)
            scenario = load_scenario(machines.folder / "s.toml")
            digests.append(build_plan(scenario, 1, trace_of(scenario)).digest[:19])
        err, said = _turned_away(here, there.worker("a"), target)
    assert digests[0] != digests[1]
    why = f"its plan is {digests[1]}, the master's {digests[0]}: another scenario, seed, window or trace file"
    assert [why in " ".join(text.split()) for text in (err, said)] == [True, True]


@pytest.mark.slow
def test_a_worker_of_another_version_is_told_which_before_the_first_request(tmp_path: Path) -> None:
    other = tmp_path / "installed" / "loadlab-99.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: loadlab\nVersion: 99.1\n")
    with null_target() as target:
        machines = Machines(tmp_path / "run", target.url, free_port(), requests=20)
        err, said = _turned_away(machines, machines.worker("a", PYTHONPATH=str(other.parent)), target)
    why = f"it is of loadlab 99.1, the master of {version('loadlab')}: install the same on every machine"
    assert [why in " ".join(text.split()) for text in (err, said)] == [True, True]


@pytest.mark.slow
def test_a_paused_worker_is_lost_and_sends_nothing_overdue_when_it_wakes(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        machines = Machines(tmp_path, target.url, free_port(), requests=600)
        master, workers = machines.master(2), [machines.worker(name) for name in "ab"]
        rows = machines.out / "requests.jsonl"
        wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 20)
        paused = children_of(workers[0].pid)
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        _, err = master.communicate(timeout=60)
        workers[1].communicate(timeout=60)
        found = account(machines.out, target)
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        workers[0].communicate(timeout=60)
        late = target.truth()
    assert master.returncode == 97
    assert "nothing was heard of it for 4." in err
    found.check(600)
    assert workers[0].returncode == 97
    assert len(late) <= 1, "some ninety requests came due while it was paused"


@pytest.mark.slow
def test_a_late_worker_is_turned_away_and_the_run_goes_on(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        machines = Machines(tmp_path, target.url, free_port(), requests=400)
        master, worker = machines.master(1), machines.worker("a")
        rows = machines.out / "requests.jsonl"
        wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 5)
        late = machines.worker("b")
        _, said = late.communicate(timeout=60)
        out, err = master.communicate(timeout=60)
        worker.communicate(timeout=60)
        account(machines.out, target).check(400)
    assert (master.returncode, worker.returncode, late.returncode) == (0, 0, 2), err
    assert "it joined late" in said
    assert "a worker was turned away" in out
