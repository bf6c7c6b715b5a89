"""Colours of a terminal read on white and on black: contrast as WCAG 2.1 defines it."""

from __future__ import annotations

import pytest
from rich.style import Style

from loadlab.report.terminal_styles import GOOD, OPEN


def luminance(triplet: tuple[int, int, int]) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in triplet)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("style", [GOOD, OPEN])
def test_a_colour_stands_out_from_white_and_from_black(style: str) -> None:
    colour = Style.parse(style).color
    assert colour is not None
    seen = luminance(colour.get_truecolor())
    assert 1.05 / (seen + 0.05) >= 4.2
    assert (seen + 0.05) / 0.05 >= 4.2
