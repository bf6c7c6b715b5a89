"""`loadlab fleet`: how many replicas a demand needs over the day and the year, and whether their simulated day holds the SLO."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.errors import InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.fleet_day import Lost
    from loadlab.campaign.fleet_study import FleetStudy
    from loadlab.cli.screen import Screen
    from loadlab.planning.fleet_verdict import DayResult

EPILOG = """Examples:

  loadlab fleet --capacity reports/t4-study/capacity --demand scenarios/demand/support-desk.toml --price-usd-per-gpu-hour 0.53

  loadlab fleet --capacity 0.70/s --demand scenarios/demand/two-regions.toml --gpus-per-replica 2 --startup 6min --out fleet

A capacity is what `loadlab capacity --out DIR` wrote. With the scenario and the cluster that it came from, or --scenario and --cluster,
the busiest day is simulated: always on, autoscaled ahead, autoscaled late, and with --lose-region NAME.
"""


def fleet(
    capacity: Annotated[
        str,
        typer.Option(help="A capacity study (capacity.json or its folder), or what one replica holds, such as 0.70/s.", show_default=False),
    ],
    demand: Annotated[Path, typer.Option(help="A demand file: docs/fleet.md.", show_default=False)],
    scenario: Annotated[
        Path | None, typer.Option(help="Traffic of the simulated day. Default: that of the study.", show_default=False)
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="Cluster file of one replica for the simulated day. Default: that of the study.", show_default=False)
    ] = None,
    slo: Annotated[
        list[str] | None, typer.Option(help="A limit of the SLO, such as ttft=800ms, over the scenario's.", show_default=False)
    ] = None,
    utilisation: Annotated[str, typer.Option(help="Share of a replica's lower capacity that is planned with.")] = "80%",
    spare: Annotated[int, typer.Option(min=0, max=1000, help="Replicas more than needed in each region: N + spare.")] = 1,
    startup: Annotated[
        str | None,
        typer.Option(help='From start to service, such as "6min". Default: boot and weights of the cluster.', show_default=False),
    ] = None,
    survive_region: Annotated[bool, typer.Option(help="Plan for the loss of any one region.")] = True,
    lose_region: Annotated[
        list[str] | None, typer.Option(help="Simulate the day with this region lost; may be repeated.", show_default=False)
    ] = None,
    lose_at: Annotated[
        int | None, typer.Option(min=0, max=23, help="Hour of the loss. Default: the region's busiest.", show_default=False)
    ] = None,
    lose_for: Annotated[int, typer.Option(min=1, max=24, help="Hours that it lasts.")] = 1,
    gpus_per_replica: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="GPUs of one replica. Default: that of the study.", show_default=False)
    ] = None,
    price_usd_per_gpu_hour: Annotated[float | None, typer.Option(min=0, help="What a GPU costs an hour.", show_default=False)] = None,
    hosting: Annotated[
        Path | None, typer.Option(help="Hosting file: its price of a GPU, and the break-even of this fleet.", show_default=False)
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Price book. Default: the one that --hosting names.", show_default=False)] = None,
    simulate: Annotated[bool, typer.Option(help="Play the busiest day on the simulator.")] = True,
    requests: Annotated[
        int,
        typer.Option(
            min=1000,
            max=4_000_000,
            help="Requests of a simulated day, all draws together: the whole day if it has no more.",
        ),
    ] = 200_000,
    draws: Annotated[int, typer.Option(min=1, max=50, help="How often the day is drawn. From three on, hours that break show it.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="Draws the simulated day.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for fleet.json, figures, report.html, and the day as files for `loadlab run`.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print fleet.json on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")] = False,
) -> None:
    """Size a fleet: R(t) = ceil(demand x bursts / (lower capacity x utilisation)), with spare replicas, a lost region, and start-up time.

    Always on against autoscaled, over the day and the year, in GPU-hours and money. Then the busiest day is simulated, and each hour says
    whether the SLO held.
    """
    from loadlab.campaign.fleet import load_asked, load_unit, price_of, startup_of
    from loadlab.campaign.fleet_study import plan_study
    from loadlab.cli.break_even import print_json
    from loadlab.cli.screen import Screen
    from loadlab.planning.fleet import Rule
    from loadlab.units import parse_duration_s, parse_share

    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    unit = load_unit(capacity, scenario, cluster, slo or [])
    if gpus_per_replica is not None:
        unit = replace(unit, gpus=gpus_per_replica)
    asked = load_asked(demand, unit)
    startup_s, startup_source = startup_of(unit, None if startup is None else _parse("--startup", startup, parse_duration_s))
    rule = Rule(
        low_per_s=unit.low_per_s, utilisation_share=_share(_parse("--utilisation", utilisation, parse_share)),
        burst_factor=asked.demand.burst_factor, spare_replicas=spare, startup_s=startup_s, survives_region=survive_region,
    )  # fmt: skip
    study = plan_study(unit, asked, rule, startup_source, price_of(price_usd_per_gpu_hour, hosting, prices))
    from loadlab.campaign.fleet_study import lost_regions

    lost = lost_regions(lose_region or [], study, lose_at, lose_for)
    study, again = _play(study, lost, requests, draws, seed, out, screen) if simulate else (replace(study, why_not_played="as asked"), [])
    summary = _deliver(study, capacity, hosting, seed, out, again, screen)
    if as_json:
        print_json(summary)
    if study.why_not_played.startswith("interrupted"):
        kept = study.why_not_played.removeprefix("interrupted: ")
        raise RunInterruptedError(kept if out is None else f"{kept}; {out} has the plan and these")


def _parse(flag: str, text: str, parse: Any) -> float:
    try:
        return float(parse(text))
    except ValueError as error:
        raise InputError(f"= {error}", key=flag) from None


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise InputError(f"= {value:g} must be above 0 and at most 1, such as 80%", key="--utilisation")
    return value


def _play(
    study: FleetStudy, lost: list[Lost], requests: int, draws: int, seed: int, out: Path | None, screen: Screen
) -> tuple[FleetStudy, list[tuple[str, str]]]:
    from loadlab.campaign.fleet_study import budget_of, day_of, notes_on, play, save_inputs

    day = day_of(study, requests, draws, seed)
    if isinstance(day, str):
        if lost:
            raise InputError(f"needs a simulated day, and {day}", key="--lose-region")
        return replace(study, why_not_played=day), []
    days: list[DayResult] = []
    cut = ""
    with screen.progress("simulating the day") as progress:
        try:
            for one in play(study, day, lost, draws, lambda name, done, planned: progress(f"simulating: {name}", done, planned)):
                days.append(one)  # noqa: PERF402  an interrupt keeps those that ended
        except KeyboardInterrupt:
            cut = f"interrupted: of the ways to run the day {len(days)} were played to the end"
    written = [] if out is None else save_inputs(day, study, lost, out)
    again = [
        (name, shlex.join(["loadlab", "run", str(scenario), "--target", f"sim:{cluster}", "--seed", str(seed)]))
        for name, scenario, cluster in written
    ]
    return replace(study, days=tuple(days), budget=budget_of(day), notes=notes_on(study, day), why_not_played=cut), again


def _deliver(
    study: FleetStudy, capacity: str, hosting: Path | None, seed: int, out: Path | None, again: list[tuple[str, str]], screen: Screen
) -> dict[str, Any]:
    from loadlab.campaign.fleet_study import capacity_facts, demand_facts, hand_over, plan_facts
    from loadlab.cli.break_even import command_line
    from loadlab.record.manifest import load_versions
    from loadlab.report.fleet import summarise_fleet
    from loadlab.report.fleet_terminal import print_fleet

    price = study.price
    summary = summarise_fleet(
        study.plan, study.months, study.tiers, study.days, day=study.day, budget=study.budget, capacity=capacity_facts(study),
        demand=demand_facts(study.asked, study.unit.tokens_per_arrival), rule=plan_facts(study),
        usd_per_gpu_hour=None if price is None else price.usd_per_gpu_hour, price_source=None if price is None else price.source,
        notes=study.notes, why_not_played=study.why_not_played, break_even=hand_over(study, capacity, hosting), seed=seed,
        versions=load_versions(), command=command_line(),
    )  # fmt: skip
    print_fleet(summary, screen.tables)
    if out is not None:
        from loadlab.report.fleet_files import save_fleet_report

        with screen.busy("drawing the figures"):
            page = save_fleet_report(summary, out, again)
        screen.say(f"report: {page}")
    return summary
