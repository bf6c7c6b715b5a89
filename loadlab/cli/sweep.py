"""`loadlab sweep`: runs over a grid of scenario and cluster keys, as one tidy table."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.cli import http_flags
from loadlab.cli.http_flags import HttpFlags
from loadlab.cli.targets import parse_target
from loadlab.errors import InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.sweep import Job, Sweep
    from loadlab.cli.screen import Screen
    from loadlab.scenario.model import Scenario

EPILOG = """Examples:

  loadlab sweep scenarios/smoke.toml --target sim:scenarios/clusters/t4-14b.toml --over rate=0.5,1,2/s --over max_running=8,32 --seeds 3

  loadlab sweep scenarios/smoke.toml --target sim:scenarios/clusters/t4-14b.toml --over prompt.median=512,2k --over rate=1..4/s --plan

  loadlab sweep scenarios/smoke.toml --from runs/a --from runs/b --over rate --slo ttft=2s --out both

Keys: rate; short names such as tp, replicas, max_running, prompt.median; or any key, as scenario:classes.chat.timeout_s and
cluster:pools.llm.engine.max_batched_tokens, where * stands for every name. tiers.shares.NAME is a router's share; the other tiers take the
rest. With rate as an axis and an SLO, the capacity of every other combination is told.
"""


def sweep(
    scenario: Annotated[Path, typer.Argument(help="A scenario file.", show_default=False)],
    over: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUES: an axis of the grid; may be repeated. With --from: KEY, one in which the runs differ.", show_default=False
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What to load: sim:CLUSTER.toml, or http://HOST:PORT.", metavar="sim:CLUSTER|URL", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs in each cell, each with a seed of its own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="The first seed.")] = 1,
    requests: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests of each run. Default: as the scenario says.", show_default=False)
    ] = None,
    slo: Annotated[list[str] | None, typer.Option(help="A limit of the SLO, such as ttft=800ms.", show_default=False)] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Where to simulate: dask://HOST:PORT or ray://HOST:PORT. Default: every core here.", show_default=False),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would run and how long it takes; simulates one point to know.")] = False,
    from_runs: Annotated[
        list[Path] | None, typer.Option("--from", help="A run directory as one point; may be repeated. Nothing is run.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make. Default: a new one under runs/.", show_default=False)] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the sweep in this folder.", show_default=False)] = None,
    model: http_flags.Model = None,
    api_key_env: http_flags.ApiKeyEnv = None,
    api_key_file: http_flags.ApiKeyFile = None,
    max_in_flight: http_flags.MaxInFlight = None,
    yes: http_flags.Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print sweep.json on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Run a scenario at every combination of the values of --over, and keep one row for each run.

    On the simulator the points run on every core; over HTTP one after another, each into a run directory. Ctrl-C keeps the points that
    ended. With --from, the rows are those of runs that exist.
    """
    from loadlab.campaign.sweep import Sweep, conditions_of_jobs, prepare_jobs
    from loadlab.campaign.target import target_name
    from loadlab.campaign.trial import default_out, host_facts
    from loadlab.cli.screen import Screen
    from loadlab.planning.grid import parse_axis
    from loadlab.scenario.files import load_scenario
    from loadlab.scenario.judgement import with_flags
    from loadlab.scenario.library import find_scenario

    if out is not None and resume is not None:
        raise InputError("--out and --resume cannot be given together: --resume names the folder")
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    held = with_flags(load_scenario(find_scenario(scenario)), slo or [])
    where = resume or out or default_out(f"sweep-{scenario.stem}")
    if from_runs:
        if target is not None or resume is not None or plan:
            raise InputError("takes runs that exist: leave --target, --resume and --plan out", key="--from")
        _from_runs(held, from_runs, over or [], where, screen, as_json=as_json)
        return
    if not over:
        raise InputError("is missing: an axis of the grid, such as --over rate=1..8/s; or --from RUN for runs that exist", key="--over")
    http = HttpFlags(
        model=model, api_key_env=api_key_env, api_key_file=api_key_file, max_in_flight=max_in_flight, abort_on=None, timeout="10min",
        idle_timeout="60s", insecure=False, preflight=True, tokenizer=None, yes=yes,
    )  # fmt: skip
    aim = parse_target(target, http, screen)
    assert aim is not None
    asked = Sweep(
        scenario=held, target=aim, axes=tuple(parse_axis(text) for text in over), seeds=seeds,
        seed=seed, requests=requests, out=where, host=host_facts(sys.argv),
    )  # fmt: skip
    if plan:
        with TemporaryDirectory() as folder:
            planned = replace(asked, out=Path(folder))
            _print_plan(planned, prepare_jobs(planned), screen)
        return
    jobs = prepare_jobs(asked)
    if not isinstance(aim, Path):
        from loadlab.scenario.build import build_plan

        http_flags.confirm(aim, [build_plan(job.scenario, job.point.seed) for job in jobs], yes=yes)
    rows = _run(asked, jobs, backend, screen, is_resumed=resume is not None)
    facts = {"target": target_name(aim), "seeds": seeds, "seed": seed, "conditions": conditions_of_jobs(jobs)}
    _deliver(held, rows, [axis.name for axis in asked.axes], facts, where, screen, as_json=as_json)


