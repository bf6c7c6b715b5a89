"""Flags that say what a run is held to: --slo, --threshold, --undecided."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.errors import ExitCode

if TYPE_CHECKING:
    from loadlab.scenario.model import Campaign, Scenario


class Undecided(StrEnum):
    """What an undecided threshold does to the exit code."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"


ThresholdTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        help='A line that the run must keep, such as "ttft.p95 < 800ms" or "success_rate >= 99%". Joins those of the scenario. '
        "It is judged by its 95 % interval: passed, failed or undecided.",
        metavar="'METRIC < LIMIT'",
        show_default=False,
    ),
]
SloTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--slo",
        help="A limit on one request, such as ttft=800ms, tpot=60ms, e2e=30s, target=99%, or chat.ttft=800ms for a class. "
        "Wins over the scenario's [slo].",
        metavar="[CLASS.]KEY=LIMIT",
        show_default=False,
    ),
]
UndecidedFlag = Annotated[
    Undecided,
    typer.Option("--undecided", help="What a threshold does that the run is too short to decide: fail makes it exit 99 as well."),
]


def held_to(scenario: Scenario, slo: list[str] | None, thresholds: list[str] | None) -> Scenario:
    """The scenario with what the flags add. Raises InputError naming the flag."""
    from loadlab.scenario.judgement import with_flags

    return with_flags(scenario, slo or (), thresholds or ())


def campaign_held_to(campaign: Campaign, slo: list[str] | None, thresholds: list[str] | None) -> Campaign:
    """The campaign with what the flags add to every experiment. Raises InputError naming the flag."""
    from dataclasses import replace

    experiments = tuple(replace(e, scenario=held_to(e.scenario, slo, thresholds)) for e in campaign.experiments)
    return replace(campaign, experiments=experiments)


def exit_if_failed(summary: dict[str, Any], undecided: Undecided) -> None:
    """Ends the command with 99 if a threshold failed, or was undecided where that counts as failing."""
    from loadlab.report.findings import has_failed

    if has_failed(summary, undecided_fails=undecided is Undecided.FAIL):
        raise typer.Exit(ExitCode.THRESHOLD_FAILED)
