"""`--to mlflow`: the run in an MLflow tracking store, beside models and their evaluations. Needs the extra `mlflow`.

Parameters say what was asked, metrics what came of it (with `.low` and `.high` where the data bound them), tags which run it is; summary
and report are artifacts. Experiment: MLFLOW_EXPERIMENT_NAME, else "loadlab".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from loadlab.errors import InputError
from loadlab.export.rows import began_s, facts_of
from loadlab.record.manifest import MANIFEST_FILE
from loadlab.record.run_dir import REPORT_FILE, RunDir
from loadlab.report.summary import dump_summary, summarise_run

Json = Mapping[str, Any]
DEFAULT_EXPERIMENT = "loadlab"
_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")
_LONGEST_PARAM = 500  # characters; MLflow's own limit is 6,000 in newer stores and 500 in older ones
_PARAMS_AT_ONCE = 100  # MLflow's limit of a batch


def log_to_mlflow(run: RunDir, tracking_uri: str) -> str:
    """Logs the run as one run of the store; returns its identity. Raises InputError without mlflow, or if the store refuses."""
    try:
        import mlflow
        from mlflow.entities import Metric, Param, RunTag
    except ModuleNotFoundError:
        raise InputError("= mlflow needs mlflow: pip install 'loadlab[mlflow]'", key="--to") from None
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7 keep a wrong address silent for minutes
    summary = summarise_run(run)
    at_ms = int(began_s(run) * 1e3)
    params = [Param(key, value[:_LONGEST_PARAM]) for key, value in parameters(run.manifest.scenario)]
    tags = [RunTag(f"loadlab.{key}", str(value)) for key, value in facts_of(run).items() if value is not None]
    try:
        client = mlflow.MlflowClient(tracking_uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        identity = client.create_experiment(name) if experiment is None else experiment.experiment_id
        made = client.create_run(identity, start_time=at_ms, run_name=run.manifest.name).info.run_id
        client.log_batch(made, metrics=[Metric(key, value, at_ms, 0) for key, value in metrics(summary)], tags=tags)
        for i in range(0, len(params), _PARAMS_AT_ONCE):
            client.log_batch(made, params=params[i : i + _PARAMS_AT_ONCE])
        client.log_text(made, dump_summary(summary).decode(), "summary.json")
        for file in (MANIFEST_FILE, REPORT_FILE):
            if (run.path / file).exists():
                client.log_artifact(made, str(run.path / file))
        client.set_terminated(made, status="FINISHED" if run.manifest.status == "complete" else "FAILED")
    except (mlflow.MlflowException, OSError) as error:
        raise InputError(f"could not be logged to: {error}", source=tracking_uri) from None
    return str(made)


def metrics(summary: Json) -> Iterator[tuple[str, float]]:
    """(name, value) of every estimate that is known: ttft.p95 and the like, in seconds, shares and 1/s, with .low and .high."""
    for key, metric in summary["metrics"].items():
        for statistic in _STATISTICS:
            yield from _bounds(f"{key.removesuffix('_s')}.{statistic}", metric[statistic])
    yield from _bounds("success_rate", summary["totals"]["success_rate"])
    for name in ("requests_per_s", "output_tokens_per_s", "prompt_tokens_per_s"):
        yield from _bounds(name, summary["throughput"][name])
    if summary["slo"] is not None:
        yield from _bounds("attainment", summary["slo"]["attainment"])
        yield from _bounds("goodput", summary["slo"]["goodput_per_s"])
    for outcome, count in summary["totals"].items():
        if isinstance(count, int):
            yield f"requests.{outcome}", float(count)


def _bounds(name: str, estimate: Json) -> Iterator[tuple[str, float]]:
    for bound, ending in (("value", ""), ("low", ".low"), ("high", ".high")):
        if estimate[bound] is not None:
            yield f"{name}{ending}", estimate[bound]


def parameters(scenario: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value) of a scenario's tables; names that MLflow has no letters for are spelt with "_"."""
    match scenario:
        case Mapping():
            for name, item in scenario.items():
                clean = "".join(c if c.isalnum() or c in "_-. /" else "_" for c in str(name))
                yield from parameters(item, f"{key}.{clean}" if key else clean)
        case list():
            for i, item in enumerate(scenario):
                yield from parameters(item, f"{key}.{i}")
        case None:
            return
        case _:
            yield key, str(scenario)
