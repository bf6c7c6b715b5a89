"""`loadlab scenario`: what scenarios there are, what one says, whether all are sound, and what its traffic looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.errors import ExitCode, InputError

if TYPE_CHECKING:
    from loadlab.scenario.library import Entry
    from loadlab.scenario.plan import RequestPlan

app = typer.Typer(
    help="Scenarios: list them, show and draw one before anyone sends a request, check a folder of them.",
    epilog="Examples:\n\n  loadlab scenario list\n\n  loadlab scenario show insurer",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Name = Annotated[Path, typer.Argument(help="A scenario's file, a campaign's folder, or the name of a shipped one.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**53, help="Draws the plan, as `loadlab run --seed` does.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]


@app.command("list", epilog="Examples:\n\n  loadlab scenario list\n\n  loadlab scenario list my/scenarios --json")
def list_scenarios(
    folder: Annotated[Path | None, typer.Argument(help="Default: the shipped ones.", show_default=False)] = None, as_json: Json = False
) -> None:
    """The scenarios and campaigns in a folder, each with the question that it answers."""
    from rich.console import Console
    from rich.table import Table

    found = _entries(folder)
    if as_json:
        _print_json([_as_json(entry) for entry in found])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "question"):
        table.add_column(column, overflow="fold")
    for entry in found:
        table.add_row(entry.name + (" (campaign)" if entry.is_campaign else ""), entry.question or entry.description)
    Console(highlight=False, markup=False).print(table)


@app.command("show", epilog="Examples:\n\n  loadlab scenario show insurer\n\n  loadlab scenario show scenarios/smoke.toml --json")
def show(name: Name, seed: Seed = 1, as_json: Json = False) -> None:
    """What a scenario asks, how to run it, and what its plan holds; for a campaign its experiments."""
    entry = _entry(name)
    if as_json:
        _print_json(_as_json(entry) | {"plans": [_plan_json(label, plan) for label, plan in _plans(entry, seed)]})
        return
    said = (f"{head}: {text}" if text else "" for head, text in (("question", entry.question), ("answer", entry.answer)))
    for line in filter(None, (entry.name, entry.description, *said)):
        typer.echo(line)
    typer.echo(f"file: {entry.path}")
    if entry.command:
        typer.echo(f"run: {entry.command}")
    for label, plan in _plans(entry, seed):
        typer.echo("")
        _draw(label if entry.is_campaign else "", plan, is_short=entry.is_campaign)


@app.command("plot", epilog="Examples:\n\n  loadlab scenario plot copilot\n\n  loadlab scenario plot weeks/week --out week.svg")
def plot(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="Draw into this file, .png or .svg, too.", show_default=False)] = None,
    experiment: Annotated[str | None, typer.Option(help="Which experiment of a campaign.", show_default=False)] = None,
    seed: Seed = 1,
) -> None:
    """Draws what would be sent: rate over time, lengths by class, the first minute."""
    if out is not None and out.suffix not in (".png", ".svg"):
        raise InputError(f"= {str(out)!r} must end in .png or .svg", key="--out")
    entry = _entry(name)
    plans = [(label, plan) for label, plan in _plans(entry, seed) if experiment in (None, label)]
    if not plans or (out is not None and len(plans) > 1):
        known = ", ".join(label for label, _ in _plans(entry, seed)) or "none that can be drawn without a trace"
        raise InputError(f"must name one experiment of {entry.name}: {known}", key="--experiment")
    for label, plan in plans:
        _draw(label if entry.is_campaign else "", plan)
    if out is not None:
        from loadlab.report.figures_traffic import save_traffic
        from loadlab.scenario.preview import preview

        plan = plans[0][1]
        try:
            save_traffic(plan, preview(plan), out)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=str(out)) from None
        typer.echo(f"figure: {out}", err=True)


@app.command("check", epilog="Examples:\n\n  loadlab scenario check\n\n  loadlab scenario check my/scenarios --json")
def check(
    folder: Annotated[Path | None, typer.Argument(help="A folder or file. Default: the shipped ones.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Reads every scenario, campaign and cluster in a folder, makes each plan, and looks whether the cluster that is named serves it.

    Exit codes: 0 all are sound, 2 one is not.
    """
    from loadlab.campaign.soundness import check_folder

    results = check_folder(_folder(folder))
    if as_json:
        _print_json(
            [{"name": result.name, "sort": result.sort, "problem": result.problem, "requests": result.requests} for result in results]
        )
    else:
        for result in results:
            told = "" if result.requests is None else f" ({result.requests:,} requests)"
            typer.echo(f"bad   {result.problem}" if result.problem else f"ok    {result.name}{told}")
    bad = sum(result.problem is not None for result in results)
    typer.echo(f"{len(results)} files, {bad} bad", err=True)
    if bad or not results:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _folder(folder: Path | None) -> Path:
    from loadlab.scenario.library import shipped_folder

    if folder is not None and not folder.exists():
        raise InputError("does not exist", source=str(folder))
    return folder or shipped_folder()


