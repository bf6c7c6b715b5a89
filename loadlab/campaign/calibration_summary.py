"""A calibration for machines: what every answer that rests on it can be traced to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loadlab.campaign.calibrate import CONFIDENCE, LIMIT, UNSEEN_S, Calibrated, Figure
from loadlab.campaign.tuning import WORDS
from loadlab.schema import as_table

SCHEMA = "loadlab/calibration/1"
Json = dict[str, Any]


def summarise_calibration(calibrated: Calibrated, *, cluster: str, out: str, command: str) -> Json:
    """The JSON of a calibration. Seconds; differences are simulated / measured - 1."""
    return {
        "schema": SCHEMA,
        "cluster": cluster,
        "out": None if calibrated.is_refused else out,
        "is_refused": calibrated.is_refused,
        "sentence": _sentence(calibrated),
        "what_next": what_next(calibrated),
        "limit": LIMIT,
        "unseen_s": UNSEEN_S,
        "confidence": CONFIDENCE,
        "pools": list(calibrated.pools),
        "runs": [
            {
                "name": run.name, "plan_digest": run.digest, "target": run.target, "rate_per_s": run.rate_per_s, "n": len(run),
                "is_simulated": run.is_simulated, "notes": list(run.notes), "kv_use": None if kv is None else asdict(kv),
            }
            for run, kv in zip(calibrated.runs, calibrated.kv, strict=True)
        ],
        "left_out": [asdict(run) for run in calibrated.left_out],
        "constants": [
            {
                "name": f.constant.name, "words": WORDS[f.constant.name], "before": f.constant.start, "after": f.value,
                "low": f.low, "high": f.high, "is_told": f.is_told, "why": f.why,
            }
            for f in calibrated.fit.constants
        ],
        "figures": [_figure(figure) for figure in calibrated.figures],
        "calibration": None if calibrated.spec.calibration is None else as_table(calibrated.spec.calibration),
        "simulations": calibrated.fit.evaluations,
        "command": command,
    }  # fmt: skip


def _figure(figure: Figure) -> Json:
    measured = figure.measured
    return {
        "level": figure.level, "rate_per_s": figure.rate_per_s, "latency": figure.latency, "what": figure.what,
        "measured": measured.value, "low": measured.low, "high": measured.high, "n": measured.n, "tau": measured.tau,
        "before": figure.before_s, "after": figure.after_s,
        "difference_before": figure.before_s / (measured.value or float("nan")) - 1,
        "difference_after": figure.difference, "is_too_far": figure.is_too_far,
    }  # fmt: skip


def _sentence(calibrated: Calibrated) -> str:
    runs, n = len(calibrated.runs), sum(len(run) for run in calibrated.runs)
    of = f"{runs} run{'s' if runs > 1 else ''}, {n:,} requests"
    block = calibrated.spec.calibration
    assert block is not None, "every calibration has its block"
    if not calibrated.is_refused:
        return f"calibrated on {of}: the simulator differs from what was measured by at most {100 * block.worst_difference:.1f} %"
    worst = max(calibrated.too_far, key=lambda figure: abs(figure.difference))
    return (
        f"REFUSED: {len(calibrated.too_far)} of {len(calibrated.figures)} figures of {of} differ by more than {100 * LIMIT:.0f} %; "
        f"the worst, {worst.latency} {worst.what} at {worst.rate_per_s:.3g}/s, by {100 * worst.difference:+.0f} %"
    )


def what_next(calibrated: Calibrated) -> str:
    """What would settle it, or make it worth more."""
    if calibrated.is_refused:
        return (
            "No constants make this cluster do what the target did: check its model, quantisation, parallel degrees, max_running, prefix "
            "caching and replicas, and whether something else was running on the target; or leave out the run that lies off"
        )
    kept = [WORDS[f.constant.name] for f in calibrated.fit.constants if not f.is_told]
    if len(calibrated.runs) < 3:
        more = "Three or four runs between 30 and 70 % of saturation tell more constants, and check one another"
        return f"{more}. Not told by these runs: {', '.join(kept)}" if kept else more
    return f"Not told by these runs, and kept: {', '.join(kept)}" if kept else ""
