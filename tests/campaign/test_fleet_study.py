"""Words of a fleet's notes."""

from __future__ import annotations

import pytest

from loadlab.campaign.fleet_study import heavier_text


@pytest.mark.parametrize(("minutes", "text"), [(58, "1.03 times as much"), (14, "4.3 times as much"), (4, "15 times as much")])
def test_what_is_late_never_weighs_one_times_as_much(minutes: int, text: str) -> None:
    assert heavier_text(60 / minutes) == text
