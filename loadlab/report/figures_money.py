"""Money drawn: the bill against volume with every crossing, and what decides. Equal summaries give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from loadlab.planning.curves import FloatArray, LineCurve, StepCurve
from loadlab.report.break_even import INPUT_WORDS, tokens_text, usd_text
from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, RC, VERMILION, as_svg
from loadlab.report.text import clean_text

Json = Mapping[str, Any]
MAX_STEPS = 400  # more of them are a line to the eye


def curves_of(comparison: Json) -> tuple[StepCurve, LineCurve]:
    """The two curves that a comparison's JSON describes."""
    own = comparison["own_curve"]
    curve = StepCurve(
        replica_tokens_per_day=comparison["replica_tokens_per_day"],
        replica_usd_per_month=own["replica_usd_per_month"],
        fixed_usd_per_month=own["fixed_usd_per_month"],
        spare_replicas=own["spare_replicas"],
    )
    return curve, LineCurve(usd_per_million=comparison["api_usd_per_million"])


def step_points(own: StepCurve, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """The corners of the step curve between two volumes: (tokens a day, USD a month), each step's two ends."""
    capacity = float(own.replica_tokens_per_day)
    first, last = int(np.floor(low / capacity)), int(np.ceil(high / capacity))
    if last - first > MAX_STEPS:
        volumes = np.geomspace(low, high, MAX_STEPS)
        return volumes, np.asarray(own.usd_per_month(volumes), dtype=np.float64)
    inner = capacity * np.arange(first + 1, last)
    edges = np.concatenate(([low], np.repeat(inner, 2), [high]))
    middles = np.concatenate(([low], inner, [high]))
    bills = np.asarray(own.usd_per_month((middles[:-1] + middles[1:]) / 2), dtype=np.float64)
    return edges, np.repeat(bills, 2)


def draw_cost_curve(comparison: Json, name: str) -> str:
    """Cost a month against tokens a day on log axes: steps and line with their 90 % bands, where each is cheaper, the case's volume."""
    own, api = curves_of(comparison)
    curve = comparison["curve"]
    volumes = np.asarray(curve["tokens_per_day"], dtype=np.float64)
    with mpl.rc_context(RC | {"svg.hashsalt": f"cost {name} {comparison['against']}"}):
        figure = Figure(figsize=(8.4, 4.6))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        _band(axes, volumes, curve["own_usd_p5_p50_p95"], BLUE)
        _band(axes, volumes, curve["api_usd_p5_p50_p95"], VERMILION)
        axes.plot(*step_points(own, volumes[0], volumes[-1]), color=BLUE, label="self-hosting, whole replicas")
        label = f"API, {usd_text(comparison['api_usd_per_million'])} a million tokens"
        axes.plot(volumes, api.usd_per_month(volumes), color=VERMILION, label=label)
        _mark_crossings(axes, comparison["crossings"], volumes, api)
        at = comparison["at_volume"]["tokens_per_day"]
        axes.axvline(at, color=BLACK, linestyle=":", linewidth=1.0)
        axes.text(at, 0.06, f" yours: {tokens_text(at)}", transform=axes.get_xaxis_transform(), va="bottom", fontsize=8)
        axes.set_xlim(volumes[0], volumes[-1])
        axes.set_xlabel("tokens a day, input and output")
        axes.set_ylabel("USD a month")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tokens_text(x).replace(".00", "").replace("/day", "")))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: usd_text(y).replace(".00", "")))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(loc="upper left")
        figure.subplots_adjust(left=0.12, right=0.98, top=0.97, bottom=0.12)
        return as_svg(figure, f"cost a month against tokens a day, {name} against {comparison['against']}: {comparison['verdict']}")


def _band(axes: Axes, volumes: FloatArray, quantiles: Any, colour: str) -> None:
    low, _, high = (np.asarray(row, dtype=np.float64) for row in quantiles)
    axes.fill_between(volumes, low, high, color=colour, alpha=0.15, linewidth=0)


