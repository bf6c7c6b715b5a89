"""The arithmetic of a stretch: steps of which number i, from 0, takes `first_ps + i * slope_ps`, since only the contexts grow."""

from __future__ import annotations

from math import sqrt


def duration_ps(steps: int, first_ps: int, slope_ps: int) -> int:
    """How long so many steps take."""
    return steps * first_ps + slope_ps * (steps * (steps - 1) // 2)


def steps_beyond(span_ps: int, first_ps: int, slope_ps: int) -> int:
    """The fewest steps that take longer than `span_ps` >= 0: a float root, mended to the exact integer."""
    if slope_ps == 0:
        return span_ps // first_ps + 1
    linear = first_ps - slope_ps / 2
    steps = int((sqrt(linear * linear + 2.0 * slope_ps * span_ps) - linear) / slope_ps)
    left = span_ps - steps * first_ps - slope_ps * (steps * (steps - 1) // 2)  # of the span, after so many steps
    while left >= 0:
        left -= first_ps + slope_ps * steps
        steps += 1
    while left < -first_ps - slope_ps * (steps - 1):
        steps -= 1
        left += first_ps + slope_ps * steps
    return steps
