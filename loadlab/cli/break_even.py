"""`loadlab break-even`: at which volume self-hosting beats an API, how soon it is paid back, and how sure that is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.errors import InputError
from loadlab.schema import shown

if TYPE_CHECKING:
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
            help="What serves: a hosting file, or a run directory whose throughput replaces that of --hosting.", show_default=False
        ),
    ] = None,
    hosting: Annotated[Path | None, typer.Option(help="Hosting file for the rest, where --capacity is a run.", show_default=False)] = None,
    tiers: Annotated[Path | None, typer.Option(help="A routed mix of models instead: a tiers file.", show_default=False)] = None,
    prices: Annotated[Path | None, typer.Option(help="Price book. Default: the one that the file names.", show_default=False)] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="API of the price book to compare with; may be repeated.", show_default=False)
    ] = None,
    volume: Annotated[str | None, typer.Option(help='Tokens a day, input and output, such as "30M".', show_default=False)] = None,
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
    if tiers is not None:
        _refuse(
            {"--capacity": capacity, "--hosting": hosting, "--against": against, "--set": set_},
            "belongs to one hosting case, not to --tiers",
        )
        summary = _route(tiers, prices, volume, screen)
    elif capacity is None:
        raise InputError("is missing: name a hosting file or a run directory, or use --tiers FILE", key="--capacity")
    else:
        changes = _changes(set_ or [], volume)
        summary = _compare(capacity, hosting, prices, changes, against or [], seed, screen)
    if out is not None:
        _save(summary, out, screen)
    if as_json:
        _print_json(summary)


def _refuse(flags: dict[str, Any], why: str) -> None:
    for flag, value in flags.items():
        if value:
            raise InputError(why, key=flag)


def _changes(pairs: list[str], volume: str | None) -> dict[str, str]:
    """KEY=VALUE texts as a table; a volume is one of them."""
    changes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"= {shown(pair)} must be KEY=VALUE, such as operation.spare_replicas=2", key="--set")
        changes[key.strip()] = value.strip()
    return changes if volume is None else changes | {"traffic.tokens_per_day": volume}


def _compare(
    capacity: Path, hosting: Path | None, prices: Path | None, changes: dict[str, str], apis: list[str], seed: int, screen: Screen
) -> Json:
    import datetime

    from loadlab.campaign.money import compare, load_case
    from loadlab.record.manifest import load_versions
    from loadlab.report.break_even import print_break_even, summarise_break_even

    case = load_case(capacity, hosting, prices, changes)
    found = compare(case, apis, datetime.datetime.now(datetime.UTC).date(), seed)
    print_break_even(case.hosting, found, screen.tables)
    return summarise_break_even(case.hosting, found, load_versions(), command_line())


def _route(tiers: Path, prices: Path | None, volume: str | None, screen: Screen) -> Json:
    from loadlab.campaign.money import route
    from loadlab.record.manifest import load_versions
    from loadlab.report.routing import print_routed, summarise_routed
    from loadlab.units import parse_count

    try:
        routed = route(tiers, prices, None if volume is None else parse_count(volume))
    except ValueError as error:
        raise InputError(f"= {error}", key="--volume") from None
    print_routed(routed.mix, routed.bills, routed.all_expert, routed.premium_loss_usd, screen.tables)
    return summarise_routed(routed.mix, routed.bills, routed.all_expert, routed.premium_loss_usd, load_versions(), command_line())


def command_line() -> str:
    """The command as one could type it again."""
    return shlex.join(["loadlab", *sys.argv[1:]])


def _save(summary: Json, out: Path, screen: Screen) -> None:
    from loadlab.report.money_files import save_money_report

    with screen.busy("drawing the figures"):
        page = save_money_report(summary, out)
    screen.say(f"report: {page}")


def _print_json(summary: Json) -> None:
    from loadlab.report.break_even import dump_json

    sys.stdout.buffer.write(dump_json(summary))
    sys.stdout.flush()
