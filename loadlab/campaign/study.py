"""A campaign: its experiments one after another into DIR/<id>/, variants of them beside the totals, one summary over all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadlab.campaign.sensitivity import Ends, ends_of_rows, vary
from loadlab.campaign.target import Target
from loadlab.campaign.trial import Trial, prepare, record
from loadlab.engines.base import Progress, RunStoppedError
from loadlab.engines.endpoint import TargetUnreachableError
from loadlab.engines.live import Watch
from loadlab.errors import InputError, RunInterruptedError
from loadlab.record.atomic_file import save_bytes
from loadlab.record.manifest import MANIFEST_FILE, HostFacts, Status, load_versions
from loadlab.record.run_dir import SUMMARY_FILE, RunDir
from loadlab.report.summary import dump_summary, load_table, not_run_experiment, published_rows, summarise_campaign, summarise_run
from loadlab.scenario.files import experiment_seed
from loadlab.scenario.model import Campaign, Experiment
from loadlab.schema import as_table

Json = dict[str, Any]
StudyProgress = Callable[[str, int, int], None]  # (what, requests done, requests planned): of all experiments, then of all variants
NO_SENSITIVITY = "stopped while the variants ran: every experiment is recorded, this table is missing; --resume makes it"
NOT_VARIED = "not made over HTTP: it would send the whole campaign again for every value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A campaign with every plan built and checked: the trials of its experiments by id, and of its sensitivity by value."""

    campaign: Campaign
    seed: int
    trials: Mapping[str, Trial]
    sensitivity: Mapping[float, Mapping[str, Trial]]

    @property
    def planned(self) -> int:
        """Requests of the experiments; those of the sensitivity's variants are counted apart."""
        return sum(len(trial.plan) for trial in self.trials.values())


def prepare_study(campaign: Campaign, seed: int, target: Target | None = None) -> Study:
    """A study that can run. Touches nothing. Raises InputError, naming the experiment, if any of it is bad.

    `target` takes the place of every experiment's cluster. Over HTTP nothing is varied: it would send the whole campaign again and again.
    """
    trials = _trials(campaign, seed, target)
    key = campaign.sensitivity if target is None or isinstance(target, Path) else None
    varied = {} if key is None else {value: _trials(campaign.with_value(key.key, value), seed, target) for value in key.values}
    return Study(campaign=campaign, seed=seed, trials=trials, sensitivity=varied)


def _trials(campaign: Campaign, seed: int, target: Target | None) -> dict[str, Trial]:
    """An experiment draws with a seed of its own, unless the campaign compares clusters under the same traffic."""
    seeds = {e.id: seed if campaign.same_seed else experiment_seed(seed, e.id) for e in campaign.experiments}
    return {e.id: _prepare_experiment(e, e.cluster if target is None else target, seeds[e.id]) for e in campaign.experiments}


def _prepare_experiment(experiment: Experiment, target: Target, seed: int) -> Trial:
    try:
        return prepare(experiment.scenario, target, seed)
    except InputError as error:
        raise InputError(f"experiment {experiment.id}: {error}") from None


def run_study(
    study: Study, out: Path, host: HostFacts, progress: StudyProgress, *, resume: bool = False, watch: Watch | None = None
) -> Json:
    """Runs what is missing in `out` and writes its summary.json. Returns the summary. `watch` sees runs over HTTP as they stand.

    Without `resume`, `out` must not exist or be empty. Where a target is lost or a rule stops a run, the summary of what ran is written
    before the error goes on. On KeyboardInterrupt it is written, too, and RunInterruptedError raised: the status is aborted, or complete
    without sensitivity where only variants were left. Raises InputError if `out` holds another campaign's runs.
    """
    finished = _finished(study, out) if resume else {}
    _check_out(out, resume=resume)
    seen = {key: _look(study, key, run) for key, run in finished.items()}
    done = sum(run.manifest.planned for run in finished.values())
    try:
        for key, trial in study.trials.items():
            if key not in finished:
                shown = _shifted(progress, f"{key} {trial.scenario.name}", done, study.planned)
                run = record(trial, out / key, host, shown, replace=resume, watch=watch, summarise=False)
                seen[key] = _look(study, key, run)
                run.save_summary(dump_summary(seen[key].summary))
                done += len(trial.plan)
    except (TargetUnreachableError, RunStoppedError):
        _save(out, _summarise(study, _readable(study, out), host, None, interrupted=True))
        raise
    except KeyboardInterrupt:
        _save(out, _summarise(study, _readable(study, out), host, None, interrupted=True))
        raise RunInterruptedError(f"what was recorded is kept in {out}; go on with --resume {out}") from None
    summaries, varied = {key: seen[key].summary for key in study.trials}, study.campaign.sensitivity
    if varied is not None and not study.sensitivity:
        summary = _summarise(study, summaries, host, None, sensitivity_note=NOT_VARIED)
        _save(out, summary)
        return summary
    try:
        ends = {key: its.ends for key, its in seen.items() if its.ends is not None}
        sensitivity = None if varied is None else vary(varied, study.sensitivity, ends, progress)
    except KeyboardInterrupt:
        _save(out, _summarise(study, summaries, host, None, sensitivity_note=NO_SENSITIVITY))
        said = f"every experiment is recorded in {out}, and its summary is complete but for the totals by {_varied_key(study)}"
        raise RunInterruptedError(f"{said}; make those with --resume {out}") from None
    summary = _summarise(study, summaries, host, sensitivity)
    _save(out, summary)
    return summary


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one reading of a run's rows told."""

    summary: Json
    ends: Ends | None  # where variants will ask


