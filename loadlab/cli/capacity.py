"""`loadlab capacity`: the highest rate that a target holds at an SLO, and how sure that is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.cli import http_flags
from loadlab.cli.http_flags import HttpFlags
from loadlab.cli.targets import parse_target
from loadlab.errors import InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.probing import Probing
    from loadlab.cli.screen import Screen
    from loadlab.planning.search import SearchResult

EPILOG = """Examples:

  loadlab capacity scenarios/smoke.toml --target sim:scenarios/clusters/t4-14b.toml --slo ttft=2s --slo target=95%

  loadlab capacity scenarios/smoke.toml --target sim:scenarios/clusters/t4-14b.toml --slo ttft=2s --rates 0.2,0.4,0.6,0.8,1/s --out cap
"""


def capacity(
    scenario: Annotated[Path, typer.Argument(help="A scenario file: its traffic at the rates that are tried.", show_default=False)],
    target: Annotated[
        str | None, typer.Option(help="What to load: sim:CLUSTER.toml, or http://HOST:PORT.", metavar="sim:CLUSTER|URL", show_default=False)
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(help="A limit of the SLO, such as ttft=800ms or target=99%, over the file's; may be repeated.", show_default=False),
    ] = None,
    rates: Annotated[str | None, typer.Option(help='Measure these instead of searching, such as "1,2,4/s".', show_default=False)] = None,
    requests: Annotated[int, typer.Option(min=100, max=1_000_000, help="Requests at each of --rates, or of --hybrid.")] = 2000,
    start: Annotated[str | None, typer.Option(help="Where the search begins. Default: the scenario's rate.", show_default=False)] = None,
    max_rate: Annotated[str | None, typer.Option(help="Never offer more than this, such as 20/s.", show_default=False)] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Measure four levels below 70 % of saturation, calibrate --cluster on them, simulate the rest.")
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(
            "--cluster", help="Of --hybrid: the cluster file to calibrate. Default: the target's.", metavar="C.toml", show_default=False
        ),
    ] = None,
    from_runs: Annotated[
        list[Path] | None, typer.Option("--from", help="A run directory to take as a level; may be repeated.", show_default=False)
    ] = None,
    band: Annotated[
        bool, typer.Option("--band", help="Simulate the capacity at both ends of the band of step times too, for break-even and fleet.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="Draws the plans; each probe has a seed of its own from it.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the journal, capacity.json and figure.", show_default=False)] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the study in this folder.", show_default=False)] = None,
    model: http_flags.Model = None,
    api_key_env: http_flags.ApiKeyEnv = None,
    api_key_file: http_flags.ApiKeyFile = None,
    max_in_flight: http_flags.MaxInFlight = None,
    timeout: http_flags.Timeout = "10min",
    idle_timeout: http_flags.IdleTimeout = "60s",
    insecure: http_flags.Insecure = False,
    preflight: http_flags.Preflight = True,
    tokenizer: http_flags.Tokenizer = None,
    metrics: http_flags.Metrics = None,
    yes: http_flags.Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print capacity.json on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Find how many arrivals a second hold at an SLO: the point, its 90 % interval, and a certified rate.

    A request is bad if it failed or broke a limit; the SLO's target says how many may be. Neighbouring requests share a queue, so that n of
    them count as n / tau. Certified: at 95 % confidence the capacity lies at most 2 % below that rate (with --rates and
    --from: not below it). The answer may be that nothing is bracketed, or proven: then it says what would settle it.
    """
    from loadlab.cli.screen import Screen

    if out is not None and resume is not None:
        raise InputError("--out and --resume cannot be given together: --resume names the folder")
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    http = HttpFlags(
        model=model, api_key_env=api_key_env, api_key_file=api_key_file, max_in_flight=max_in_flight, abort_on=None,
        timeout=timeout, idle_timeout=idle_timeout, insecure=insecure, preflight=preflight, tokenizer=tokenizer, metrics=metrics, yes=yes,
    )  # fmt: skip
    where = resume or out
    if band and (hybrid or from_runs or not (target or "").startswith("sim:")):
        raise InputError("goes with a search or --rates on sim:CLUSTER (a hybrid's interval has its band already)", key="--band")
    if hybrid:
        from loadlab.cli.capacity_hybrid import measure_hybrid

        if from_runs or rates is not None or start is not None or max_rate is not None:
            raise InputError("chooses its rates itself: leave --from, --rates, --start and --max-rate out", key="--hybrid")
        probing = _probing(scenario, target, http, slo or [], seed, where, screen)
        summary = measure_hybrid(probing, cluster, requests, where, screen, is_resumed=resume is not None)
    elif cluster is not None:
        raise InputError("goes with --hybrid", key="--cluster")
    elif from_runs:
        if target is not None or rates is not None:
            raise InputError("takes runs that exist: leave --target and --rates out", key="--from")
        summary = _from_runs(scenario, from_runs, slo or [], screen)
    else:
        probing = _probing(scenario, target, http, slo or [], seed, where, screen)
        summary = _measure(probing, rates, requests, start, max_rate, where, screen, is_resumed=resume is not None, is_banded=band)
    _deliver(summary, where, screen, as_json=as_json)


