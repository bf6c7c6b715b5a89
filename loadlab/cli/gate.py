"""`loadlab gate`: fails a build on a real regression, and stays quiet otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.cli import http_flags, slo_flags
from loadlab.cli.http_flags import HttpFlags
from loadlab.errors import ExitCode, InputError

if TYPE_CHECKING:
    from loadlab.analysis.gating import Margin
    from loadlab.campaign.gate import GateRules
    from loadlab.cli.screen import Screen
    from loadlab.record.manifest import HostFacts
    from loadlab.report.gate import GateReport

EPILOG = """Examples:

  loadlab gate runs/candidate --threshold 'ttft.p95 < 800ms' --threshold 'success_rate >= 99%'

  loadlab gate runs/candidate --baseline runs/base --margin ttft.p90=5% --junit gate.xml

  loadlab gate --scenario scenarios/smoke.toml --target sim:new.toml --baseline-target sim:old.toml --pairs 5 --margin ttft.p99=5%
"""


class Inconclusive(StrEnum):
    """What a build does where nothing was shown."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105  no password


def gate(
    candidate: Annotated[
        Path | None, typer.Argument(help="A run directory of the candidate, or a folder of them.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="What it is compared with: a run, a folder of runs, or a file of `loadlab baseline save`.", show_default=False),
    ] = None,
    scenario: Annotated[Path | None, typer.Option(help="Run pairs of this scenario now, and judge them.", show_default=False)] = None,
    target: Annotated[str | None, typer.Option(help="The candidate: sim:CLUSTER.toml, or http://HOST:PORT.", show_default=False)] = None,
    baseline_target: Annotated[str | None, typer.Option(help="The base of the pairs.", show_default=False)] = None,
    pairs: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Pairs to run (5); of runs given, how many there have to be (2).", show_default=False),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            help="How much worse a metric may be: ttft.p99=5%, success_rate=1pt; may be repeated. Success always has one.",
            show_default=False,
        ),
    ] = None,
    threshold: slo_flags.ThresholdTexts = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="Run the target against itself: how much do runs vary here?")] = False,
    inconclusive: Annotated[Inconclusive, typer.Option(help="What becomes of a build where nothing was shown.")] = Inconclusive.FAIL,
    seed: Annotated[
        int, typer.Option(min=0, max=2**53, help="Draws the plan of the first pair; the next one has seed + 1, and so on.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Where pairs are recorded. Default: a new folder under runs/.", show_default=False)
    ] = None,
    model: http_flags.Model = None,
    baseline_model: Annotated[
        list[str] | None, typer.Option(help="HTTP: the model of the base, where it is another.", metavar="NAME", show_default=False)
    ] = None,
    api_key_env: http_flags.ApiKeyEnv = None,
    api_key_file: http_flags.ApiKeyFile = None,
    max_in_flight: http_flags.MaxInFlight = None,
    timeout: http_flags.Timeout = "10min",
    idle_timeout: http_flags.IdleTimeout = "60s",
    insecure: http_flags.Insecure = False,
    preflight: http_flags.Preflight = True,
    yes: http_flags.Yes = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.", show_default=False)] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown, as for the summary of a CI job.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout as JSON; text goes to stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no text.")] = False,
) -> None:
    """Judge a candidate: regressed, passed, or inconclusive, with how many more pairs would tell.

    Give runs and a --baseline, or a --scenario and two targets: then pairs of runs are made, base and candidate in turn, both of a pair
    with the same plan. Runs without a baseline are held to thresholds, those of their scenario and of --threshold.

    Without --margin, p50 of TTFT, TPOT and end to end may be 5 % worse, and p90 10 %.

    Exit codes: 0 passed, 99 regressed or inconclusive, 97 a run is incomplete, 98 a run is no valid measurement, 2 bad input.
    """
    from loadlab.campaign.gate import GateRules
    from loadlab.campaign.trial import host_facts
    from loadlab.cli.gate_pairs import Sides, gate_pairs
    from loadlab.cli.screen import Screen

    screen, host = Screen(is_quiet=quiet, is_stdout_taken=as_json), host_facts(sys.argv)
    fewest = (5 if scenario else 2) if pairs is None else pairs
    rules = GateRules(
        margins=_read_margins(margin or []),
        fewest_pairs=fewest,
        thresholds=_read_thresholds(threshold or []),
        passes_inconclusive=self_test or inconclusive is Inconclusive.PASS,
    )
    if scenario is None:
        _refuse(
            {"--target": target, "--baseline-target": baseline_target, "--out": out, "--self-test": self_test or None}, "needs --scenario"
        )
        report = _gate_runs(candidate, baseline, rules, host)
    else:
        _refuse({"CANDIDATE": candidate}, "cannot be given beside --scenario, which runs it now")
        http = HttpFlags(
            model=model, api_key_env=api_key_env, api_key_file=api_key_file, max_in_flight=max_in_flight, abort_on=None,
            timeout=timeout, idle_timeout=idle_timeout, insecure=insecure, preflight=preflight, yes=yes,
        )  # fmt: skip
        sides = Sides(target=target, base=target if self_test else baseline_target, base_model=baseline_model, file=baseline, http=http)
        report = gate_pairs(scenario, sides, pair_range=(seed, fewest), out=out, rules=rules, host=host, screen=screen)
    if self_test:
        report = _with_noise(report, screen)
    _finish(report, screen, junit, markdown, as_json=as_json)


