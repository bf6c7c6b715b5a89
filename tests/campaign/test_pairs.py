from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.campaign.pairs import pair_seeds, prepare_pairs, record_pairs, target_seed
from loadlab.errors import InputError
from loadlab.record.manifest import Status
from loadlab.scenario.files import load_scenario
from tests.cli.command import CLUSTERS, SCENARIOS
from tests.record.examples import HOST

SMOKE = load_scenario(SCENARIOS / "smoke.toml")
T4, ONE = CLUSTERS / "t4-14b.toml", CLUSTERS / "t4-14b-one-gpu.toml"


def test_pairs_are_interleaved_and_share_a_plan_and_not_their_noise() -> None:
    trials = prepare_pairs(SMOKE, T4, ONE, pair_seeds(7, 4))
    sides = "".join(side[0] for side, _, _ in trials)
    assert sides == "bccbbccb"  # A B, B A, A B, B A
    assert [trial.seed for _, _, trial in trials] == [7, 7, 8, 8, 9, 9, 10, 10]
    for (_, _, one), (_, _, other) in zip(trials[::2], trials[1::2], strict=True):
        assert one.plan.digest == other.plan.digest
        assert one.target_seed != other.target_seed
    assert len({trial.target_seed for _, _, trial in trials}) == 8


def test_a_saved_base_needs_only_candidates() -> None:
    assert [side for side, _, _ in prepare_pairs(SMOKE, None, ONE, [1, 2])] == ["candidate", "candidate"]


def test_target_seeds_depend_on_nothing_but_what_they_are_for() -> None:
    assert target_seed(1, 1, "base") == target_seed(1, 1, "base")
    assert target_seed(1, 1, "base") != target_seed(1, 1, "candidate")


def test_every_run_is_a_run_directory_and_progress_counts_all_of_them(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    runs = record_pairs(prepare_pairs(SMOKE, T4, T4, [1, 2]), tmp_path / "out", HOST, lambda n, planned: seen.append((n, planned)))
    assert [run.path.relative_to(tmp_path / "out").as_posix() for run in (*runs.base, *runs.candidate)] == [
        "base/1", "base/2", "candidate/1", "candidate/2",
    ]  # fmt: skip
    assert {run.manifest.status for run in (*runs.base, *runs.candidate)} == {Status.COMPLETE}
    assert runs.base[0].manifest.target_seed != runs.candidate[0].manifest.target_seed
    assert seen[-1] == (200, 200)
    with pytest.raises(InputError, match="not empty"):
        record_pairs([], tmp_path / "out", HOST, lambda *_: None)
