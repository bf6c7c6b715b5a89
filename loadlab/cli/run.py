"""`loadlab run`: one scenario, or every experiment of a campaign, replayed against a target."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.cli import http_flags, slo_flags, spread_flags
from loadlab.cli.catalog import GpusOption, ModelsOption, extend
from loadlab.cli.http_flags import HttpFlags
from loadlab.cli.spread_flags import SpreadFlags
from loadlab.cli.targets import parse_target
from loadlab.errors import ExitCode, InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.target import Target
    from loadlab.cli.screen import Screen
    from loadlab.record.manifest import HostFacts
    from loadlab.scenario.model import Campaign, Scenario

EPILOG = """Examples:

  loadlab run scenarios/t4-study --seed 1 --out runs/t4

  loadlab run scenarios/replay.toml --trace trace.csv --target sim:scenarios/clusters/t4-14b.toml --json

  loadlab run scenarios/smoke.toml --target sim:scenarios/clusters/t4-14b.toml --threshold "ttft.p95 < 3s" --slo ttft=2s

  loadlab run scenarios/smoke.toml --target http://127.0.0.1:8000 --model llama-3-8b --abort-on "error_rate > 50% for 30s"

  loadlab run scenarios/smoke.toml --target http://127.0.0.1:8000 --model llama-3-8b \\
      --metrics http://127.0.0.1:8000/metrics --threshold "server.kv_usage.max < 95%"
