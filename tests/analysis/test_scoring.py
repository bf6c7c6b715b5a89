from __future__ import annotations

import pytest

from loadlab.analysis.scoring import Scored, Unpredicted, score


def scored(measured: float, predicted: float, metric: str = "tpot_ms", **more: object) -> Scored:
    row = {"gpu": "g", "kind": "dense", "phase": "p", "engine": "e", "metric": metric, "measured": measured, "predicted": predicted}
    return Scored(**(row | more))  # type: ignore[arg-type]


def test_errors_are_percent_of_the_measured() -> None:
    """10 measured: 11, 8 and 10 predicted are +10, -20 and 0 %."""
    found = score([scored(10, 11), scored(10, 8), scored(10, 10)], [])
    (group,) = found["groups"]
    assert (group["n"], group["median"], group["mean"]) == (3, pytest.approx(10), pytest.approx(10))
    assert group["bias"] == pytest.approx(-10 / 3)
    assert group["p90"] == pytest.approx(18)  # of 0, 10, 20: linear between the last two


def test_coverage_counts_only_rows_with_a_band() -> None:
    found = score([scored(10, 10, low=9, high=11), scored(12, 10, low=9, high=11), scored(1, 1)], [])
    assert found["total"]["tpot_ms"]["band_coverage"] == 0.5


def test_what_is_not_predicted_is_counted_and_listed() -> None:
    missed = [Unpredicted(metric="ttft_ms", reason="no such model"), Unpredicted(metric="tpot_ms", reason="no such model")]
    found = score([scored(10, 10)] * 3, missed)
    assert found["unpredicted"] == [{"reason": "no such model", "n": 2}]
    assert found["total"]["tpot_ms"]["predicted_share"] == 0.75
    assert found["total"]["ttft_ms"] == {
        "n": 0, "median": None, "mean": None, "p90": None, "bias": None, "band_coverage": None, "predicted_share": 0.0,
    }  # fmt: skip
