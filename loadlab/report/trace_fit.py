"""A fit in words, as JSON, and as the scenario file that it becomes."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import tomli_w

from loadlab.analysis.burstiness import Burstiness
from loadlab.analysis.fit_arrivals import ArrivalFit
from loadlab.analysis.fit_lengths import LengthFit
from loadlab.analysis.trace_fit import ClassFit, TraceFit
from loadlab.scenario.model import Scenario
from loadlab.schema import as_table

NAME = 35
LENGTHS = 30
WIDTH = 7  # of a dispersion
FOLD = 80  # columns of the report
MAX_CLASSES = 8


def draw_fit(fit: TraceFit) -> list[str]:
    """The lines of a report: arrivals tried, lengths, and the verdict last."""
    widths = [b.window_s for b in fit.bursts]
    lines = [f"fitted to {fit.rows:,} requests in {fit.span_s:.6g} s, {fit.rows / fit.span_s:.4g}/s; medians of 5 seeds", ""]
    heads = "".join(f"{f'{w} s':>{WIDTH}}" for w in widths)
    lines.append(f"  {'':<{NAME + 22}}{'dispersion at':>{WIDTH * max(1, len(widths))}}")
    lines.append(f"  {'arrivals':<{NAME}}{'AIC':>10}{'KS':>6}{'rate':>6}{heads}")
    lines.append(f"  {'the trace':<{NAME}}{'':>10}{'':>6}{1:>6.2f}{_dispersions(fit.bursts)}")
    lines += [_arrival_row(tried, is_chosen=tried is fit.chosen) for tried in fit.tried]
    lines += ["", "* chosen; x: does not reproduce the trace's rate, dispersion or bursts", ""]
    lines.append(f"  {'lengths':<{LENGTHS}}{'law':<16}{'KS':>6}{'mean':>6}")
    for found in fit.classes[:MAX_CLASSES]:
        lines += _class_rows(found)
    if len(fit.classes) > MAX_CLASSES:
        lines.append(f"  and {len(fit.classes) - MAX_CLASSES} more classes; --json tells all")
    lines += ["", *_likeness(fit)]
    told = [*(f"beware: {note}" for note in fit.notes), "", *verdict(fit)]
    return [*lines, *(line for words in told for line in wrap(words, FOLD, subsequent_indent="    ") or [""])]


def _arrival_row(fit: ArrivalFit, *, is_chosen: bool) -> str:
    mark = "*" if is_chosen else " " if fit.is_good else "x"
    goodness = fit.goodness
    name = fit.name.removeprefix("rate in ")
    told = f"{mark} {name[:NAME]:<{NAME}}{fit.aic:>10,.0f}{goodness.gap_ks:>6.2f}{goodness.rate_ratio:>6.2f}"
    return f"{told}{_dispersions(goodness.bursts)}"


def _dispersions(bursts: tuple[Burstiness, ...]) -> str:
    return (
        "".join(f"{b.dispersion:>{WIDTH},.0f}" if b.dispersion >= 999 else f"{b.dispersion:>{WIDTH}.3g}" for b in bursts) or "  too short"
    )


def _class_rows(found: ClassFit) -> list[str]:
    pairs = (("prompt", found.prompt, found.prompt_tried), ("answer", found.output, found.output_tried))
    return [
        line
        for what, chosen, tried in pairs
        for line in (
            f"  {f'{found.name[:18]} {what}':<{LENGTHS}}{chosen.name:<16}{chosen.ks:>6.3f}{chosen.mean_ratio:>6.2f}",
            *wrap(f"rejected, KS: {_rejected(chosen, tried)}", FOLD, initial_indent=" " * 4, subsequent_indent=" " * 6),
        )
    ]


def _rejected(chosen: LengthFit, tried: tuple[LengthFit, ...]) -> str:
    return ", ".join(f"{fit.name} {fit.ks:.2f}" for fit in tried if fit is not chosen) or "none"


def _likeness(fit: TraceFit) -> list[str]:
    like = fit.likeness
    lengths = f"KS of lengths {like.prompt_ks:.3f} and {like.output_ks:.3f}"
    lines = [f"generated anew, the trace's in brackets: rate {like.arrivals.rate_ratio:.3f} (1)", f"  {lengths}"]
    for wanted in fit.bursts:
        found = next((b for b in like.arrivals.bursts if b.window_s == wanted.window_s), None)
        if found is not None:
            burst = f"burst factor {found.burst_factor:.3g} ({wanted.burst_factor:.3g})"
            beside = f"dispersion {found.dispersion:.3g} ({wanted.dispersion:.3g}), {burst}"
            lines.append(f"  in windows of {wanted.window_s} s: {beside}")
    if fit.hit_ratio is not None and like.hit_ratio is not None:
        lines.append(f"  prefix hits, infinite cache: {like.hit_ratio:.1%} of prompt tokens ({fit.hit_ratio:.1%})")
    return lines


def verdict(fit: TraceFit) -> list[str]:
    """Good, or not good and why and what it would take."""
    if fit.is_good and fit.arrivals_assumed:
        return ["GOOD FIT of lengths only: the trace tells no times, and its arrivals are assumed"]
    if fit.is_good:
        lengths = " and lengths" if fit.hit_ratio is None else ", lengths and prefix hits"
        return [f"GOOD FIT: rate, dispersion and bursts at every window{lengths} are like the trace's"]
    lines = ["NOT A GOOD FIT: do not size anything with it", *(f"  {words}" for words in fit.misses)]
    better = [tried for tried in fit.tried if tried.is_good and tried is not fit.chosen]
    if better and not fit.chosen.is_good:
        best = min(better, key=lambda tried: tried.aic)
        return [*lines, f"  what it would take: {best.name} (leave out --arrivals, or --arrivals {best.family})"]
    if fit.bursts:
        finer = "a shorter part of the trace (--window), whose rate can be told in finer steps"
        return [*lines, f"  what it would take: {finer}, or a replay of the trace itself"]
    return [*lines, "  what it would take: a longer trace, or a replay of the trace itself"]


def fit_json(fit: TraceFit) -> dict[str, Any]:
    """Everything that is known of the fit; units in names."""
    like = fit.likeness
    return {
        "schema": "loadlab.trace-fit/1",
        "is_good": fit.is_good,
        "misses": list(fit.misses),
        "notes": list(fit.notes),
        "rows": fit.rows,
        "span_s": fit.span_s,
        "trace": {"bursts": _bursts_json(fit.bursts), "prefix_hit_ratio": fit.hit_ratio},
        "generated": {
            "rate_ratio": like.arrivals.rate_ratio,
            "bursts": _bursts_json(like.arrivals.bursts),
            "gap_ks": like.arrivals.gap_ks,
            "prompt_ks": like.prompt_ks,
            "output_ks": like.output_ks,
            "prefix_hit_ratio": like.hit_ratio,
        },
        "arrivals": [
            {
                "name": tried.name,
                "family": tried.family,
                "is_chosen": tried is fit.chosen,
                "is_good": tried.is_good,
                "misses": list(tried.misses),
                "parameters": tried.parameters,
                "aic": tried.aic,
                "gap_ks": tried.goodness.gap_ks,
                "rate_ratio": tried.goodness.rate_ratio,
                "bursts": _bursts_json(tried.goodness.bursts),
            }
            for tried in fit.tried
        ],
        "classes": [_class_json(found) for found in fit.classes],
    }


def _bursts_json(bursts: tuple[Burstiness, ...]) -> list[dict[str, Any]]:
    return [{"window_s": b.window_s, "dispersion": b.dispersion, "burst_factor": b.burst_factor} for b in bursts]


def _class_json(found: ClassFit) -> dict[str, Any]:
    def laws(chosen: LengthFit, tried: tuple[LengthFit, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": law.name,
                "is_chosen": law is chosen,
                "parameters": law.parameters,
                "aic": law.aic,
                "ks": law.ks,
                "mean_ratio": law.mean_ratio,
            }
            for law in tried
        ]

    return {
        "name": found.name,
        "rows": found.rows,
        "prompt_tokens": laws(found.prompt, found.prompt_tried),
        "output_tokens": laws(found.output, found.output_tried),
        "rank_correlation": found.correlation,
        "prefix_hit_ratio": None if found.hit_ratio is None else {"trace": found.hit_ratio[0], "generated": found.hit_ratio[1]},
    }


def scenario_text(fit: TraceFit, source: str) -> str:
    """The scenario's file: the verdict as a comment, then TOML."""
    comments = [f"Fitted to {source}.", *verdict(fit), *fit.notes]
    if fit.chosen.family == "steps":
        comments.append("The arrivals end with the trace: for a longer run use an mmpp, or write phases.")
    lines = [f"# {''.join(c if c.isprintable() else '?' for c in line)}" for line in comments]
    return "\n".join(lines) + "\n" + tomli_w.dumps(scenario_table(fit.scenario))


def scenario_table(scenario: Scenario) -> dict[str, Any]:
    """What a scenario's file says; what is empty is left out."""
    table = {"schema": "loadlab/scenario/1", **as_table(scenario)}
    pruned: dict[str, Any] = _pruned(table)
    return pruned


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item not in ((), [], "", {})}
    return [_pruned(item) for item in value] if isinstance(value, list) else value
