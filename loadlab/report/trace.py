"""A trace's profile in a terminal, up to 80 columns wide, and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from loadlab.analysis.trace_profile import LengthProfile, TraceProfile
from loadlab.report.traffic import bars
from loadlab.schema import shown_key
from loadlab.units import format_duration

COLUMNS = 60
MAX_SHOWN_LABELS = 8
PERCENTS = (10, 50, 90, 95, 99)


def draw_trace(profile: TraceProfile) -> list[str]:
    """The lines of a drawing; warnings come last, so that they stand above the prompt."""
    failed = f", {profile.failed_rows:,} of them failed" if profile.failed_rows else ""
    lines = [f"{profile.source}: {profile.format.value}, {profile.rows:,} rows{failed}", *_times(profile), ""]
    lines += ["lengths, tokens", f"  {'':<7}{'mean':>9}" + "".join(f"{f'p{p}':>9}" for p in PERCENTS) + f"{'max':>10}"]
    lines += [_length_row(name, lengths) for name, lengths in (("prompt", profile.prompt), ("answer", profile.output))]
    if profile.rank_correlation is not None:
        lines.append(f"  rank correlation of prompt and answer {profile.rank_correlation:+.2f}")
    lines += ["", *_sorts(profile)] if profile.labels or profile.images or profile.hit_ratio is not None else []
    return lines + [f"beware: {warning}" for warning in profile.warnings]


def _times(profile: TraceProfile) -> list[str]:
    if not profile.span_s:
        return ["no times" if not len(profile.second_counts) else "all at once"]
    cv = "not known" if profile.gap_cv is None else f"{profile.gap_cv:.3g}"
    tick = f", clock of {profile.tick_s:g} s" if profile.tick_s else ""
    lines = [f"{format_duration(profile.span_s)}, {profile.rate_per_s:.4g}/s, CV of gaps {cv} (Poisson: 1){tick}"]
    rates, width_s = rates_over_time(profile, COLUMNS)
    lines += ["", f"rate, {format_duration(width_s)} a column, tallest {rates.max():.3g}/s", f"  {bars(rates)}"]
    if not profile.bursts:
        return [*lines, "  too short for a dispersion: it takes 20 windows"]
    lines.append(f"  {'counts in windows of':<38}" + "".join(f"{f'{b.window_s} s':>9}" for b in profile.bursts))
    lines.append(f"  {'dispersion, variance / mean, Poisson 1':<38}" + "".join(f"{b.dispersion:>9.3g}" for b in profile.bursts))
    lines.append(f"  {'burst factor, p99 / mean':<38}" + "".join(f"{b.burst_factor:>9.3g}" for b in profile.bursts))
    return lines


def rates_over_time(profile: TraceProfile, columns: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], float]:
    """Mean rates in at most so many columns of whole seconds, and the width of one, s."""
    counts = profile.second_counts
    width = max(1, -(-len(counts) // columns))
    if not len(counts):
        return np.array([profile.rate_per_s]), profile.span_s
    starts = np.arange(0, len(counts), width)
    return np.add.reduceat(counts, starts) / np.diff(np.append(starts, len(counts))), float(width)


def _length_row(name: str, lengths: LengthProfile) -> str:
    quantiles = "".join(f"{lengths.quantile(p / 100):>9,}" for p in PERCENTS)
    return f"  {name:<7}{lengths.mean:>9,.0f}{quantiles}{lengths.maximum:>10,}"


def _sorts(profile: TraceProfile) -> list[str]:
    lines = []
    if profile.labels:
        most = list(profile.labels.items())[:MAX_SHOWN_LABELS]
        told = ", ".join(f"{shown_key(label) if label else '(none)'} {count / profile.rows:.1%}" for label, count in most)
        more = f", and {len(profile.labels) - len(most)} more" if len(profile.labels) > len(most) else ""
        lines.append(f"sorts: {told}{more}")
    if profile.images:
        lines.append(f"images: {profile.images:,} in {profile.image_rows:,} rows")
    if profile.hit_ratio is not None:
        words = f"prefix hits: {profile.hit_ratio:.1%} of prompt tokens with an infinite cache"
        lines.append(f"{words} ({profile.distinct_blocks:,} blocks of {profile.block_tokens} tokens)")
    return lines


def trace_json(profile: TraceProfile) -> dict[str, Any]:
    """The profile as JSON; units in names."""
    return {
        "schema": "loadlab.trace-profile/1",
        "file": profile.source,
        "format": profile.format.value,
        "rows": profile.rows,
        "failed_rows": profile.failed_rows,
        "span_s": profile.span_s,
        "rate_per_s": profile.rate_per_s,
        "gap_cv": profile.gap_cv,
        "tick_s": profile.tick_s,
        "bursts": [{"window_s": b.window_s, "dispersion": b.dispersion, "burst_factor": b.burst_factor} for b in profile.bursts],
        "prompt_tokens": _lengths_json(profile.prompt),
        "output_tokens": _lengths_json(profile.output),
        "rank_correlation": profile.rank_correlation,
        "sorts": profile.labels,
        "images": profile.images,
        "rows_with_images": profile.image_rows,
        "block_tokens": profile.block_tokens or None,
        "distinct_blocks": profile.distinct_blocks,
        "prefix_hit_ratio": profile.hit_ratio,
        "warnings": list(profile.warnings),
    }


def _lengths_json(lengths: LengthProfile) -> dict[str, Any]:
    quantiles = {f"p{p}": lengths.quantile(p / 100) for p in (1, *PERCENTS)}
    return {"mean": lengths.mean, **quantiles, "max": lengths.maximum, "cap_share": lengths.cap_share}
