"""Demand files: each kind of curve against numbers done by hand, regions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.errors import InputError
from loadlab.planning.demand import (
    Demand,
    DiurnalLaw,
    HourlyTable,
    RegionShare,
    TokenVolume,
    TraceCurve,
    busiest_day,
    demand_per_s,
    hours_of,
    load_demand,
    peaked_day,
)

DEMANDS = sorted((Path(__file__).parents[2] / "scenarios" / "demand").glob("*.toml"))
HERE = Path()
TABLE = tuple(float(hour) for hour in range(24))


def test_an_hourly_table_is_flat_in_its_hours_and_lower_at_weekends() -> None:
    per_s = demand_per_s(Demand(name="x", curve=HourlyTable(arrivals_per_s=TABLE, weekend_factor=0.5)), None, HERE)
    assert per_s.shape == (1, 7 * 1440)
    assert hours_of(per_s)[0, :24].tolist() == list(TABLE)
    assert hours_of(per_s)[0, 5 * 24 : 6 * 24].tolist() == [hour / 2 for hour in TABLE]  # Saturday
    assert busiest_day(per_s) == 0


def test_a_cosine_is_highest_at_its_peak_hour() -> None:
    per_s = demand_per_s(Demand(name="x", curve=DiurnalLaw(mean_per_s=10, amplitude=0.8, peak_hour=15)), None, HERE)[0]
    assert per_s[15 * 60] == pytest.approx(18)
    assert per_s[3 * 60] == pytest.approx(2)
    assert per_s.mean() == pytest.approx(10)


@given(st.floats(1, 20), st.integers(0, 23))
def test_a_peaked_day_has_mean_one_and_the_peak_that_was_asked(peak: float, hour: int) -> None:
    day = peaked_day(peak, hour)
    assert day.mean() == pytest.approx(1)
    assert day.max() == pytest.approx(peak, rel=1e-6)
    assert abs(int(day.argmax()) - hour * 60) <= 1 or peak < 1.0001


def test_tokens_become_arrivals_by_what_one_brings() -> None:
    curve = TokenVolume(tokens_per_day=30e6, peak_to_average=2.5)
    per_s = demand_per_s(Demand(name="x", curve=curve, tokens_per_arrival=1280), 99, HERE)[0]
    assert per_s.mean() * 86400 * 1280 == pytest.approx(30e6)
    assert per_s.max() == pytest.approx(2.5 * 30e6 / 86400 / 1280)
    assert demand_per_s(Demand(name="x", curve=curve), 640, HERE).mean() == pytest.approx(2 * per_s.mean())  # the capacity's own number
    with pytest.raises(ValueError, match="tokens_per_arrival is missing"):
        demand_per_s(Demand(name="x", curve=curve), None, HERE)


def test_regions_share_the_demand_each_by_its_own_clock() -> None:
    regions = {"east": RegionShare(share=3), "west": RegionShare(share=1, shift_h=6)}
    per_s = demand_per_s(Demand(name="x", curve=HourlyTable(arrivals_per_s=TABLE), regions=regions), None, HERE)
    assert hours_of(per_s)[0].tolist() == [hour * 0.75 for hour in TABLE]
    assert hours_of(per_s)[1, 6:].tolist() == [hour * 0.25 for hour in TABLE[:18]]  # what the east does at midnight, the west does at six
    assert per_s.sum() == pytest.approx(sum(TABLE) * 60)


def trace(path: Path, seconds: list[float]) -> Path:
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{s},10,10\n" for s in seconds))
    return path


def test_a_trace_is_counted_in_windows_and_plays_a_day_faster(tmp_path: Path) -> None:
    """24 minutes of trace, a minute standing for an hour: 2 arrivals in each, but 8 in the tenth, and a last row after the day."""
    stamps = [minute * 60 + at for minute in range(24) for at in ((0, 7, 15, 22, 30, 37, 45, 52) if minute == 10 else (0, 30))]
    curve = TraceCurve(path=Path(trace(tmp_path / "t.csv", [*stamps, 24 * 60.0]).name), hour_s=60, window_minutes=60, factor=3)
    per_s = demand_per_s(Demand(name="x", curve=curve), None, tmp_path)
    assert per_s.shape == (1, 1440)
    expected = [3 * (8 if hour == 10 else 2) / 60 for hour in range(24)]
    assert hours_of(per_s)[0].tolist() == pytest.approx(expected)


def test_a_trace_of_less_than_a_day_is_refused_with_what_would_do(tmp_path: Path) -> None:
    trace(tmp_path / "t.csv", [0.0, 3600.0])
    with pytest.raises(InputError, match=r"no whole day; .* hour_s = 149\.8"):
        demand_per_s(Demand(name="x", curve=TraceCurve(path=Path("t.csv"))), None, tmp_path)


@pytest.mark.parametrize("file", DEMANDS, ids=lambda file: file.stem)
def test_shipped_demands_are_read(file: Path) -> None:
    assert demand_per_s(load_demand(file), 700, file.parent).max() > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('schema = "loadlab/cluster/1"', "this file is a cluster, and a demand curve is needed here"),
        ('schema = "loadlab/demand/1"\nname = "x"', "curve"),
        ('schema = "loadlab/demand/1"\nname = "x"\ncurve = { kind = "hourly", arrivals_per_s = [1, 2] }', "2 entries must be 24"),
        (
            'schema = "loadlab/demand/1"\nname = "x"\ncurve = { kind = "diurnal", mean_per_s = 1, amplitude = 2 }',
            "curve.amplitude = 2 must be between 0 and 1",
        ),
        ('schema = "loadlab/demand/1"\nname = "x"\ncurve = { kind = "weekly" }', "must be one of diurnal, hourly, tokens, trace"),
        (
            'schema = "loadlab/demand/1"\nname = "x"\ncurve = { kind = "tokens", tokens_per_day = "1M" }\n[regions."a b"]\nshare = 1',
            "letters, digits, dashes or underscores",
        ),
    ],
)
def test_bad_files_are_told_by_key_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "d.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_demand(file)
