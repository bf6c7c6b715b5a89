from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadlab.analysis.latency import order_statistic
from loadlab.campaign import study as study_module
from loadlab.campaign.study import Study, prepare_study, run_study
from loadlab.campaign.trial import host_facts, prepare, replay
from loadlab.errors import InputError, RunInterruptedError
from loadlab.record.request import Outcome, RequestRecord
from loadlab.scenario.files import experiment_seed, load_campaign
from tests.cli.command import SCENARIOS
from tests.engines.test_simulation import Rows

T4 = SCENARIOS / "t4-study"


def replayed(study: Study, key: str) -> list[RequestRecord]:
    rows = Rows()
    replay(study.trials[key], rows, lambda *_: None, itl=False)
    return rows.records


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_t4_study_accounts_for_every_request_without_oom_and_in_the_expected_order(seed: int) -> None:
    study = prepare_study(load_campaign(T4), seed)
    records = {key: replayed(study, key) for key in study.trials}
    assert sum(len(rows) for rows in records.values()) == 7310
    assert not any(record.outcome is Outcome.OOM for rows in records.values() for record in rows)

    def ttft_p95_s(key: str) -> float:
        ok = [record for record in records[key] if record.outcome is Outcome.OK]
        p95 = order_statistic([(r.first_token_s or 0) - (r.scheduled_s or 0) for r in ok], 0.95)  # type: ignore[arg-type]
        assert p95 is not None
        return p95

    assert ttft_p95_s("E06") < ttft_p95_s("E07") < ttft_p95_s("E10")
    assert ttft_p95_s("E07") < ttft_p95_s("E11")


def test_the_naive_twins_run_out_of_memory() -> None:
    study = prepare_study(load_campaign(T4).variant("naive"), 1)
    outcomes = [record.outcome for key in ("E12", "E17", "E18") for record in replayed(study, key)]
    assert outcomes.count(Outcome.OOM) > 0


def test_an_experiments_rows_do_not_depend_on_the_others() -> None:
    campaign = load_campaign(T4)
    study = prepare_study(campaign, 1)
    e10 = next(experiment for experiment in campaign.experiments if experiment.id == "E10")
    alone = prepare(e10.scenario, e10.cluster, experiment_seed(1, "E10"))
    assert alone.plan.digest == study.trials["E10"].plan.digest


SMALL = """
schema = "loadlab/campaign/1"
name = "small"
[defaults]
cluster = "../c.toml"
timeout_s = 60
[defaults.classes.chat]
model = "llm-14b"
prompt_tokens = { kind = "constant", value = 300 }
output_tokens = { kind = "constant", value = 60 }
[defaults.load]
kind = "open_loop"
requests = 40
arrivals = { kind = "poisson", rate_per_s = 2 }
[experiments.A]
name = "a"
[experiments.B]
name = "b"
[experiments.C]
name = "c"
[sensitivity]
key = "timeout_s"
values = [2, 60]
"""


@pytest.fixture
def small(tmp_path: Path) -> Study:
    """Three experiments of forty requests, with their totals at two timeouts."""
    (tmp_path / "c.toml").write_text((SCENARIOS / "clusters" / "t4-14b.toml").read_text())
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "campaign.toml").write_text(SMALL)
    return prepare_study(load_campaign(tmp_path / "small"), 7)


def quiet(what: str, done: int, planned: int) -> None:
    pass


