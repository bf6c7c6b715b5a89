"""What a trial is sent to: a cluster file, to be simulated, or an HTTP endpoint. Closed: a third kind fails type checking here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, assert_never

from loadlab.campaign.ceiling import load_ceiling
from loadlab.engines.base import LoadEngine
from loadlab.engines.endpoint import Endpoint
from loadlab.engines.live import Watch
from loadlab.engines.locust import LocustEngine, Say
from loadlab.engines.simulation import SimulationEngine, check_plan
from loadlab.errors import InputError
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.prompts import check_images
from loadlab.scenario.tokenizer_file import load_tokenizer
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.slo import parse_threshold
from loadlab.wire.error_texts import TABLE_VERSION
from loadlab.wire.tokens import ESTIMATE

Target: TypeAlias = Path | Endpoint


def check_target(target: Target, plan: RequestPlan) -> None:
    """Raises InputError if the target is none, or if it and the plan do not suit. Sends nothing."""
    match target:
        case Path():
            check_plan(plan, _cluster(target, 0))
        case Endpoint():
            check_images(plan)
            if target.tokenizer is not None:
                load_tokenizer(target.tokenizer)
        case _:
            assert_never(target)


def check_thresholds(target: Target, thresholds: Sequence[str]) -> None:
    """Raises InputError if one is on a server that nobody listens to: it would fail for want of a number, after the run."""
    if isinstance(target, Path) or target.metrics:
        return
    for text in thresholds:
        if parse_threshold(text).metric.is_of_server:
            raise InputError(f"{text!r} needs the server's own page: --metrics http://HOST:PORT/metrics", key="thresholds")


def engine_of(
    target: Target,
    classes: Mapping[str, TrafficClass],
    seed: int,
    run_id: str,
    *,
    itl: bool = True,
    watch: Watch | None = None,
    folder: Path | None = None,
    say: Say | None = None,
) -> LoadEngine:
    """What replays a plan on the target, once. `run_id` begins each X-Request-ID; `itl` False spares the simulator some work.

    `folder` and `say`: see LocustEngine.
    """
    match target:
        case Path():
            return SimulationEngine(_cluster(target, seed), itl=itl)
        case Endpoint():
            return LocustEngine(target, classes, run_id, watch, load_ceiling(), folder=folder, say=say)
        case _:
            assert_never(target)


def engine_name(target: Target) -> str:
    """The `engine` of a manifest."""
    match target:
        case Path():
            return "simulation"
        case Endpoint():
            return "locust"
        case _:
            assert_never(target)


def target_name(target: Target) -> str:
    """The `target` of a manifest: sim:FILE, or the URL; no secret is in it."""
    match target:
        case Path():
            return f"sim:{target.as_posix()}"
        case Endpoint():
            return target.url
        case _:
            assert_never(target)


def conditions_of(target: Target, plan: RequestPlan, seed: int) -> list[Mapping[str, Any]]:
    """The `conditions` of a manifest: one table per pool of a cluster; one for an endpoint."""
    match target:
        case Path():
            return list(_cluster(target, seed).conditions())
        case Endpoint():
            return [_endpoint_conditions(target, plan)]
        case _:
            assert_never(target)


def _cluster(file: Path, seed: int) -> SimulatedCluster:
    """A fresh cluster: nothing of an earlier replay is left in it."""
    return SimulatedCluster(load_cluster(file), str(file), seed)


def _endpoint_conditions(endpoint: Endpoint, plan: RequestPlan) -> Mapping[str, Any]:
    tls = "none" if endpoint.scheme == "http" else "NOT VERIFIED (--insecure)" if endpoint.insecure else "verified"
    return {
        "url": endpoint.url,
        "models": {name: endpoint.served_model(name) for name in plan.model.names},
        "tls": tls,
        "api_key": "none" if endpoint.api_key is None else "sent, not recorded",
        "max_in_flight": endpoint.max_in_flight,
        "timeout_s": endpoint.timeout_s,
        "idle_timeout_s": endpoint.idle_s,
        "abort_on": [str(rule) for rule in endpoint.abort_on],
        "preflight": endpoint.preflight,
        "metrics": [page.url for page in endpoint.metrics],
        "workers": endpoint.spread.workers,
        "tokenizer": ESTIMATE.label if endpoint.tokenizer is None else endpoint.tokenizer.as_posix(),
        "error_texts": TABLE_VERSION,
    }