def _from_runs(held: Scenario, paths: list[Path], named: list[str], out: Path, screen: Screen, *, as_json: bool) -> None:
    from loadlab.campaign.sweep_runs import conditions_of_runs, rows_of_runs, target_of_runs
    from loadlab.schema import as_table
    from loadlab.slo import read_slos

    if (out / "sweep.csv").exists():
        raise InputError("exists: choose another --out", source=str(out / "sweep.csv"))
    rows, axes = rows_of_runs(paths, named, read_slos(as_table(held), held.name))
    cells = [tuple(row[axis] for axis in axes) for row in rows]
    facts = {"target": target_of_runs(paths), "seeds": max(map(cells.count, cells)), "seed": rows[0]["seed"]}
    facts["conditions"] = conditions_of_runs(paths)
    _deliver(held, rows, axes, facts, out, screen, as_json=as_json)


def _run(asked: Sweep, jobs: list[Job], backend: str | None, screen: Screen, *, is_resumed: bool) -> list[dict[str, Any]]:
    from loadlab.campaign.backends import joblib_backend
    from loadlab.campaign.sweep import run_sweep

    try:
        with screen.progress("points") as progress, joblib_backend(backend):
            return run_sweep(asked, jobs, lambda done, all_: progress("points", done, all_), resume=is_resumed)
    except KeyboardInterrupt:
        raise RunInterruptedError(f"points that ended are kept in {asked.out}; go on with --resume {asked.out}") from None


def _print_plan(asked: Sweep, jobs: list[Job], screen: Screen) -> None:
    """What would run, and an estimate from its middle point."""
    import os

    import numpy as np

    from loadlab.campaign.sweep import run_point
    from loadlab.units import format_duration

    for axis in asked.axes:
        screen.say(f"{axis.name if axis.name == axis.key else f'{axis.name} ({axis.key})'}: {', '.join(map(str, axis.values))}")
    screen.say(f"{len(jobs):,} runs, {asked.seeds} a cell")
    if isinstance(asked.target, Path):
        begun = time.monotonic()
        run_point(jobs[len(jobs) // 2])
        spent_s, cores = time.monotonic() - begun, os.cpu_count() or 1
        whole, one = format_duration(spent_s * len(jobs) / cores), format_duration(spent_s)
        screen.say(f"about {whole} on {cores} cores, if all are like the middle one ({one})")
        return
    from loadlab.scenario.build import build_plan

    lasts_s = sum(float(np.nanmax(build_plan(job.scenario, job.point.seed).arrival_s)) for job in jobs)
    screen.say(f"about {format_duration(lasts_s)} of arrivals, one run after another; each also starts, and waits for its last answers")


def _deliver(
    held: Scenario, rows: list[dict[str, Any]], names: list[str], facts: dict[str, Any], out: Path, screen: Screen, *, as_json: bool
) -> None:  # fmt: skip
    from loadlab.cli.break_even import command_line, print_json
    from loadlab.record.manifest import load_versions
    from loadlab.report.capacity import slo_text
    from loadlab.report.sweep import build_frame, capacities, print_sweep, save_sweep
    from loadlab.schema import as_table
    from loadlab.slo import read_slos

    frame = build_frame(rows)
    slos = read_slos(as_table(held), held.name)
    found = [] if slos is None else capacities(frame, names, 1 - slos.target_of(None))
    print_sweep(frame, names, screen.tables, found)
    asked = {"slo_text": "", "target_share": None} if slos is None else {"slo_text": slo_text(slos), "target_share": slos.target_of(None)}
    facts = {"name": held.name, **asked, **facts, "versions": load_versions(), "command": command_line()}
    with screen.busy("drawing the figures"):
        summary = save_sweep(frame, names, out, facts, found)
    screen.say(f"table and figures: {out}")
    screen.say(f"report: {out / 'report.html'}")
    if as_json:
        print_json(summary)
    sys.stdout.flush()