def files(folder: Path) -> dict[str, bytes]:
    """Rows and timelines: what must be equal, byte by byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}


def without_host(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "host"}


def test_an_interrupted_campaign_keeps_what_ran_and_resumes_to_the_same_bytes(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_study(small, tmp_path / "whole", host_facts([]), quiet)

    def stop_in_b(what: str, done: int, planned: int) -> None:
        if what.startswith("B"):
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError):
        run_study(small, tmp_path / "parts", host_facts([]), stop_in_b)
    assert files(tmp_path / "parts")["A/requests.jsonl"] == files(tmp_path / "whole")["A/requests.jsonl"]

    ran: list[str] = []
    original = study_module.record
    monkeypatch.setattr(study_module, "record", lambda trial, path, *a, **k: (ran.append(path.name), original(trial, path, *a, **k))[1])
    resumed = run_study(small, tmp_path / "parts", host_facts([]), quiet, resume=True)
    assert ran == ["B", "C"]
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert without_host(resumed) == without_host(whole)


def test_a_campaign_stopped_early_says_which_experiments_did_not_run(small: Study, tmp_path: Path) -> None:
    def stop(what: str, done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError):
        run_study(small, tmp_path / "out", host_facts([]), stop)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["status"] == "aborted"
    assert [experiment["status"] for experiment in summary["experiments"]] == ["aborted", "not_run", "not_run"]
    assert [experiment["totals"]["success_rate"]["low"] for experiment in (summary, *summary["experiments"])] == [None] * 4
    assert summary["totals"]["planned"] == 120
    assert sum(summary["totals"][outcome] for outcome in Outcome) == 120


def test_an_interrupt_among_the_variants_leaves_a_complete_campaign_without_its_sensitivity(small: Study, tmp_path: Path) -> None:
    whole = run_study(small, tmp_path / "whole", host_facts([]), quiet)

    def stop_in_variants(what: str, done: int, planned: int) -> None:
        if what.startswith("variants"):
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError, match="complete but for the totals by timeout_s; make those with --resume"):
        run_study(small, tmp_path / "out", host_facts([]), stop_in_variants)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (summary["status"], summary["sensitivity"]) == ("complete", None)
    assert "this table is missing; --resume makes it" in summary["sensitivity_note"]
    assert summary["totals"] == whole["totals"]
    resumed = run_study(small, tmp_path / "out", host_facts([]), quiet, resume=True)
    assert without_host(resumed) == without_host(whole)
    assert resumed["sensitivity_note"] is None


def test_progress_counts_experiments_and_variants_apart(small: Study, tmp_path: Path) -> None:
    """Three experiments of forty requests; two values of the timeout."""
    shown: list[tuple[str, int, int]] = []
    run_study(small, tmp_path / "out", host_facts([]), lambda *seen: shown.append(seen))
    experiments = [(done, planned) for what, done, planned in shown if not what.startswith("variants")]
    variants = [(what, done, planned) for what, done, planned in shown if what.startswith("variants")]
    assert experiments[-1] == (120, 120)
    assert variants[0][0] == "variants: timeout_s = 2, A"
    assert variants[-1] == ("variants: timeout_s = 60, C", 240, 240)
    assert [done for _, done, _ in variants] == sorted(done for _, done, _ in variants)


def test_resume_with_another_cluster_names_what_differs(small: Study, tmp_path: Path) -> None:
    run_study(small, tmp_path / "out", host_facts([]), quiet)
    cluster = tmp_path / "c.toml"
    cluster.write_text(cluster.read_text().replace("max_running = 32", "max_running = 16"))
    with pytest.raises(InputError, match=r"was made with another cluster: llm\.engine\.max_running was 32 and is 16 now\. Give the seed"):
        run_study(prepare_study(small.campaign, 7), tmp_path / "out", host_facts([]), quiet, resume=True)


def test_resume_with_another_variant_names_it(tmp_path: Path) -> None:
    campaign = load_campaign(T4)
    few = replace(campaign, experiments=campaign.experiments[:1], sensitivity=None)
    run_study(prepare_study(few.variant("naive"), 1), tmp_path / "out", host_facts([]), quiet)
    with pytest.raises(InputError, match=r"another cluster: llm\.engine\..* \(this command has no --variant\)"):
        run_study(prepare_study(few, 1), tmp_path / "out", host_facts([]), quiet, resume=True)


def test_advice_for_a_directory_in_use_names_resume_only_where_a_campaign_lies(small: Study, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("keep me")
    with pytest.raises(InputError, match="exists and is not empty; choose another --out"):
        run_study(small, tmp_path / "other", host_facts([]), quiet)
    run_study(small, tmp_path / "out", host_facts([]), quiet)
    with pytest.raises(InputError, match=r"pass --resume .* to go on with the campaign in it"):
        run_study(small, tmp_path / "out", host_facts([]), quiet)


def test_resume_refuses_a_directory_of_another_seed(small: Study, tmp_path: Path) -> None:
    run_study(small, tmp_path / "out", host_facts([]), quiet)
    other = prepare_study(small.campaign, 8)
    with pytest.raises(InputError, match="was made with another seed"):
        run_study(other, tmp_path / "out", host_facts([]), quiet, resume=True)


def test_sensitivity_reports_the_totals_at_each_value(small: Study, tmp_path: Path) -> None:
    summary = run_study(small, tmp_path / "out", host_facts([]), quiet)
    strict, as_written = summary["sensitivity"]["rows"]
    assert (strict["value"], as_written["value"]) == (2, 60)
    for found in (as_written["totals"], summary["totals"]):
        assert found.pop("success_rate")["value"] == 1.0
    assert as_written["totals"] == summary["totals"]
    assert strict["totals"]["timeout"] > as_written["totals"]["timeout"]
    assert strict["totals"]["planned"] == 120


def test_an_experiment_killed_before_its_summary_was_written_is_run_again(small: Study, tmp_path: Path) -> None:
    run_study(small, tmp_path / "out", host_facts([]), quiet)
    (tmp_path / "out" / "B" / "summary.json").unlink()
    run_study(small, tmp_path / "out", host_facts([]), quiet, resume=True)
    assert (tmp_path / "out" / "B" / "summary.json").is_file()


def test_experiments_of_a_campaign_may_draw_alike() -> None:
    study = prepare_study(load_campaign(SCENARIOS / "faults"), 1)
    assert len({trial.plan.digest for trial in study.trials.values()}) == 1
