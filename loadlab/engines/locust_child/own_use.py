"""What this process used of its machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def use() -> dict[str, float]:
    """Counters now, for `used`."""
    return {"cpu_s": time.process_time(), "wall_s": time.monotonic(), "run_queue_wait_s": _run_queue_wait_s() or 0.0}


def used(before: dict[str, float]) -> dict[str, Any]:
    """What was used since `before`, as in `ClientFacts`."""
    spent = {key: value - before[key] for key, value in use().items()}
    if _run_queue_wait_s() is None:
        spent.pop("run_queue_wait_s")
    return {**spent, "cpu_total_s": time.process_time(), "peak_rss_bytes": _peak_rss_bytes()}


def _run_queue_wait_s() -> float | None:
    """Seconds in which this process could have run and had no core: the second figure of schedstat; None where there is none."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _peak_rss_bytes() -> int | None:
    """Highest resident memory of this process; getrusage would count that of whoever started it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)