def _probing(scenario: Path, target: str | None, http: HttpFlags, slo: list[str], seed: int, out: Path | None, screen: Screen) -> Probing:
    from loadlab.campaign.probing import Probing
    from loadlab.campaign.trial import host_facts
    from loadlab.scenario.files import load_scenario
    from loadlab.scenario.judgement import with_flags
    from loadlab.scenario.library import find_scenario
    from loadlab.schema import as_table
    from loadlab.slo import read_slos

    held = with_flags(load_scenario(find_scenario(scenario)), slo)
    slos = read_slos(as_table(held), str(scenario))
    if slos is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms", or pass --slo ttft=800ms', source=str(scenario))
    aim = parse_target(target, http, screen)
    assert aim is not None
    if not isinstance(aim, Path):
        from loadlab.scenario.build import build_plan

        http_flags.confirm(aim, [build_plan(held, seed)], yes=http.yes)
    keep = None if isinstance(aim, Path) or out is None else out / "runs"
    return Probing(scenario=held, target=aim, slos=slos, seed=seed, host=host_facts(sys.argv), keep_rows_in=keep)


def _measure(
    probing: Probing, rates: str | None, requests: int, start: str | None, max_rate: str | None, out: Path | None, screen: Screen, *,
    is_resumed: bool, is_banded: bool,
) -> dict[str, Any]:  # fmt: skip
    from loadlab.campaign.band_edges import check_band, with_band_edges
    from loadlab.campaign.capacity import Bounds, find_capacity, measure_levels

    if is_banded:
        check_band(probing.target)
    bounds = Bounds(first_per_s=_rate("--start", start), highest_per_s=_rate("--max-rate", max_rate) or float("inf"))
    try:
        with screen.progress("looking for the capacity") as say:
            if rates is None:
                result = find_capacity(probing, bounds, out, say, resume=is_resumed)
            else:
                result = measure_levels(probing, _rates(rates), requests, out, say, resume=is_resumed)
            summary = summarise(result, probing)
            if is_banded:
                summary = with_band_edges(summary, probing, say)
    except KeyboardInterrupt:
        kept = f"probes that ended are kept in {out}; go on with --resume {out}" if out else "nothing is kept without --out"
        raise RunInterruptedError(kept) from None
    from loadlab.report.capacity import print_capacity

    print_capacity(summary, probing.slos, screen.tables)
    return summary


def summarise(result: SearchResult, probing: Probing) -> dict[str, Any]:
    """The JSON of a study on a target."""
    from loadlab.campaign.capacity import rate_note, summarise_study
    from loadlab.cli.break_even import command_line
    from loadlab.record.manifest import load_versions

    return summarise_study(result, probing, rate_note(probing), load_versions(), command_line())


def _from_runs(scenario: Path, paths: list[Path], slo: list[str], screen: Screen) -> dict[str, Any]:
    from loadlab.campaign.capacity import budget_of, from_levels, levels_of_runs, tokens_of_runs
    from loadlab.cli.break_even import command_line
    from loadlab.record.manifest import load_versions
    from loadlab.record.run_dir import RunDir
    from loadlab.report.capacity import print_capacity, summarise_capacity
    from loadlab.scenario.files import load_scenario
    from loadlab.scenario.judgement import with_flags
    from loadlab.scenario.library import find_scenario
    from loadlab.schema import as_table
    from loadlab.slo import read_slos

    held = with_flags(load_scenario(find_scenario(scenario)), slo)
    slos = read_slos(as_table(held), str(scenario))
    if slos is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms", or pass --slo ttft=800ms', source=str(scenario))
    manifests = [RunDir.open(path).manifest for path in paths]
    targets = sorted({manifest.target for manifest in manifests})
    if len(targets) > 1:
        raise InputError(f"has runs of {len(targets)} targets ({', '.join(targets)}); a capacity is one target's", key="--from")
    result = from_levels(levels_of_runs(paths, slos), budget_of(slos))
    summary = summarise_capacity(
        result, name=held.name, target=targets[0], conditions=manifests[0].conditions, slos=slos, seed=manifests[0].seed,
        rate_note="", tokens_per_arrival=tokens_of_runs(paths), versions=load_versions(), command=command_line(),
    )  # fmt: skip
    print_capacity(summary, slos, screen.tables)
    return summary


def _rate(flag: str, text: str | None) -> float | None:
    return None if text is None else _parse(flag, text)


def _rates(text: str) -> list[float]:
    """ "1,2,4/s": the unit may stand once, at the end."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    unit = parts[-1].partition("/")[2] if parts else ""
    rates = [_parse("--rates", part if "/" in part or not unit else f"{part}/{unit}") for part in parts]
    if not rates:
        raise InputError('must have at least one rate, such as "1,2,4/s"', key="--rates")
    return sorted(set(rates))


def _parse(flag: str, text: str) -> float:
    from loadlab.units import parse_rate_per_s

    try:
        rate = parse_rate_per_s(text if "/" in text else f"{text}/s")
    except ValueError as error:
        raise InputError(f"= {error}", key=flag) from None
    if rate <= 0:
        raise InputError(f"= {text} must be above 0", key=flag)
    return rate


def _deliver(summary: dict[str, Any], out: Path | None, screen: Screen, *, as_json: bool) -> None:
    from loadlab.cli.break_even import print_json

    if out is not None:
        from loadlab.report.capacity_files import save_capacity_report

        with screen.busy("drawing the figure"):
            figure = save_capacity_report(summary, out)
        screen.say(f"figure: {figure}")
    if as_json:
        print_json(summary)
