"""`loadlab plan`: the cheapest cluster that holds a scenario at its SLO, and why every other lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from loadlab.errors import ExitCode, InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.plan import Question
    from loadlab.campaign.plan_question import Asked
    from loadlab.cli.screen import Screen
    from loadlab.planning.candidates import Outcome

T = TypeVar("T")
BOOK = Path("scenarios/prices/public-2026-11.toml")

EPILOG = """Examples:

  loadlab plan scenarios/hardware/70b-on-l40s.toml --model llama-3.3-70b-instruct --gpus l40s,h100 --max-gpus 16

  loadlab plan scenarios/hardware/70b-on-l40s.toml --cluster scenarios/clusters/l40s-70b.toml --gpus l40s --rate 5/s --out plan

The first searches from nothing but the catalogue; the second keeps the constants of a cluster file, which may be calibrated, for its GPU.
"""


def plan(
    scenario: Annotated[Path, typer.Argument(help="A scenario file: the load, and the SLO, to be held.", show_default=False)],
    gpus: Annotated[str, typer.Option(help="GPU types to choose from, such as t4,l40s,h100,h200.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="A model of the catalogue. Default: that of --cluster.", show_default=False)] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(help="A limit of the SLO, such as ttft=800ms or target=99%, over the file's; may be repeated.", show_default=False),
    ] = None,
    max_gpus: Annotated[int, typer.Option(min=1, max=1024, help="GPUs of the whole cluster at most.")] = 64,
    prices: Annotated[
        Path | None, typer.Option(help="Price book. Default: the shipped scenarios/prices/public-2026-11.toml.", show_default=False)
    ] = None,
    rent: Annotated[
        list[str] | None,
        typer.Option(help="Entry of the book's [rents] to pay for its GPU; may be repeated. Default: the cheapest.", show_default=False),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(help="Cluster file, calibrated or not: what all candidates share, and the constants of its GPU.", show_default=False),
    ] = None,
    rate: Annotated[str | None, typer.Option(help="The load, such as 12/s. Default: the scenario's mean.", show_default=False)] = None,
    quantisation: Annotated[
        str | None, typer.Option(help="Formats of weights, such as fp8,int4. Default: 16, 8 and 4 bits.", show_default=False)
    ] = None,
    kv_format: Annotated[str, typer.Option(help="Formats of keys and values: bf16, fp8 or both.")] = "bf16",
    max_running: Annotated[str, typer.Option(help="Engine limits on sequences in a batch.")] = "64,256",
    max_batched_tokens: Annotated[str, typer.Option(help="Engine limits on tokens of a step.")] = "2048,8192",
    requests: Annotated[int, typer.Option(min=500, max=100_000, help="Requests of each longer run.")] = 2000,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Longer runs for all that fits: nothing is left out early.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="Draws the traffic: the same for every candidate.")] = 1,
    backend: Annotated[
        str | None,
        typer.Option(help="Where to simulate: dask://HOST:PORT or ray://HOST:PORT. Default: every core here.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for plan.json, cluster.toml, figures and report.html.", show_default=False)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the plan in this folder.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan.json on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Find the cheapest cluster that holds a scenario's load at its SLO, at the pessimistic edge of the prediction's band.

    Every legal GPU, format, split and engine limit is a candidate, with as many replicas as it needs. All of it is simulated: a prediction,
    whose source and band stand beside it. Exits 99 where nothing holds.
    """
    from loadlab.campaign.plan_question import Asked, notes_of, question_of
    from loadlab.catalog.specs import KvFormat, Quantisation
    from loadlab.cli.screen import Screen
    from loadlab.planning.configurations import Lattice
    from loadlab.scenario.files import load_scenario
    from loadlab.scenario.judgement import with_flags
    from loadlab.scenario.library import find_scenario, find_shipped

    if out is not None and resume is not None:
        raise InputError("--out and --resume cannot be given together: --resume names the folder")
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    lattice = Lattice(
        gpus=(), max_gpus=max_gpus,
        quantisations=None if quantisation is None else tuple(_enum("--quantisation", Quantisation, text) for text in _words(quantisation)),
        kv_formats=tuple(_enum("--kv-format", KvFormat, text) for text in _words(kv_format)),
        max_running=_numbers("--max-running", max_running), max_batched_tokens=_numbers("--max-batched-tokens", max_batched_tokens),
    )  # fmt: skip
    asked = Asked(
        scenario=with_flags(load_scenario(find_scenario(scenario)), slo or []), model=model, cluster=cluster, gpus=_words(gpus),
        prices=find_shipped(prices or BOOK, "prices"), rents=rent or [], lattice=lattice,
        rate_per_s=_rate(rate), requests=requests, seed=seed, is_exhaustive=exhaustive,
    )  # fmt: skip
    question = question_of(asked)
    outcome = _search(question, backend, resume or out, screen, is_resumed=resume is not None)
    summary = _summary(asked, question, outcome, notes_of(asked), str(scenario), slo or [], resume or out)
    _deliver(summary, resume or out, screen, as_json=as_json)
    if outcome.chosen is None:
        raise typer.Exit(ExitCode.THRESHOLD_FAILED)


