"""What --over says, which points it means, and which key of which table a point changes."""

from __future__ import annotations

import pytest

from loadlab.errors import InputError
from loadlab.planning.grid import MAX_POINTS, Axis, parse_axis, points, set_key


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("rate=1..3/s", "rate", ("1/s", "2/s", "3/s")),
        ("rate=0.5,1/s", "rate", ("0.5/s", "1/s")),
        ("rate=8..40:16/s", "rate", ("8/s", "24/s", "40/s")),
        ("tp=1,2,4", "cluster:pools.*.hardware.tensor_parallel", (1, 2, 4)),
        ("prompt.median=512,4k,32k", "scenario:classes.*.prompt_tokens.median", (512, "4k", "32k")),
        ("gpu=L40S,H100", "cluster:pools.*.hardware.gpu", ("L40S", "H100")),
        ("tiers.shares.expert=0.1,0.2", "cluster:tiers.shares.expert", (0.1, 0.2)),
        ("scenario:classes.chat.timeout_s=5,9.5", "scenario:classes.chat.timeout_s", (5, 9.5)),
    ],
)
def test_an_axis_reads_as_written(text: str, key: str, values: tuple[object, ...]) -> None:
    axis = parse_axis(text)
    assert (axis.key, axis.values) == (key, values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rate", "must be KEY=VALUES"),
        ("rate=", "must be KEY=VALUES"),
        ("rate=1,1/s", "differ from each other"),
        ("rate=5..1/s", "must go upwards"),
        ("speed=1,2", "or one of the short names rate, tp"),
    ],
)
def test_what_is_no_axis_is_told(text: str, says: str) -> None:
    with pytest.raises(InputError, match="--over") as error:
        parse_axis(text)
    assert says in str(error.value)


def test_points_are_every_combination_with_seeds_of_their_own() -> None:
    a, b = Axis(name="a", key="rate", values=(1, 2)), Axis(name="b", key="cluster:x", values=(5, 6, 7))
    grid = points((a, b), seeds=2, seed=10)
    assert [point.number for point in grid] == list(range(12))
    assert {(point.values["a"], point.values["b"], point.seed) for point in grid} == {
        (x, y, s) for x in (1, 2) for y in (5, 6, 7) for s in (10, 11)
    }
    with pytest.raises(InputError, match="at most 10,000"):
        points((a,), seeds=MAX_POINTS, seed=1)
    with pytest.raises(InputError, match="names a twice"):
        points((a, a), seeds=1, seed=1)


def test_a_star_sets_every_table_and_a_missing_one_is_told() -> None:
    table = {"pools": {"p": {"hardware": {"tp": 1}}, "q": {"hardware": {"tp": 1}}, "name": "x"}}
    assert set_key(table, "pools.*.hardware.tp", 4, "tp") == 2
    assert [table["pools"][name]["hardware"]["tp"] for name in "pq"] == [4, 4]  # type: ignore[index]
    with pytest.raises(InputError, match=r"there is no .*pools.z"):
        set_key(table, "pools.z.replicas", 2, "replicas")


def test_a_routers_other_shares_take_the_rest_in_their_ratio() -> None:
    table = {"tiers": {"shares": {"small": 0.6, "middle": 0.2, "expert": 0.2}}}
    set_key(table, "tiers.shares.expert", 0.6, "x")
    assert table["tiers"]["shares"] == pytest.approx({"small": 0.3, "middle": 0.1, "expert": 0.6})
    set_key(table, "tiers.shares.expert", 1, "x")
    set_key(table, "tiers.shares.expert", 0.5, "x")  # all others were 0: they share alike
    assert table["tiers"]["shares"] == pytest.approx({"small": 0.25, "middle": 0.25, "expert": 0.5})
    for wrong in (1.2, "many"):
        with pytest.raises(InputError, match="must be a share from 0 to 1"):
            set_key(table, "tiers.shares.expert", wrong, "x")
    with pytest.raises(InputError, match="of one of small, middle, expert"):
        set_key(table, "tiers.shares.export", 0.2, "x")