def _mark_crossings(axes: Axes, crossings: Json, volumes: FloatArray, api: LineCurve) -> None:
    """Green along the bottom where self-hosting is cheaper; a point at each volume where it begins to be."""
    permanent = crossings["permanent_tokens_per_day"]
    spans = [tuple(span) for span in crossings["own_also_wins"]] + ([] if permanent is None else [(permanent, volumes[-1])])
    for i, (low, high) in enumerate(spans):
        label = "self-hosting is cheaper" if i == 0 else None
        axes.axvspan(low, high, ymax=0.03, color=GREEN, linewidth=0, label=label)
        axes.plot([low], [float(api.usd_per_month(low))], "o", color=GREEN, markersize=5)
    if permanent is not None:
        at = (permanent, float(api.usd_per_month(permanent)))
        note = f"for good from {tokens_text(permanent)}"
        axes.annotate(note, at, xytext=(-8, 10), textcoords="offset points", ha="right", fontsize=8)


def draw_tornado(comparison: Json, name: str, rows: int = 8) -> str:
    """A bar for each input: the monthly saving at the case's volume between the ends of its spread; the widest decides."""
    swings = comparison["tornado"][:rows]
    at = comparison["at_volume"]
    point = at["api_usd_per_month"] - at["own_usd_per_month"]
    with mpl.rc_context(RC | {"svg.hashsalt": f"tornado {name} {comparison['against']}"}):
        figure = Figure(figsize=(8.4, 1.1 + 0.38 * len(swings)))
        axes = figure.subplots()
        for row, swing in enumerate(swings):
            for end, colour in (("low", BLUE), ("high", VERMILION)):
                saving = swing[f"saving_at_{end}_usd"]
                axes.barh(row, saving - point, left=point, color=colour, height=0.6, label=f"input at its {end} end" if row == 0 else None)
        axes.axvline(point, color=BLACK, linewidth=0.8)
        if axes.get_xlim()[0] < 0 < axes.get_xlim()[1]:
            axes.axvline(0, color=BLACK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(swings)), [_swing_label(swing) for swing in swings])
        axes.invert_yaxis()
        axes.set_xlabel(f"saving over the API, USD a month at {tokens_text(at['tokens_per_day'])} (below 0 the API is cheaper)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: usd_text(x).replace(".00", "")))
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        height = 1.1 + 0.38 * len(swings)
        figure.subplots_adjust(left=0.42, right=0.97, top=1 - 0.3 / height, bottom=0.55 / height)
        return as_svg(figure, f"what moves the saving of {name} most")


def _swing_label(swing: Json) -> str:
    mark = " *" if swing["is_assumed"] else ""
    return f"{INPUT_WORDS[swing['input']]}: {_plain(swing['low'])} to {_plain(swing['high'])}{mark}"


def _plain(value: float) -> str:
    """Three digits, or whole numbers with commas: never 1.12e+03."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def draw_routing(summary: Json) -> str:
    """For each mix three bars: everything to the expert, the cascade, the router. Serving is dark, checks and losses stand on it."""
    mixes = summary["mixes"]
    with mpl.rc_context(RC | {"svg.hashsalt": "routing"}):
        figure = Figure(figsize=(8.4, 0.8 + 1.0 * len(mixes)))
        axes = figure.subplots()
        labels: list[str] = []
        rows: list[int] = []
        for i, mix in enumerate(mixes):
            for k, (style, bill) in enumerate([("all expert", mix["all_expert"]), *reversed(mix["styles"].items())]):
                row = 4 * i + k
                serving, lost = bill["usd_per_month"], bill["check_usd_per_month"] + bill["loss_usd_per_month"]
                is_first = not rows
                axes.barh(row, serving, color=BLUE, label="serving" if is_first else None)
                axes.barh(row, lost, left=serving, color=ORANGE, alpha=0.5, label="checks, and what errors cost" if is_first else None)
                rows.append(row)
                labels.append(f"{clean_text(mix['name'])[:40]}: {style}" if k == 0 else style)
        axes.set_yticks(rows, labels)
        axes.invert_yaxis()
        axes.set_xlabel("USD a month")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: usd_text(x).replace(".00", "")))
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        figure.subplots_adjust(left=0.4, right=0.97, top=0.9, bottom=0.16)
        return as_svg(figure, "what each mix costs a month, with its checks and errors")
