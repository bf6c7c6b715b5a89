"""`loadlab decide`: public API, dedicated instance, private cloud or own hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadlab.cli.break_even import command_line, print_json

EPILOG = """Examples:

  loadlab decide scenarios/hosting/decision-support-desk.toml

  loadlab decide scenarios/hosting/decision-support-desk.toml --volume 20M --fte 2 --out reports/decision
"""


def decide(
    question: Annotated[Path, typer.Argument(help="A decision file: needs, options, volume.", show_default=False)],
    volume: Annotated[str | None, typer.Option(help='Tokens a day, such as "30M", in place of the file\'s.', show_default=False)] = None,
    fte: Annotated[
        float | None, typer.Option(help="People who keep it running, in place of the file's.", min=0, show_default=False)
    ] = None,
    air_gap: Annotated[bool, typer.Option("--air-gap", help="Nothing may leave the network.")] = False,
    residency: Annotated[bool, typer.Option("--residency", help="Data must stay where it is.")] = False,
    prices: Annotated[Path | None, typer.Option(help="Price book, in place of the file's.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Draws the uncertainty.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for decision.json and a one-page picture.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Say where to host a model, which criterion decides, and what would flip it.

    Hard gates come first (air gap, residency, people, latency), then the volume against the 75 % quantile of the break-even, then the
    marginal cost of a token against the API's price.
    """
    import datetime

    from loadlab.campaign.money import judge
    from loadlab.cli.screen import Screen
    from loadlab.planning.decision import load_question, with_needs
    from loadlab.record.manifest import load_versions
    from loadlab.report.decision import print_decision, summarise_decision
    from loadlab.scenario.library import find_shipped

    question = find_shipped(question, "hosting")
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    asked = with_needs(load_question(question), volume, fte, is_air_gapped=air_gap, is_resident=residency)
    verdict = judge(asked, question, prices, datetime.datetime.now(datetime.UTC).date(), seed)
    print_decision(asked, verdict, screen.tables)
    summary = summarise_decision(asked, verdict, load_versions(), command_line())
    if out is not None:
        from loadlab.report.money_files import save_decision_report

        with screen.busy("drawing the picture"):
            picture = save_decision_report(summary, out)
        screen.say(f"picture: {picture}")
    if as_json:
        print_json(summary)
