"""A sweep drawn: lines over one axis, a heat map over two, small multiples over three. Equal tables give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from loadlab.report.figure_style import BLUE, RC, VERMILION, as_svg
from loadlab.report.sweep import HEADS, value_text

MAX_PANELS = 12


def draw_sweep(cells: pd.DataFrame, axes: Sequence[str], metric: str, name: str) -> str:
    """The medians of one metric over the grid. Axes beyond the third stay at their first value, and the title says so."""
    shown, fixed = _sliced(cells, axes)
    with mpl.rc_context(RC | {"svg.hashsalt": f"sweep {name} {metric}", "axes.grid": len(axes) == 1}):
        panels = list(dict.fromkeys(shown[axes[2]])) if len(axes) > 2 else [None]
        panels = panels[:MAX_PANELS]
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(max(4.6, 3.4 * columns), 3.2 * rows + 0.4))
        grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for panel, at in zip(panels, grid, strict=False):
            part = shown if panel is None else shown[shown[axes[2]] == panel]
            _draw(at, part, axes, metric, _colour_range(shown, axes, panels, metric))
            at.set_title(f"{HEADS[metric]}{'' if panel is None else f', {axes[2]} = {panel}'}{fixed}", fontsize=9, loc="left")
        for unused in grid[len(panels) :]:
            unused.set_axis_off()
        figure.tight_layout()
        return as_svg(figure, f"{HEADS[metric]} of {name} over {', '.join(axes)}")


def _sliced(cells: pd.DataFrame, axes: Sequence[str]) -> tuple[pd.DataFrame, str]:
    fixed = []
    for axis in axes[3:]:
        first = cells[axis].iloc[0]
        cells = cells[cells[axis] == first]
        fixed.append(f"{axis} = {first}")
    return cells, f" ({', '.join(fixed)})" if fixed else ""


def _colour_range(shown: pd.DataFrame, axes: Sequence[str], panels: Sequence[object], metric: str) -> tuple[float, float] | None:
    """The least and the greatest number of all panels drawn: one colour means one number in each; None where there is no number."""
    drawn = shown if len(axes) < 3 else shown[shown[axes[2]].isin(panels)]
    numbers = drawn[metric].dropna()
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else None


def _draw(at: Axes, part: pd.DataFrame, axes: Sequence[str], metric: str, colours: tuple[float, float] | None) -> None:
    if len(axes) == 1:
        labels = [str(value) for value in part[axes[0]]]
        at.plot(range(len(labels)), part[metric], "o-", color=BLUE, markersize=4)
        at.set_xticks(range(len(labels)), labels)
        at.set_xlabel(axes[0])
        at.yaxis.set_major_formatter(FuncFormatter(lambda y, _: value_text(metric, y)))
        return
    across, down = list(dict.fromkeys(part[axes[0]])), list(dict.fromkeys(part[axes[1]]))
    values = part.set_index([axes[1], axes[0]])[metric].unstack().reindex(index=down, columns=across)
    image = np.asarray(values, dtype=np.float64)
    low, high = colours or (0.0, 1.0)
    at.imshow(image, aspect="auto", cmap="cividis", origin="lower", vmin=low, vmax=high)
    at.set_xticks(range(len(across)), [str(value) for value in across])
    at.set_yticks(range(len(down)), [str(value) for value in down])
    at.set_xlabel(axes[0])
    at.set_ylabel(axes[1])
    over = np.asarray(part.set_index([axes[1], axes[0]])["overloaded"].unstack().reindex(index=down, columns=across), dtype=np.float64)
    for row, column in np.ndindex(image.shape):
        value = image[row, column]
        colour = "black" if value > (low + high) / 2 else "white"  # one value everywhere is drawn at the dark end
        at.text(column, row, value_text(metric, float(value)), ha="center", va="center", fontsize=7, color=colour)
        if over[row, column] > 0:
            at.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=1.5))
