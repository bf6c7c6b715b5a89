"""A campaign: its experiments one after another into DIR/<id>/, variants of them beside the totals, one summary over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadlab.analysis.totals import count_outcomes
from loadlab.campaign.trial import Trial, prepare, record, replay
from loadlab.engines.base import Progress
from loadlab.errors import InputError
from loadlab.record.atomic_file import save_bytes
from loadlab.record.manifest import HostFacts, Status, load_versions
from loadlab.record.request import Outcome, RequestRecord
from loadlab.record.run_dir import SUMMARY_FILE, RunDir
from loadlab.report.summary import dump_summary, not_run_experiment, published_rows, summarise_campaign, summarise_run, totals_block
from loadlab.scenario.files import experiment_seed
from loadlab.scenario.model import Campaign, Experiment
from loadlab.schema import as_table

Json = dict[str, Any]
StudyProgress = Callable[[str, int, int], None]  # (what, requests done, requests planned), over the whole study


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A campaign with every plan built and checked: the trials of its experiments by id, and of its sensitivity by value."""

    campaign: Campaign
    seed: int
    trials: Mapping[str, Trial]
    sensitivity: Mapping[float, Mapping[str, Trial]]

    @property
    def planned(self) -> int:
        """Requests of the experiments and of their variants together."""
        groups = [self.trials, *self.sensitivity.values()]
        return sum(len(trial.plan) for trials in groups for trial in trials.values())


def prepare_study(campaign: Campaign, seed: int) -> Study:
    """A study that can run. Touches nothing. Raises InputError, naming the experiment, if any of it is bad."""
    trials = _trials(campaign, seed)
    key = campaign.sensitivity
    varied = {} if key is None else {value: _trials(campaign.with_value(key.key, value), seed) for value in key.values}
    return Study(campaign=campaign, seed=seed, trials=trials, sensitivity=varied)


def _trials(campaign: Campaign, seed: int) -> dict[str, Trial]:
    return {experiment.id: _prepare_experiment(experiment, seed) for experiment in campaign.experiments}


def _prepare_experiment(experiment: Experiment, seed: int) -> Trial:
    try:
        return prepare(experiment.scenario, experiment.cluster, experiment_seed(seed, experiment.id))
    except InputError as error:
        raise InputError(f"experiment {experiment.id}: {error}") from None


def run_study(study: Study, out: Path, host: HostFacts, progress: StudyProgress, *, resume: bool = False) -> Json:
    """Runs what is missing in `out` and writes its summary.json. Returns the summary.

    Without `resume`, `out` must not exist or be empty. On KeyboardInterrupt the summary of what ran is written, status aborted,
    and the interrupt re-raised. Raises InputError if `out` holds another campaign's runs.
    """
    finished = _finished(study, out) if resume else {}
    _check_out(out, resume=resume)
    runs: dict[str, RunDir] = dict(finished)
    done = sum(run.manifest.planned for run in finished.values())
    try:
        for key, trial in study.trials.items():
            if key not in finished:
                shown = _shifted(progress, f"{key} {trial.scenario.name}", done, study.planned)
                runs[key] = record(trial, out / key, host, shown, replace=resume)
                runs[key].save_summary(dump_summary(summarise_run(runs[key])))
                done += len(trial.plan)
        sensitivity = _vary(study, runs, done, progress)
    except KeyboardInterrupt:
        _save(out, _summarise(study, _readable(study, out), host, None, interrupted=True))
        raise
    summary = _summarise(study, runs, host, sensitivity)
    _save(out, summary)
    return summary


def _shifted(progress: StudyProgress, what: str, before: int, planned: int) -> Progress:
    """Progress of one run as part of the study's."""
    return lambda done, _: progress(what, before + done, planned)


def _check_out(out: Path, *, resume: bool) -> None:
    if resume:
        return
    if out.is_file():
        raise InputError("exists and is a file; choose another --out", source=str(out))
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"exists and is not empty; pass --resume {out} to go on, or another --out", source=str(out))


def _finished(study: Study, out: Path) -> dict[str, RunDir]:
    """Run directories of `out` that are complete and belong to this very study."""
    if not out.is_dir():
        raise InputError("does not exist, so there is nothing to resume; use --out to begin", source=str(out))
    finished = {}
    for key, trial in study.trials.items():
        if (out / key / "manifest.json").exists():
            run = RunDir.open(out / key)
            _check_same(run, trial)
            if run.manifest.status is Status.COMPLETE:
                finished[key] = run
    return finished


def _check_same(run: RunDir, trial: Trial) -> None:
    """Raises InputError unless the run was made from equal inputs by an equal version."""
    asked, found = trial.manifest(run.manifest.host), run.manifest
    for what in ("name", "seed", "plan_digest", "conditions", "versions"):
        if getattr(asked, what) != getattr(found, what):
            raise InputError(
                f"was made with another {what.replace('_', ' ')}, so it cannot be part of this campaign; use another --out",
                source=str(run.path),
            )


def _readable(study: Study, out: Path) -> dict[str, RunDir]:
    return {key: RunDir.open(out / key) for key in study.trials if (out / key / "manifest.json").exists()}


class _Tally:
    """A sink that keeps counts only."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.outcomes.update(record.outcome for record in records)

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        pass


def _vary(study: Study, runs: Mapping[str, RunDir], done: int, progress: StudyProgress) -> Json | None:
    """The campaign's totals at each value of its sensitivity key: replayed beside the recorded runs, rows not kept."""
    spec = study.campaign.sensitivity
    if spec is None:
        return None
    rows = []
    for value, trials in study.sensitivity.items():
        tally = _Tally()
        for key, trial in trials.items():
            if trial.plan.digest == runs[key].manifest.plan_digest:  # the value as written: it was recorded already
                tally.append(runs[key].rows())
            else:
                replay(trial, tally, lambda *_: None, itl=False)
            done += len(trial.plan)
            progress(f"{spec.key} = {value:g}", done, study.planned)
        planned = sum(len(trial.plan) for trial in trials.values())
        rows.append({"value": value, "totals": totals_block(count_outcomes(tally.outcomes.elements(), planned))})
    return {"key": spec.key, "description": spec.description, "rows": rows}


def _summarise(study: Study, runs: Mapping[str, RunDir], host: HostFacts, sensitivity: Json | None, *, interrupted: bool = False) -> Json:
    campaign = study.campaign
    missing = {key: trial for key, trial in study.trials.items() if key not in runs}
    choices = campaign.design_choices
    return summarise_campaign(
        name=campaign.name,
        description=campaign.description,
        variant=campaign.variant_name,
        seed=study.seed,
        runs={key: summarise_run(run) for key, run in runs.items()},
        shows={experiment.id: experiment.shows for experiment in campaign.experiments},
        versions=load_versions(),
        host=asdict(host),
        not_run=[not_run_experiment(key, trial.scenario.name, len(trial.plan)) for key, trial in missing.items()],
        interrupted=interrupted,
        published=[] if campaign.published is None else published_rows(as_table(campaign.published)),
        sensitivity=sensitivity,
        design_choices=() if choices is None else choices.choices,
    )


def _save(out: Path, summary: Json) -> None:
    save_bytes(out / SUMMARY_FILE, dump_summary(summary))
