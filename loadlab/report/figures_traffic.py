"""A plan drawn as a figure: rate over time, lengths by class, the first minute."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from loadlab.report.figure_style import BLUE, GREEN, ORANGE, PURPLE, RC, SKY, VERMILION
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.preview import FIRST_S, Preview

_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
_DASHES = ("-", "--", ":", "-.")
MAX_CLASSES = 12  # more lines than this nobody tells apart; the rest is in the terminal's table


def save_traffic(plan: RequestPlan, preview: Preview, file: Path) -> None:
    """Writes the figure; its ending says the format, png or svg."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"traffic {plan.scenario_name}"}):
        figure = Figure(figsize=(9, 7))
        grid = figure.add_gridspec(3, 2, height_ratios=(1.1, 1.2, 1))
        _rate(figure.add_subplot(grid[0, :]), preview)
        prompts = figure.add_subplot(grid[1, 0])
        _lengths(prompts, plan, preview, "prompt")
        _lengths(figure.add_subplot(grid[1, 1]), plan, preview, "output")
        _first_minute(figure.add_subplot(grid[2, :]), plan, preview)
        figure.suptitle(f"{plan.scenario_name}, seed {plan.seed}: {preview.requests:,} requests", x=0.02, ha="left", fontsize=11)
        figure.subplots_adjust(left=0.09, right=0.98, top=0.93, bottom=0.07, hspace=0.62, wspace=0.2)
        figure.legend(*prompts.get_legend_handles_labels(), fontsize=7, loc="center", bbox_to_anchor=(0.5, 0.298), ncols=6, frameon=False)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, metadata=metadata)


def _rate(axes: Axes, preview: Preview) -> None:
    axes.stairs(preview.rates_per_s, preview.edges_s, color=BLUE, fill=True, alpha=0.35)
    axes.stairs(preview.rates_per_s, preview.edges_s, color=BLUE)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, preview.span_s)
    axes.set_xlabel("seconds since the start")
    axes.set_ylabel("due a second")
    told = ", ".join(f"{value:.3g} at {window} s" for window, value in preview.dispersions.items())
    axes.set_title(f"requests due by the clock; dispersion {told or 'not known: too short'} (Poisson: 1)", fontsize=8, loc="left")


def _lengths(axes: Axes, plan: RequestPlan, preview: Preview, what: str) -> None:
    """Share of requests up to a length, by class."""
    column = plan.prompt_tokens if what == "prompt" else plan.output_tokens
    for i, c in enumerate(preview.classes[:MAX_CLASSES]):
        tokens = np.sort(column[plan.traffic_class.codes == plan.traffic_class.names.index(c.name)])
        if tokens[-1] < 1:
            continue
        shares = 100 * np.arange(1, len(tokens) + 1) / len(tokens)
        style = _DASHES[i // len(_COLOURS) % len(_DASHES)]
        axes.step(np.maximum(tokens, 1), shares, where="post", color=_COLOURS[i % len(_COLOURS)], linestyle=style, label=c.name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / 1000:g}k" if tokens >= 1000 else f"{tokens:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 100)
    axes.set_xlabel(f"{what} tokens")
    axes.set_ylabel("% of requests up to")


def _first_minute(axes: Axes, plan: RequestPlan, preview: Preview) -> None:
    """Each request due by the clock as a tick, a row for each class."""
    names = [c.name for c in preview.classes]
    shown = [c for c in preview.classes if c.first_minute.any()][:MAX_CLASSES]
    for i, c in enumerate(shown):
        colour = _COLOURS[names.index(c.name) % len(_COLOURS)]
        mine = plan.arrival_s[plan.traffic_class.codes == plan.traffic_class.names.index(c.name)]
        axes.eventplot(mine[mine < FIRST_S], lineoffsets=len(shown) - 1 - i, linelengths=0.7, colors=colour, linewidths=0.8)
    axes.set_yticks(range(len(shown)), [c.name for c in reversed(shown)], fontsize=7)
    axes.set_xlim(0, FIRST_S)
    axes.set_xlabel("first minute, s")