def _look(study: Study, key: str, run: RunDir) -> _Seen:
    table = load_table(run)
    summary = summarise_run(run, table)
    return _Seen(summary, ends_of_rows(study.trials[key].plan, table) if study.sensitivity else None)


def _shifted(progress: StudyProgress, what: str, before: int, planned: int) -> Progress:
    """Progress of one run as part of the study's."""
    return lambda done, _: progress(what, before + done, planned)


def _check_out(out: Path, *, resume: bool) -> None:
    if resume:
        return
    if out.is_file():
        raise InputError("exists and is a file; choose another --out", source=str(out))
    if out.is_dir() and any(out.iterdir()):
        is_campaign = any(out.glob(f"*/{MANIFEST_FILE}"))
        advice = f"pass --resume {out} to go on with the campaign in it, or another --out" if is_campaign else "choose another --out"
        raise InputError(f"exists and is not empty; {advice}", source=str(out))


def _finished(study: Study, out: Path) -> dict[str, RunDir]:
    """Run directories of `out` that are complete and belong to this very study."""
    if not out.is_dir():
        raise InputError("does not exist, so there is nothing to resume; use --out to begin", source=str(out))
    finished = {}
    for key, trial in study.trials.items():
        if (out / key / MANIFEST_FILE).exists():
            run = RunDir.open(out / key)
            _check_same(run, trial, study.campaign)
            if run.manifest.status is Status.COMPLETE and (run.path / SUMMARY_FILE).exists():
                finished[key] = run
    return finished


_SAME = {"name": "name", "seed": "seed", "plan_digest": "traffic (the plan differs)", "conditions": "cluster", "versions": "version"}


def _check_same(run: RunDir, trial: Trial, campaign: Campaign) -> None:
    """Raises InputError, naming what differs, unless the run was made from equal inputs by an equal version."""
    asked, found = as_table(trial.manifest(run.manifest.host)), as_table(run.manifest)
    for what, words in _SAME.items():
        if asked[what] != found[what]:
            key, was, now = next(_differences(found[what], asked[what], what))
            detail = "" if what in ("seed", "plan_digest") else f": {key} was {was!r} and is {now!r} now"  # the seed is a derived one
            variant = "no --variant" if campaign.variant_name is None else f"--variant {campaign.variant_name}"
            hint = f" (this command has {variant})" if what == "conditions" and campaign.variants else ""
            advice = "Give the seed, variant and files that it was made with, or another --out"
            raise InputError(f"was made with another {words}{detail}{hint}. {advice}", source=str(run.path))


def _differences(was: Any, now: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, was, now) of each leaf in which two trees differ; a pool of the conditions goes by its name."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in sorted({*was, *now}):
            yield from _differences(was.get(name), now.get(name), f"{key}.{name}")
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for i, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _differences(one, other, str(one.get("pool", i)) if isinstance(one, Mapping) else f"{key}[{i}]")
    elif was != now:
        yield key, was, now


def _readable(study: Study, out: Path) -> dict[str, Json]:
    return {key: summarise_run(RunDir.open(out / key)) for key in study.trials if (out / key / MANIFEST_FILE).exists()}


def _varied_key(study: Study) -> str:
    return "" if study.campaign.sensitivity is None else study.campaign.sensitivity.key


def _summarise(
    study: Study,
    runs: Mapping[str, Json],
    host: HostFacts,
    sensitivity: Json | None,
    *,
    sensitivity_note: str | None = None,
    interrupted: bool = False,
) -> Json:
    campaign = study.campaign
    missing = {key: trial for key, trial in study.trials.items() if key not in runs}
    choices = campaign.design_choices
    return summarise_campaign(
        name=campaign.name,
        description=campaign.description,
        variant=campaign.variant_name,
        seed=study.seed,
        runs=runs,
        shows={experiment.id: experiment.shows for experiment in campaign.experiments},
        versions=load_versions(),
        host=asdict(host),
        not_run=[not_run_experiment(key, trial.scenario.name, len(trial.plan)) for key, trial in missing.items()],
        interrupted=interrupted,
        published=[] if campaign.published is None else published_rows(as_table(campaign.published)),
        sensitivity=sensitivity,
        sensitivity_note=sensitivity_note,
        design_choices=() if choices is None else choices.choices,
    )


def _save(out: Path, summary: Json) -> None:
    save_bytes(out / SUMMARY_FILE, dump_summary(summary))