"""


def run(
    scenario: Annotated[
        Path, typer.Argument(help="A scenario file, the folder of a campaign, or the name of a shipped one.", show_default=False)
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="What to load: sim:CLUSTER.toml, a simulated cluster, or http://HOST:PORT. A campaign names its clusters itself.",
            metavar="sim:CLUSTER|URL",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="A variant of a campaign, such as naive.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Draws the plan. Equal seeds give equal runs.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Run directory to make. Default: a new one under runs/.", show_default=False)] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a campaign that was stopped: run what is missing in this directory.", show_default=False)
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Trace file, for a scenario that replays one.", show_default=False)] = None,
    window_start: Annotated[str | None, typer.Option(help='Begin of the window of the trace, such as "10min".', show_default=False)] = None,
    window: Annotated[str | None, typer.Option(help='Length of the window of the trace, such as "300s".', show_default=False)] = None,
    threshold: slo_flags.ThresholdTexts = None,
    slo: slo_flags.SloTexts = None,
    undecided: slo_flags.UndecidedFlag = slo_flags.Undecided.PASS,
    model: http_flags.Model = None,
    api_key_env: http_flags.ApiKeyEnv = None,
    api_key_file: http_flags.ApiKeyFile = None,
    max_in_flight: http_flags.MaxInFlight = None,
    abort_on: http_flags.AbortOn = None,
    timeout: http_flags.Timeout = "10min",
    idle_timeout: http_flags.IdleTimeout = "60s",
    insecure: http_flags.Insecure = False,
    preflight: http_flags.Preflight = True,
    tokenizer: http_flags.Tokenizer = None,
    metrics: http_flags.Metrics = None,
    workers: spread_flags.Workers = None,
    master: spread_flags.MasterFlag = False,
    expect_workers: spread_flags.ExpectWorkers = None,
    bind: spread_flags.Bind = None,
    worker: spread_flags.WorkerFlag = False,
    master_host: spread_flags.MasterHost = None,
    master_port: spread_flags.MasterPort = None,
    web_ui: spread_flags.WebUi = None,
    yes: http_flags.Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json on stdout, and nothing else; tables go to stderr.")] = False,
    write_report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html with figures.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
    band: Annotated[
        bool, typer.Option("--band/--no-band", help="Simulate a single run twice more, for the band of its prediction.", show_default=True)
    ] = True,
    models: ModelsOption = None,
    gpus: GpusOption = None,
) -> None:
    """Replay a scenario, or every experiment of a campaign, and write a run directory.

    Each planned request leaves one row in requests.jsonl; summary.json and report.html are made from the rows.
    Ctrl-C keeps what was recorded; over HTTP it waits for what is in flight, and a second one does not.

    Tables go to stdout, progress and errors to stderr.

    Exit codes: 0 every request is accounted for (not: succeeded) and no threshold failed, 2 bad input, 96 target unreachable,
    97 incomplete, 98 the load generator spoilt the measurement, 99 a threshold failed, 130 interrupted.
    """
    from loadlab.campaign.trial import default_out, host_facts
    from loadlab.cli.screen import Screen
    from loadlab.scenario.files import is_campaign
    from loadlab.scenario.library import find_scenario

    scenario = find_scenario(scenario)
    signal.signal(signal.SIGTERM, _interrupt)
    extend(models, gpus)
    if out is not None and resume is not None:
        raise InputError("--out and --resume cannot be given together: --resume names the directory")
    where = resume or out or default_out(scenario.resolve().stem)
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    flags = {"--trace": trace, "--window-start": window_start, "--window": window}
    http = HttpFlags(
        model=model, api_key_env=api_key_env, api_key_file=api_key_file, max_in_flight=max_in_flight, abort_on=abort_on,
        timeout=timeout, idle_timeout=idle_timeout, insecure=insecure, preflight=preflight, tokenizer=tokenizer, metrics=metrics, yes=yes,
        spread=SpreadFlags(
            workers=workers, master=master, expect_workers=expect_workers, bind=bind, worker=worker, master_host=master_host,
            master_port=master_port, web_ui=web_ui,
        ),
    )  # fmt: skip
    if (worker or master) and is_campaign(scenario):
        raise InputError("belongs to a single scenario; a campaign may have --workers", key="--worker" if worker else "--master")
    if worker:
        _send_as_worker(_load_scenario(scenario, trace, window_start, window), target, http, seed, where, screen)
        return
    aim = parse_target(target, http, screen, is_campaign=is_campaign(scenario), scenario=scenario)
    try:
        if is_campaign(scenario):
            _refuse_flags(flags, "belongs to a single scenario; a campaign names its clusters and traces itself")
            campaign = slo_flags.campaign_held_to(_load_campaign(scenario, variant, aim), slo, threshold)
            summary = _run_campaign(campaign, seed, where, screen, host_facts(sys.argv), aim, yes=yes, resume=resume is not None)
        else:
            _refuse_flags({"--variant": variant, "--resume": resume}, "belongs to a campaign; this is a single scenario")
            windowed = slo_flags.held_to(_load_scenario(scenario, trace, window_start, window), slo, threshold)
            assert aim is not None, "a single scenario has a target"
            summary = _run_single(windowed, aim, seed, where, screen, host_facts(sys.argv), yes=yes, band=band)
    except RunInterruptedError:
        _print_json(where, as_json=as_json)
        raise
    _finish(summary, where, screen, as_json=as_json, write_report=write_report)
    slo_flags.exit_if_failed(summary, undecided)


def _send_as_worker(scenario: Scenario, target: str | None, http: HttpFlags, seed: int, out: Path, screen: Screen) -> None:
    """Joins a master, which judges and records; here only this machine's copy of its rows is left."""
    from loadlab.campaign.joining import join
    from loadlab.campaign.trial import prepare

    aim = parse_target(target, http, screen)
    assert http.spread is not None
    host, port, token = spread_flags.master_of(http.spread)
    if aim is None or isinstance(aim, Path):
        raise InputError("belongs to a target over HTTP, such as --target http://127.0.0.1:8000", key="--worker")
    trial = prepare(scenario, aim, seed)
    http_flags.confirm(aim, [trial.plan], yes=http.yes)
    try:
        rows = join(trial, out, host, port, token, screen.say)
    except KeyboardInterrupt:
        raise RunInterruptedError(f"this worker's copy of its rows is kept in {out}") from None
    screen.say(f"{rows:,} rows told to the master; this machine's copy: {out}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _refuse_flags(flags: dict[str, Any], why: str) -> None:
    for flag, value in flags.items():
        if value is not None:
            raise InputError(why, key=flag)


def _load_scenario(path: Path, trace: Path | None, window_start: str | None, window: str | None) -> Scenario:
    from loadlab.scenario.files import load_scenario
    from loadlab.scenario.model import with_trace

    scenario = load_scenario(path)
    start_s, for_s = _duration("--window-start", window_start), _duration("--window", window)
    if trace is None:
        _refuse_flags({"--window-start": window_start, "--window": window}, "needs --trace FILE")
        return scenario
    return with_trace(scenario, trace, start_s, for_s)


def _duration(flag: str, text: str | None) -> float | None:
    from loadlab.units import parse_count, parse_duration_s

    if text is None:
        return None
    try:
        return parse_count(text) if text[-1:].isdigit() else parse_duration_s(text)
    except ValueError as error:
        raise InputError(f"= {error}", key=flag) from None


def _run_single(
    scenario: Scenario, target: Target, seed: int, out: Path, screen: Screen, host: HostFacts, *, yes: bool, band: bool
) -> dict[str, Any]:
    from loadlab.campaign.prediction_band import write_band
    from loadlab.campaign.results import load_summary
    from loadlab.campaign.trial import prepare, record, write_summary
    from loadlab.cli.live import live_screen
    from loadlab.engines.base import RunStoppedError

    trial = prepare(scenario, target, seed)
    for warning in trial.warnings:
        screen.say(f"warning: {warning}")
    if not isinstance(target, Path):
        http_flags.confirm(target, [trial.plan], yes=yes)
    try:
        with live_screen(screen, scenario.name, target) as (progress, watch):
            run_dir = record(
                trial, out, host, lambda n, planned: progress(scenario.name, n, planned), watch=watch, summarise=False, say=screen.say
            )
        if band:
            with screen.progress("simulating both ends of the band") as show:
                write_band(trial, run_dir, lambda n, planned: show("simulating both ends of the band", n, planned))
        del trial  # a plan of a million requests, and the table of their rows, need not be in memory together
        return write_summary(run_dir)
    except KeyboardInterrupt:
        raise RunInterruptedError(f"what was recorded is kept in {out}; `loadlab report {out}` shows it") from None
    except RunStoppedError:
        screen.show(load_summary(out))
        raise


def _load_campaign(path: Path, variant: str | None, target: Target | None) -> Campaign:
    from loadlab.scenario.files import load_campaign

    campaign = load_campaign(path)
    if variant is None:
        return campaign
    if target is not None:
        raise InputError("names other clusters, and --target URL takes the place of all of them: leave one out", key="--variant")
    return campaign.variant(variant)


def _run_campaign(
    campaign: Campaign, seed: int, out: Path, screen: Screen, host: HostFacts, target: Target | None, *, yes: bool, resume: bool
) -> dict[str, Any]:
    from loadlab.campaign.study import prepare_study, run_study
    from loadlab.cli.live import live_screen

    study = prepare_study(campaign, seed, target)
    if target is not None and not isinstance(target, Path):
        http_flags.confirm(target, [trial.plan for trial in study.trials.values()], yes=yes)
    with live_screen(screen, campaign.name, target) as (progress, watch):
        return run_study(study, out, host, progress, resume=resume, watch=watch)


def _finish(summary: dict[str, Any], where: Path, screen: Screen, *, as_json: bool, write_report: bool) -> None:
    from loadlab.report.validity import is_invalid

    screen.show(summary)
    if write_report:
        from loadlab.campaign.results import save_report

        with screen.busy("drawing the report"):
            report_file = save_report(where, summary)
        screen.say(f"report: {report_file}")
    screen.say(f"rows and summary: {where}")
    _print_json(where, as_json=as_json)
    if summary["status"] != "complete":
        raise typer.Exit(ExitCode.INCOMPLETE)
    if is_invalid(summary):
        raise typer.Exit(ExitCode.INVALID)


def _print_json(where: Path, *, as_json: bool) -> None:
    """The bytes of summary.json on stdout, if they were asked for."""
    from loadlab.record.run_dir import SUMMARY_FILE

    if as_json and (where / SUMMARY_FILE).exists():
        sys.stdout.buffer.write((where / SUMMARY_FILE).read_bytes())
        sys.stdout.flush()
