"""`prediction` of summary.json: the band of a simulated run's figures, from band.json beside its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.record.atomic_file import save_bytes
from loadlab.report.text import clean_text
from loadlab.units import format_duration

BAND_SCHEMA, BAND_FILE = "loadlab/band/1", "band.json"
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
Json = dict[str, Any]
_NOTE = "10 to 90 %: the run again with every step at both ends of the residuals of measured rows"
_LATENCIES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end"}


def save_band(run: Path, band: Json) -> None:
    """Writes band.json, all of it or nothing."""
    save_bytes(run / BAND_FILE, orjson.dumps(band, option=orjson.OPT_INDENT_2))


def prediction_block(run: Path, metrics: Json | None) -> Json | None:
    """The band of each figure of `metrics`, {low, high}; None for a run that has none. Raises InputError if the file is damaged."""
    path = run / BAND_FILE
    if not path.exists():
        return None
    try:
        band, metrics = orjson.loads(path.read_bytes()), metrics or {}
        low, high = band["ends"]
        found: Json = {
            name: _of_percentiles(name, low, high, metrics, band["ttft_scale"]) for name in _LATENCIES if name in low and name in high
        }
        name = "output_tokens_per_s"
        if name in low and name in high:
            found[name] = _ends(low[name]["value"], high[name]["value"])
        return {"note": _NOTE, "pools": band["pools"], **found}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"is damaged ({type(error).__name__}); run again to have a band", source=str(path)) from None


def _of_percentiles(name: str, low: Json, high: Json, metrics: Json, ttft_scale: list[float]) -> Json:
    """Both ends of each percentile; TTFT's, which hang on how clients fall into step, are as wide as its own residuals at least."""
    found = {}
    for key in PERCENTILES:
        ends = [low[name][key], high[name][key]]
        value = ((metrics.get(name) or {}).get(key) or {}).get("value")
        if name == "ttft_s" and value is not None:
            ends += [value * scale for scale in ttft_scale]
        if value is not None:
            ends.append(value)
        found[key] = _ends(*ends)
    return found


def _ends(*values: float) -> Json:
    return {"low": min(values), "high": max(values)}


def prediction_lines(block: Json | None) -> list[str]:
    """The same for people, a line for each latency; nothing where there is no band."""
    if block is None or not any(name in block for name in _LATENCIES):  # nothing succeeded at either end
        return []
    calibrations = sorted({clean_text(str(pool["calibration"])) for pool in block["pools"].values()})
    lines = [f"Prediction, {' and '.join(calibrations)}: 8 in 10 measured values lay within"]
    for name, words in _LATENCIES.items():
        if name in block:
            spans = (
                f"{key} {format_duration(block[name][key]['low'])} to {format_duration(block[name][key]['high'])}"
                for key in ("p50", "p95", "p99")
            )
            lines.append(f"  {words}: {', '.join(spans)}")
    tokens = block.get("output_tokens_per_s")
    if tokens is not None:
        lines.append(f"  output tokens/s: {tokens['low']:,.0f} to {tokens['high']:,.0f}")
    return lines