def _entries(folder: Path | None) -> list[Entry]:
    from loadlab.scenario.library import entries

    return entries(_folder(folder))


def _entry(name: Path) -> Entry:
    from loadlab.scenario.files import is_campaign
    from loadlab.scenario.library import entry_of, find_scenario

    path = find_scenario(name)
    return entry_of(path, is_campaign=is_campaign(path))


def _plans(entry: Entry, seed: int) -> list[tuple[str, RequestPlan]]:
    """The plans of a scenario, or of each experiment; a replay without its trace has none."""
    from loadlab.scenario.build import build_plan
    from loadlab.scenario.files import experiment_seed, load_campaign, load_scenario, trace_of
    from loadlab.scenario.load import Replay

    if not entry.is_campaign:
        scenario = load_scenario(entry.path)
        if isinstance(scenario.load, Replay) and scenario.load.trace is None:
            typer.echo("replays a trace: name it with `loadlab run --trace FILE`", err=True)
            return []
        return [(scenario.name, build_plan(scenario, seed, trace_of(scenario)))]
    campaign = load_campaign(entry.path)
    return [
        (e.id, build_plan(e.scenario, seed if campaign.same_seed else experiment_seed(seed, e.id), trace_of(e.scenario)))
        for e in campaign.experiments
    ]


def _draw(label: str, plan: RequestPlan, *, is_short: bool = False) -> None:
    from loadlab.report.traffic import draw_preview
    from loadlab.scenario.preview import preview

    lines = draw_preview(preview(plan))
    if label:
        typer.echo(f"{label}: {lines[0]}")
        lines = lines[1:]
    for line in lines[:1] if is_short else lines:
        typer.echo(line)


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "is_campaign": entry.is_campaign,
        "description": entry.description,
        "question": entry.question,
        "answer": entry.answer,
        "command": entry.command,
    }


def _plan_json(label: str, plan: RequestPlan) -> dict[str, Any]:
    from loadlab.scenario.preview import PERCENTS, preview

    seen = preview(plan)
    return {
        "experiment": label,
        "digest": plan.digest,
        "requests": seen.requests,
        "due_by_the_clock": seen.by_the_clock,
        "rate_per_s": seen.rate_per_s,
        "span_s": seen.span_s,
        "dispersion_by_window_s": {str(window): value for window, value in seen.dispersions.items()},
        "prompt_tokens": seen.prompt_tokens,
        "output_tokens": seen.output_tokens,
        "classes": {
            c.name: {
                "requests": c.requests,
                "prompt_tokens": dict(zip((f"p{p}" for p in PERCENTS), c.prompt_tokens, strict=True)),
                "output_tokens": dict(zip((f"p{p}" for p in PERCENTS), c.output_tokens, strict=True)),
            }
            for c in seen.classes
        },
    }


def _print_json(value: Any) -> None:
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()
