"""A plan drawn in a terminal: rate over time, lengths by class, the first minute."""

from __future__ import annotations

import numpy as np

from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.scenario.preview import FIRST_S, Preview
from loadlab.units import format_duration

BARS = " ▁▂▃▄▅▆▇█"
MAX_NAME = 24


def bars(values: FloatArray | IntArray, most: float | None = None) -> str:
    """A row of bars, the tallest of them `most`; what is above 0 never looks like 0."""
    top = float(np.max(values, initial=0)) if most is None else most
    if top <= 0:
        return " " * len(values)
    steps = np.ceil(np.asarray(values, dtype=np.float64) / top * (len(BARS) - 1)).astype(int)
    return "".join(BARS[min(step, len(BARS) - 1)] for step in steps)


def draw_preview(preview: Preview) -> list[str]:
    """The lines of a drawing, up to 80 columns wide."""
    peak = float(preview.rates_per_s.max(initial=0))
    bin_s = float(preview.edges_s[1] - preview.edges_s[0])
    lines = [
        f"{preview.requests:,} requests: {preview.prompt_tokens:,} prompt tokens, {preview.output_tokens:,} output tokens",
        _due(preview),
        "",
        f"rate over {format_duration(preview.span_s)}, {format_duration(bin_s)} a column, tallest {peak:.3g}/s",
        f"  {bars(preview.rates_per_s)}",
    ]
    if preview.dispersions:
        told = ", ".join(f"{value:.3g} at {window} s" for window, value in preview.dispersions.items())
        lines.append(f"dispersion (variance / mean of counts; Poisson: 1): {told}")
    return [*lines, "", *_classes(preview), "", *_first_minute(preview)]


def _due(preview: Preview) -> str:
    following = preview.requests - preview.by_the_clock
    clock = f"{preview.by_the_clock:,} due by the clock, {preview.rate_per_s:.3g}/s"
    return clock + (f"; {following:,} follow an answer" if following else "")


def _name(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 2]}.."


def _classes(preview: Preview) -> list[str]:
    head = f"  {'class':<{MAX_NAME}} {'n':>9}  {'prompt p50':>10} {'p95':>7} {'output p50':>10} {'p95':>7}"
    rows = [
        f"  {_name(c.name):<{MAX_NAME}} {c.requests:>9,}  {c.prompt_tokens[0]:>10,} {c.prompt_tokens[1]:>7,}"
        f" {c.output_tokens[0]:>10,} {c.output_tokens[1]:>7,}"
        for c in preview.classes
    ]
    return ["lengths, tokens", head, *rows]


def _first_minute(preview: Preview) -> list[str]:
    shown = [c for c in preview.classes if c.first_minute.any()]
    most = max((int(c.first_minute.max()) for c in shown), default=0)
    if not shown:
        return ["first minute: nobody is due by the clock"]
    rows = [f"  {_name(c.name)[:14]:<14} |{bars(c.first_minute, most)}|" for c in shown]
    return [f"first minute, a second a column, tallest {most}", *rows, f"  {'':<14} 0{'60 s':>{FIRST_S}}"]