def _refuse(flags: Mapping[str, object], why: str) -> None:
    for flag, value in flags.items():
        if value is not None:
            raise InputError(why, key=flag)


def _read_margins(texts: list[str]) -> tuple[Margin, ...]:
    from loadlab.analysis.gating import parse_margin

    try:
        return tuple(parse_margin(text) for text in dict.fromkeys(texts))
    except ValueError as error:
        raise InputError(f"= {error}", key="--margin") from None


def _read_thresholds(texts: list[str]) -> tuple[str, ...]:
    """Checked before anything runs."""
    from loadlab.slo import parse_threshold

    try:
        return tuple(str(parse_threshold(text)) for text in dict.fromkeys(texts))
    except ValueError as error:
        raise InputError(f"= {error}", key="--threshold") from None


def _gate_runs(candidate: Path | None, baseline: Path | None, rules: GateRules, host: HostFacts) -> GateReport:
    from loadlab.campaign.gate import gate_against_baseline, gate_against_runs, gate_by_thresholds
    from loadlab.campaign.sides import load_side

    if candidate is None:
        raise InputError("is missing: name the runs of a candidate, or pass --scenario to make pairs now", key="CANDIDATE")
    if baseline is None:
        if rules.margins:
            raise InputError("needs --baseline: a run, a folder of runs, or a file of `loadlab baseline save`", key="--margin")
        return gate_by_thresholds(load_side(candidate), rules, host)
    if baseline.is_file():
        return gate_against_baseline(baseline, load_side(candidate), rules, host)
    return gate_against_runs(load_side(baseline), load_side(candidate), rules, host)


def _with_noise(report: GateReport, screen: Screen) -> GateReport:
    """Prints what a self-test is for, and keeps it for --json."""
    from loadlab.report.noise import noise_block, print_noise

    assert report.comparison is not None
    assert report.result is not None
    print_noise(report.comparison, report.result.checks, screen.tables)
    return replace(report, noise=tuple(noise_block(report.comparison, report.result.checks)))


def _finish(report: GateReport, screen: Screen, junit: Path | None, markdown: Path | None, *, as_json: bool) -> None:
    """Every output, then the exit code."""
    from loadlab.record.atomic_file import save_bytes
    from loadlab.report.gate import gate_document
    from loadlab.report.gate_terminal import print_gate
    from loadlab.report.junit import junit_xml
    from loadlab.report.markdown import markdown as as_markdown
    from loadlab.report.summary import dump_summary

    print_gate(report, screen.tables)
    if junit is not None:
        save_bytes(junit, junit_xml(report))
    if markdown is not None:
        save_bytes(markdown, as_markdown(report).encode())
    if as_json:
        sys.stdout.buffer.write(dump_summary(gate_document(report)))
        sys.stdout.flush()
    if report.exit_code is not ExitCode.OK:
        raise typer.Exit(report.exit_code)
