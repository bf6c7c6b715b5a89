"""A baseline: the numbers of some runs in a small file that is committed beside the code, and compared with later.

It is keyed by the digest of the scenario: under other traffic the same numbers mean something else, so that a changed scenario is refused.
Each run keeps the digest of its plan, so that a candidate with the same seeds is paired with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from loadlab.analysis.readings import Reading, RunNumbers, default_metrics
from loadlab.campaign.sides import load_side, measure
from loadlab.campaign.trial import Trial
from loadlab.errors import InputError
from loadlab.record.atomic_file import save_bytes
from loadlab.record.manifest import MANIFEST_FILE, HostFacts, Status
from loadlab.slo import Metric, read_slos

BASELINE_SCHEMA = "loadlab/baseline/1"
Json = dict[str, Any]
_RUN_TYPES: Mapping[str, type] = {"plan_digest": str, "seed": int, "planned": int, "ok": int, "metrics": dict}
MAX_KEYS_SAID = 4  # in an error about a changed scenario
_TEXTS = ("name", "scenario_digest", "target", "saved_from", "loadlab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a baseline file holds."""

    name: str
    scenario_digest: str
    target: str
    saved_from: str  # wall time at which its first run began
    loadlab: str  # version that measured it
    scenario: Mapping[str, Any] = field(default_factory=dict)  # as resolved, without SLO and thresholds; empty in files without it
    runs: tuple[RunNumbers, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that each run has."""
        return tuple(self.runs[0].readings)


def build_baseline(path: Path, more: Sequence[Metric] = ()) -> Baseline:
    """The baseline of the runs at `path`: the usual metrics, and `more`. Raises InputError unless all are complete and of one scenario."""
    runs = load_side(path)
    first = runs[0].manifest
    digests = {run.manifest.scenario_digest for run in runs}
    if len(digests) > 1 or first.scenario_digest is None:
        says = "holds runs of several scenarios" if len(digests) > 1 else "does not know its scenario (it was imported)"
        raise InputError(f"{says}; a baseline is of one", source=str(path))
    for run in runs:
        if run.manifest.status is not Status.COMPLETE:
            raise InputError(f"is {run.manifest.status}: only complete runs make a baseline", source=str(run.path))
    slos = read_slos(first.scenario, str(runs[0].path / MANIFEST_FILE))
    metrics = list(dict.fromkeys((*default_metrics(slos), *more)))
    return Baseline(
        name=first.name,
        scenario_digest=first.scenario_digest,
        target=first.target,
        saved_from=first.host.t0,
        loadlab=first.versions.get("loadlab", "?"),
        scenario=_key_of(first.scenario),
        runs=tuple(measure(run, metrics, slos)[0] for run in runs),
    )


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Writes the file, whole or not at all: a line a metric and run, so that a change can be reviewed as a diff."""
    table = (
        {"schema": BASELINE_SCHEMA}
        | {name: getattr(baseline, name) for name in _TEXTS}
        | {"scenario": baseline.scenario}
        | {"runs": [_as_table(run) for run in baseline.runs]}
    )
    save_bytes(path, orjson.dumps(table, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _as_table(run: RunNumbers) -> Json:
    numbers = {name: {"value": _digits(r.value), "smoothed": _digits(r.smoothed)} for name, r in run.readings.items()}
    return {"plan_digest": run.plan_digest, "seed": run.seed, "planned": run.planned, "ok": run.ok, "metrics": numbers}


def _digits(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.9g}")


def is_baseline_file(path: Path) -> bool:
    """True of a file; a run directory, or a folder of them, is none."""
    return path.is_file()


def load_baseline(path: Path) -> Baseline:
    """The baseline that a file holds. Raises InputError naming file, line or key."""
    try:
        table = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}. `loadlab baseline save` writes one", source=str(path)) from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg})", source=str(path)) from None
    if not isinstance(table, dict) or table.get("schema") != BASELINE_SCHEMA:
        found = table.get("schema") if isinstance(table, dict) else None
        raise InputError(
            f"= {found!r} must be {BASELINE_SCHEMA!r}; is this a file of `loadlab baseline save`?", source=str(path), key="schema"
        )
    texts = {name: _checked(table, name, str, "", path) for name in _TEXTS}
    runs = _checked(table, "runs", list, "", path)
    if not runs:
        raise InputError("= [] must have at least one run", source=str(path), key="runs")
    found_runs = tuple(_run(run, f"runs[{i}]", texts["scenario_digest"], path) for i, run in enumerate(runs))
    if len({tuple(sorted(run.readings)) for run in found_runs}) > 1:
        raise InputError("do not all have the same metrics; save the baseline again", source=str(path), key="runs")
    scenario = _checked(table, "scenario", dict, "", path) if "scenario" in table else {}
    return Baseline(**texts, scenario=scenario, runs=found_runs)


def _run(table: Any, key: str, scenario_digest: str, path: Path) -> RunNumbers:
    if not isinstance(table, dict):
        raise InputError("must be an object", source=str(path), key=key)
    values = {name: _checked(table, name, kind, f"{key}.", path) for name, kind in _RUN_TYPES.items()}
    readings = {name: _reading(value, f"{key}.metrics.{name}", path) for name, value in values.pop("metrics").items()}
    return RunNumbers(label=f"{path}#{key}", scenario_digest=scenario_digest, readings=readings, **values)


def _reading(table: Any, key: str, path: Path) -> Reading:
    value: Any
    smoothed: Any
    value, smoothed = (table.get("value"), table.get("smoothed")) if isinstance(table, dict) else ("", "")
    if not all(x is None or type(x) in (int, float) for x in (value, smoothed)):
        raise InputError("must be {value, smoothed}, numbers or null", source=str(path), key=key)
    return Reading(value=value, smoothed=smoothed)


def _checked(table: Mapping[str, Any], name: str, kind: type, prefix: str, path: Path) -> Any:
    value = table.get(name)
    if type(value) is not kind:
        raise InputError(f"= {value!r} must be {kind.__name__}", source=str(path), key=f"{prefix}{name}")
    return value


def _key_of(scenario: Mapping[str, Any]) -> Json:
    """What of a scenario its digest is of: traffic, not what it is held to."""
    return {key: value for key, value in scenario.items() if key not in ("slo", "thresholds")}


def check_same_scenario(baseline: Baseline, digest: str | None, scenario: Mapping[str, Any], what: str, source: str) -> None:
    """Raises InputError, naming the keys, where `what` ran, or would run, other traffic than the baseline; `scenario` is that traffic."""
    if digest != baseline.scenario_digest:
        raise InputError(
            f"was saved for another scenario than {what}: {_changes_text(baseline, scenario, str(digest))}. Under other traffic its "
            "numbers mean something else. Undo the change, or measure anew and `loadlab baseline update RUNS FILE --new-scenario`",
            source=source,
        )


def _changes_text(baseline: Baseline, scenario: Mapping[str, Any], digest: str) -> str:
    was, now = dict(_leaves(baseline.scenario)), dict(_leaves(_key_of(scenario)))
    keys = [key for key in dict.fromkeys((*was, *now)) if was.get(key) != now.get(key)]
    if not was or not keys:
        return f"{baseline.scenario_digest[:19]} is not {digest[:19]} (which keys differ is not known)"
    said = [f"{key} {_was_and_is(was.get(key), now.get(key))}" for key in keys[:MAX_KEYS_SAID]]
    return ", ".join(said) + (f", and {len(keys) - MAX_KEYS_SAID} more keys" if len(keys) > MAX_KEYS_SAID else "")


def _was_and_is(was: str | None, now: str | None) -> str:
    if was is None:
        return f"is new ({now})"
    return f"is gone (it was {was})" if now is None else f"was {was} and is {now}"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as written) of every plain value in tables and lists; what is null counts as not there."""
    match value:
        case Mapping():
            for name, item in value.items():
                yield from _leaves(item, f"{key}.{name}" if key else str(name))
        case list() | tuple():
            for i, item in enumerate(value):
                yield from _leaves(item, f"{key}[{i}]")
        case None:
            return
        case _:
            yield key, orjson.dumps(value).decode()


def check_baseline_plans(baseline: Baseline, trials: Sequence[Trial], host: HostFacts, source: str) -> None:
    """Raises InputError, before anything runs, unless the trials are of the baseline's scenario and plans."""
    saved = {run.plan_digest for run in baseline.runs}
    for trial in trials:
        manifest = trial.manifest(host)
        check_same_scenario(baseline, manifest.scenario_digest, manifest.scenario, f"{trial.scenario.name} is now", source)
        if trial.plan.digest not in saved:
            raise InputError(
                f"has no run of the plan that seed {trial.seed} draws here (it was saved by loadlab {baseline.loadlab}); save it again",
                source=source,
            )