def _search(question: Question, backend: str | None, out: Path | None, screen: Screen, *, is_resumed: bool) -> Outcome:
    from loadlab.campaign.backends import joblib_backend
    from loadlab.campaign.plan import make_plan
    from loadlab.campaign.plan_journal import Searches
    from loadlab.campaign.plan_question import header_of

    journal = Searches(out, header_of(question), resume=is_resumed)
    try:
        with screen.progress("configurations", counted="configurations") as say, joblib_backend(backend):
            return make_plan(question, journal, say)
    except KeyboardInterrupt:
        kept = f"searches that ended are kept in {out}; go on with --resume {out}" if out else "nothing is kept without --out"
        raise RunInterruptedError(kept) from None


def _summary(
    asked: Asked, question: Question, outcome: Outcome, notes: list[str], scenario: str, slo: list[str], out: Path | None
) -> dict[str, Any]:
    import datetime

    from loadlab.campaign.plan_question import cluster_text, gpu_facts, limits_of, scenario_digest
    from loadlab.cli.break_even import command_line
    from loadlab.planning.prices import stale_notes
    from loadlab.record.manifest import load_versions
    from loadlab.report.capacity import slo_text
    from loadlab.report.plan import summarise_plan
    from loadlab.scenario.library import shipped_name

    command, digest = command_line(), scenario_digest(question)
    if outcome.chosen is not None:
        used = {f"rents.{outcome.chosen.offer.name}": outcome.chosen.offer.rent}
        notes = [*notes, *stale_notes(used, datetime.datetime.now(datetime.UTC).date())]
    facts = {
        "name": asked.scenario.name, "model": question.base.model, "scenario": scenario, "scenario_digest": digest,
        "slo_text": slo_text(question.traffic.slos), "slo_flags": slo,
        "folder": None if out is None else out.as_posix(), "seed": asked.seed, "max_gpus": question.lattice.max_gpus,
        "requests_each": question.requests, "is_exhaustive": question.is_exhaustive, "base": question.base.conditions(),
        "price_book": shipped_name(asked.prices), "notes": notes, "versions": load_versions(), "command": command,
    }  # fmt: skip
    description = f"Planned for {asked.scenario.name} ({digest[:15]}), seed {asked.seed}: {command}"
    return summarise_plan(
        outcome, facts, rate_per_s=question.traffic.rate_per_s, budget=question.traffic.budget, limits=limits_of(question),
        offers=question.offers, gpu_facts=gpu_facts(question),
        cluster_text=cluster_text(outcome, question, f"plan-{asked.scenario.name}", description),
    )  # fmt: skip


def _deliver(summary: dict[str, Any], out: Path | None, screen: Screen, *, as_json: bool) -> None:
    from loadlab.cli.break_even import print_json
    from loadlab.report.plan_terminal import print_plan

    print_plan(summary, screen.tables)
    if out is not None:
        from loadlab.report.plan_files import save_plan

        with screen.busy("drawing the figures"):
            page = save_plan(summary, out)
        screen.say(f"report: {page}")
    if as_json:
        print_json(summary)


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    try:
        found = sorted({int(word) for word in _words(text)})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise InputError(f"= {text} must be whole numbers above 0, such as 64,256", key=flag)
    return tuple(found)


def _enum(flag: str, kind: type[T], text: str) -> T:
    from loadlab.schema import shown

    allowed = [str(member.value) for member in kind]  # type: ignore[attr-defined]
    if text not in allowed:
        raise InputError(f"= {shown(text)} must be among {', '.join(allowed)}", key=flag)
    return kind(text)  # type: ignore[call-arg]


def _rate(text: str | None) -> float | None:
    from loadlab.units import parse_rate_per_s

    if text is None:
        return None
    try:
        rate = parse_rate_per_s(text if "/" in text else f"{text}/s")
    except ValueError as error:
        raise InputError(f"= {error}", key="--rate") from None
    if rate <= 0:
        raise InputError(f"= {text} must be above 0", key="--rate")
    return rate
