"""A trial sent as one worker of a run that another machine records."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from loadlab.campaign.trial import Trial
from loadlab.engines.endpoint import Endpoint, resolve
from loadlab.engines.joining import send_share
from loadlab.engines.locust import LocustEngine
from loadlab.engines.messages import Link
from loadlab.engines.spread import JOIN_WITHIN_S
from loadlab.errors import InputError
from loadlab.scenario.plan_bytes import dump_plan


def join(trial: Trial, out: Path, host: str, port: int, token: str, say: Callable[[str], None]) -> int:
    """Sends a share of the trial's plan for the master at `host`; its own copy of the rows is under `out`. How many rows it told.

    Raises InputError where `out` holds something, and what `send_share` raises.
    """
    assert isinstance(trial.target, Endpoint), "a simulated cluster has no workers"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and is not empty; choose another --out for this worker's copy of its rows", source=str(out))
    name = socket.gethostname()
    link = Link(host=host, port=port, token=token, name=name, folder=str(out), version=version("loadlab"), join_within_s=JOIN_WITHIN_S)
    columns = dump_plan(trial.plan)
    engine = LocustEngine(trial.target, trial.scenario.classes, "")
    return send_share(engine.job(trial.plan, resolve(trial.target), len(columns)), columns, link, say)
