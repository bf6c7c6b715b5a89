"""Predicted over measured, one panel a metric, on logarithmic axes with the lines of exact and twice or half."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadlab.analysis.scoring import Scored, errors_of
from loadlab.errors import InputError

UNITS = {"step_ms": "step, ms", "ttft_ms": "TTFT, ms", "tpot_ms": "TPOT, ms", "output_tok_s": "output tokens/s", "e2e_ms": "end to end, ms"}
COLOURS = ("#1b6ca8", "#d1495b", "#3f7d20", "#8a5cb8", "#b8722c", "#4d4d4d", "#0f8b8d", "#c2185b")
FORMATS = (".png", ".svg", ".pdf")


def save_scatter(scored: Sequence[Scored], title: str, path: Path) -> None:
    """Writes the figure. Raises InputError if nothing was predicted, or the ending is not one of FORMATS."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"= {path.name!r} must end in {', '.join(FORMATS)}", key="--plot")
    if not scored:
        raise InputError("has nothing to draw: no row was predicted", key="--plot")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    metrics = [metric for metric in UNITS if any(s.metric == metric for s in scored)]
    figure = Figure(figsize=(1.2 + 4.6 * len(metrics), 5.2), layout="constrained")
    groups = sorted({(s.gpu, s.kind) for s in scored})
    colour = {gpu: COLOURS[i % len(COLOURS)] for i, gpu in enumerate(sorted({gpu for gpu, _ in groups}))}
    for i, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), i + 1)
        of_metric = [s for s in scored if s.metric == metric]
        for gpu, kind in groups:
            rows = [s for s in of_metric if (s.gpu, s.kind) == (gpu, kind)]
            if rows:
                axes.scatter(
                    [s.measured for s in rows], [s.predicted for s in rows],
                    s=9, alpha=0.5, linewidths=0, color=colour[gpu],
                    marker="o" if kind == "dense" else "^", label=f"{gpu} {kind}",
                )  # fmt: skip
        ends = [min(min(s.measured, s.predicted) for s in of_metric), max(max(s.measured, s.predicted) for s in of_metric)]
        for factor, style in ((1.0, "-"), (2.0, ":"), (0.5, ":")):
            axes.plot(ends, [factor * end for end in ends], style, color="#777777", linewidth=0.8)
        errors = errors_of(of_metric)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(f"measured {UNITS[metric]}")
        axes.set_ylabel(f"predicted {UNITS[metric]}")
        axes.set_title(f"n {errors['n']:,}, median error {errors['median']:.1f} %, p90 {errors['p90']:.1f} %", fontsize=10)
        if i == 0:
            axes.legend(fontsize=7, loc="upper left", frameon=False)
    figure.suptitle(f"{title}; solid: exact, dotted: twice and half", fontsize=11)
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=str(path), key="--plot") from None
