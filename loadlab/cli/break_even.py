"""`loadlab break-even`: at which volume self-hosting beats an API, how soon it is paid back, and how sure that is."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.errors import InputError
from loadlab.planning.hosting import Against
from loadlab.schema import shown

if TYPE_CHECKING:
    from loadlab.campaign.money import Demand
    from loadlab.cli.screen import Screen

Json = dict[str, Any]

EPILOG = """Examples:

  loadlab break-even --capacity scenarios/hosting/l40s-70b.toml

  loadlab break-even --capacity scenarios/hosting/l40s-70b.toml --against gpt-5-4-mini --volume 60M --set overhead.staff_usd_per_month=3500

  loadlab break-even --tiers scenarios/hosting/routing-95.toml --json
"""


def break_even(
    capacity: Annotated[
        Path | None,
        typer.Option(
            help="What serves: a hosting file; or a capacity study, a run directory or a cluster file, in place of what --hosting says.",
            show_default=False,
        ),
    ] = None,
    hosting: Annotated[
        Path | None, typer.Option(help="Hosting file for the rest, where --capacity is another thing.", show_default=False)
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Traffic, with its SLO, where --capacity is a cluster file.", show_default=False)
    ] = None,
    tiers: Annotated[
        list[Path] | None,
        typer.Option(help="A routed mix of models instead: a tiers file; more than one to compare them.", show_default=False),
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Price book. Default: the one that the file names.", show_default=False)] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="What to compare with: one of the file's [against], or an API of the price book; may be repeated.", show_default=False
        ),
    ] = None,
    api_price: Annotated[
        float | None, typer.Option(help="Or a blended API price, USD per million tokens, in place of --against.", min=0, show_default=False)
    ] = None,
    volume: Annotated[str | None, typer.Option(help='Tokens a day, input and output, such as "30M".', show_default=False)] = None,
    staff: Annotated[float | None, typer.Option(help="Staff, USD a month, in place of the file's.", min=0, show_default=False)] = None,
    utilisation: Annotated[
        str | None, typer.Option(help='Target utilisation at the peak, such as "80%", in place of the file\'s.', show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE of the hosting file, such as operation.spare_replicas=2; may be repeated.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Draws the uncertainty.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for break-even.json, figures and report.html.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Compare what a month of self-hosting costs with what an API costs, at every volume.

    Self-hosting is a step curve of whole replicas, an API a line: every crossing is listed, with the volumes at which self-hosting wins
    only for a while. Capacity and prices are drawn from their spreads, and each price carries its source and date.
    """
    from loadlab.cli.screen import Screen

    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    changes = _changes(set_ or [], {"traffic.tokens_per_day": volume, "operation.target_utilisation_share": utilisation}, staff)
    if tiers:
        own_flags = {"--capacity": capacity, "--hosting": hosting, "--against": against, "--api-price": api_price, "--set": set_}
        _refuse(own_flags | {"--staff": staff, "--utilisation": utilisation}, "belongs to one hosting case, not to --tiers")
        summary = _route(tiers, prices, volume, out, screen)
    elif capacity is None:
        raise InputError("is missing: name a hosting file, a capacity study or a run directory, or use --tiers FILE", key="--capacity")
    else:
        apis = _apis(against or [], api_price)
        summary = _compare(
            _Files(capacity=capacity, hosting=hosting, prices=prices, scenario=scenario, set_=set_ or []), changes, apis, seed, out, screen
        )
    if as_json:
        print_json(summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What the command reads, so that it can say itself again."""

    capacity: Path
    hosting: Path | None
    prices: Path | None
    scenario: Path | None
    set_: list[str]

    def command(self) -> str:
        """The command without what sliders set."""
        words = ["loadlab", "break-even", "--capacity", str(self.capacity)]
        for flag, path in (("--hosting", self.hosting), ("--prices", self.prices), ("--scenario", self.scenario)):
            words += [] if path is None else [flag, str(path)]
        for pair in self.set_:
            words += ["--set", pair]
        return shlex.join(words)


def _apis(names: list[str], price_usd: float | None) -> dict[str, Against]:
    """The APIs of the command line by the names that tables show; none: those of the file."""
    if names and price_usd is not None:
        raise InputError("cannot stand beside --against: it is a price in place of one", key="--api-price")
    if price_usd is not None:
        return {f"an API at ${price_usd:g}": Against(per_million_usd=price_usd, source="--api-price")}
    return {name: Against(api=name) for name in names}


def _refuse(flags: dict[str, Any], why: str) -> None:
    for flag, value in flags.items():
        if value:
            raise InputError(why, key=flag)


def _changes(pairs: list[str], texts: dict[str, str | None], staff_usd: float | None) -> dict[str, Any]:
    """KEY=VALUE texts and flags as dotted keys of the hosting file."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"= {shown(pair)} must be KEY=VALUE, such as operation.spare_replicas=2", key="--set")
        changes[key.strip()] = value.strip()
    changes |= {key: text for key, text in texts.items() if text is not None}
    if staff_usd is not None:
        changes |= {"overhead.staff_usd_per_month": staff_usd, "overhead.staff_fte": 0.0, "overhead.staff": None}
    return changes


def _compare(files: _Files, changes: dict[str, Any], apis: dict[str, Against], seed: int, out: Path | None, screen: Screen) -> Json:
    import datetime

    from loadlab.campaign.money import compare, load_case
    from loadlab.record.manifest import load_versions
    from loadlab.report.break_even import print_break_even, summarise_break_even

    with screen.progress("looking for the capacity") as say:
        demand = None if files.scenario is None else _demand(files.scenario, seed, say)
        case = load_case(files.capacity, files.hosting, files.prices, changes, demand)
    found = compare(case, apis, datetime.datetime.now(datetime.UTC).date(), seed)
    print_break_even(case.hosting, found, screen.tables)
    flags = {one.api_name: f"--against {shlex.quote(one.api_name)}" for one in found}
    flags |= {name: f"--api-price {one.per_million_usd:g}" for name, one in apis.items() if one.api is None}
    summary = summarise_break_even(case.hosting, found, load_versions(), command_line(), flags)
    if out is not None:
        from loadlab.report.money_files import save_break_even_report

        with screen.busy("drawing the figures"):
            page = save_break_even_report(summary, out, files.command())
        screen.say(f"report: {page}")
    return summary


def _demand(scenario: Path, seed: int, say: Any) -> Demand:
    from loadlab.campaign.money import Demand
    from loadlab.campaign.trial import host_facts
    from loadlab.scenario.files import load_scenario

    return Demand(scenario=load_scenario(scenario), seed=seed, host=host_facts(sys.argv), say=say)


def _route(tiers: list[Path], prices: Path | None, volume: str | None, out: Path | None, screen: Screen) -> Json:
    from loadlab.campaign.money import route
    from loadlab.record.manifest import load_versions
    from loadlab.report.routing import print_routed, summarise_routed
    from loadlab.units import parse_count

    try:
        tokens_per_day = None if volume is None else parse_count(volume)
    except ValueError as error:
        raise InputError(f"= {error}", key="--volume") from None
    routed = [route(path, prices, tokens_per_day) for path in tiers]
    for one in routed:
        print_routed(one, screen.tables)
    summary = summarise_routed(routed, load_versions(), command_line())
    if out is not None:
        from loadlab.report.money_files import save_routing_report

        with screen.busy("drawing the figure"):
            figure = save_routing_report(summary, out)
        screen.say(f"figure: {figure}")
    return summary


def command_line() -> str:
    """The command as one could type it again."""
    return shlex.join(["loadlab", *sys.argv[1:]])


def print_json(summary: Json) -> None:
    """The bytes of a result on stdout."""
    from loadlab.report.break_even import dump_json

    sys.stdout.buffer.write(dump_json(summary))
    sys.stdout.flush()
