"""Rates until two, near to each other, hold and do not hold the SLO."""

from __future__ import annotations

from collections.abc import Callable

from loadlab.planning.levels import Level

MOST_RATES = 14


def bracket(level_at: Callable[[float], Level], first_per_s: float, budget: float, *, close: float, widen: float) -> list[Level]:
    """Levels in the order of asking: by steps of `widen` until one holds and one breaks the budget, then halved down to a ratio of `close`.

    At most MOST_RATES of them, so that they may all hold, or none.
    """
    levels = [level_at(first_per_s)]
    while len(levels) <= MOST_RATES:
        held = [level.rate_per_s for level in levels if holds(level, budget)]
        broken = [level.rate_per_s for level in levels if not holds(level, budget)]
        if held and broken and min(broken) / max(held) <= close:
            break
        if not broken:
            rate = max(held) * widen
        elif not held:
            rate = min(broken) / widen
        else:
            rate = (max(held) * min(broken)) ** 0.5
        levels.append(level_at(rate))
    return levels


def holds(level: Level, budget: float) -> bool:
    """Whether what was seen at that rate is within the budget."""
    return not level.is_overloaded and level.bad_share <= budget
