"""TOML to dataclasses: what a file of a stranger may do to messages, to time and to memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from loadlab.errors import InputError
from loadlab.schema import Bound, Positive, as_table, check_schema, read_table, read_toml, shown, shown_key, sort_of

RED = "\x1b[31mRED"


class Colour(StrEnum):
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    kind: ClassVar[str] = "left"
    many: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    kind: ClassVar[str] = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One field of every sort."""

    name: str = "x"
    wait_s: Annotated[float, Positive] = 1.0
    rate_per_s: float = 1.0
    size_bytes: float = 1.0
    count: Annotated[int, Bound("at most 10", lambda x: x <= 10)] = 1
    plain: int = 0
    flag: bool = False
    colour: Colour = Colour.BLUE
    side: Left | Right = field(default_factory=Left)
    pair: tuple[int, int] = (1, 2)
    numbers: tuple[float, ...] = ()
    named: dict[str, Left] = field(default_factory=dict)
    maybe: float | None = None
    trips_s: dict[str, Annotated[float, Positive]] = field(default_factory=dict)


def message(table: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        read_table(Sample, table, "f.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({RED: 1}, "f.toml: '\\x1b[31mRED' is not a known key"),
        ({"name": RED}, "name = '\\x1b[31mRED' must be text without control characters"),
        ({"name": "a\rb"}, "name = 'a\\rb' must be text without control characters"),
        ({"name": "\u202eabc"}, "must be text without control characters"),
        ({"name": [RED]}, "name = ['\\x1b[31mRED'] must be text in quotes"),
        ({"wait_s": RED}, "wait_s = '\\x1b[31mRED' is not a number"),
        ({"colour": RED}, "colour = '\\x1b[31mRED' must be one of blue"),
        ({"side": {"kind": RED}}, "side.kind = '\\x1b[31mRED' must be one of left, right"),
        ({"side": {"kind": "left", RED: 1}}, "side.'\\x1b[31mRED' is not a known key"),
        ({"side": RED}, "side = '\\x1b[31mRED' must be a table with kind"),
        ({"named": {RED: {}}}, "named.'\\x1b[31mRED' is a name with control characters"),
        ({"named": {"a": {RED: 3}}}, "named.a.'\\x1b[31mRED' is not a known key"),
        ({"pair": [RED]}, "pair = ['\\x1b[31mRED'] must have 2 entries"),
        ({"numbers": [RED]}, "numbers[0] = '\\x1b[31mRED'"),
        ({"flag": RED}, "flag = '\\x1b[31mRED' must be true or false"),
    ],
)
def test_control_characters_of_a_file_never_reach_a_message(table: dict[str, Any], words: str) -> None:
    text = message(table)
    assert words in text
    assert text.isprintable()


LONG = "x" * 10**5


@pytest.mark.parametrize(
    "table",
    [{LONG: 1}, {"name": [LONG]}, {"wait_s": LONG}, {"colour": LONG}, {"side": {"kind": LONG}}, {"side": {"kind": "left", LONG: 1}},
     {"named": {LONG: 3}}, {"pair": [1] * 10**5}, {"flag": [1] * 10**5}, {"count": [LONG] * 100}, {"plain": int("1" * 4000)}],
    ids=lambda table: next(iter(table))[:9],
)  # fmt: skip
def test_long_values_of_a_file_are_cut_in_messages(table: dict[str, Any]) -> None:
    assert len(message(table)) < 500


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            {"wait_s": "60"},
            "wait_s = '60' has no known unit of time (allowed: ns, us, ms, s, m, min, h, d); write 60 without quotes, or \"60s\"",
        ),
        ({"rate_per_s": "30"}, '; write 30 without quotes, or "30/s"'),
        ({"size_bytes": "24"}, '; write 24 without quotes, or "24B"'),
        ({"wait_s": "60 parsec"}, "(allowed: ns, us, ms, s, m, min, h, d)"),
        ({"wait_s": "1e400s"}, "wait_s = '1e400s' is too large a number"),
        ({"wait_s": float("inf")}, "wait_s = inf must be seconds, or a duration"),
        ({"wait_s": float("nan")}, "wait_s = nan must be seconds, or a duration"),
        ({"wait_s": True}, "wait_s = True must be seconds"),
        ({"wait_s": 10**400}, "wait_s = 1000000"),
        ({"plain": 16**5000}, "plain = (a number of thousands of digits) must be a whole number"),
        ({"name": 16**5000}, "name = (a number of thousands of digits) must be text"),
        ({"plain": 2**53 + 1}, "plain = 9007199254740993 must be a whole number of at most 2^53"),
        ({"plain": 1e300}, "plain = 1e+300 must be a whole number of at most 2^53"),
        ({"plain": 1.5}, "plain = 1.5 must be a whole number"),
        ({"count": "1k"}, "count = '1k' must be at most 10"),
        ({"side": {"kind": [1]}}, "side.kind = [1] must be one of left, right"),
        ({"side": {"kind": {}}}, "side.kind = {} must be one of left, right"),
        ({"side": {}}, "side.kind is missing: it must be one of left, right"),
        ({"side": {"kind": "lefft"}}, "side.kind = 'lefft' must be one of left, right; did you mean 'left'?"),
        ({"colour": 3}, "colour = 3 must be one of blue"),
        ({"colour": []}, "colour = [] must be one of blue"),
        ({"numbers": [0.5] * 100_001}, "numbers has 100,001 entries; at most 100,000 are read"),
        ({"maybe": "nothing"}, "maybe = 'nothing' is not a number"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_what_is_meant(table: dict[str, Any], words: str) -> None:
    assert words in message(table)


def test_a_hint_is_given_only_where_it_helps() -> None:
    assert "without quotes" not in message({"wait_s": "60 parsec"}) + message({"count": "x"}) + message({"wait_s": "-"})


def test_values_survive_the_way_there_and_back() -> None:
    table = {"wait_s": "2s", "count": "0.01k", "side": {"kind": "right"}, "named": {"a b": {"many": 3}}, "maybe": "none", "plain": 2**53}
    sample = read_table(Sample, table, "f.toml")
    assert (sample.wait_s, sample.count, sample.side, sample.named, sample.maybe) == (2, 10, Right(), {"a b": Left(many=3)}, None)
    assert read_table(Sample, as_table(sample), "again") == sample


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "9" * 5000, "is not valid TOML: Exceeds the limit"),
        ("a = " + "[" * 3000 + "]" * 3000, "is nested deeper than 32 tables"),
        ("a = " + "[" * 40 + "]" * 40, "is nested deeper than 32 tables"),
        (".".join("a" * 500) + " = 1", "is nested deeper than 32 tables"),
        ('a = "\x1b"', "is not valid TOML: "),
        ('"\\u001b[31m" = 1\n"\\u001b[31m" = 2', "is not valid TOML: "),
        ("#" * (4 * 2**20 + 1), "is larger than 4 MiB; is this a TOML file?"),
    ],
    ids=["digits", "arrays", "40 arrays", "dotted", "escape", "twice", "large"],
)
def test_a_file_that_no_person_wrote_is_an_input_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "f.toml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read_toml(path)
    assert time.process_time() - start < 1
    assert str(caught.value).isprintable()
    assert words in str(caught.value)


def test_a_device_without_end_is_too_large() -> None:
    with pytest.raises(InputError, match="/dev/zero: is larger than 4 MiB"):
        read_toml(Path("/dev/zero"))


def test_a_file_name_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_toml(tmp_path / "\x1b[2J.toml")
    assert "\\x1b[2J.toml': does not exist" in str(caught.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("loadlab/cluster/1", "schema = 'loadlab/cluster/1': this file is a cluster, and a scenario is needed here"),
        ("loadlab/campaign/7", "this file is a campaign, and a scenario is needed here"),
        ("loadlab/scenario/2", "schema = 'loadlab/scenario/2' is not one that this version reads (it reads 'loadlab/scenario/1')"),
        ("other/thing/1", "is not one that this version reads"),
        (RED, "schema = '\\x1b[31mRED' is not one"),
        (3, "schema = 3 is not one"),
        ([1], "schema = [1] is not one"),
        (None, 'schema is missing: begin the file with schema = "loadlab/scenario/1"'),
    ],
)
def test_a_file_of_another_sort_is_told_what_it_is(found: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_schema({} if found is None else {"schema": found}, "loadlab/scenario/1", "f.toml")
    assert words in str(caught.value)


def test_a_scenario_given_as_a_cluster_is_told_so() -> None:
    with pytest.raises(InputError, match="this file is a scenario, and a cluster is needed here"):
        check_schema({"schema": "loadlab/scenario/1"}, "loadlab/cluster/1", "f.toml")
    assert [sort_of(schema) for schema in ("loadlab/cluster/1", "loadlab/run/1", "x", 3)] == ["a cluster", None, None, None]


def test_numbers_by_name_have_the_unit_of_their_table() -> None:
    assert read_table(Sample, {"trips_s": {"us": "80ms", "a.b": 2}}, "f.toml").trips_s == {"us": 0.08, "a.b": 2}
    assert "trips_s.us = '80' has no known unit of time" in message({"trips_s": {"us": "80"}})
    assert "trips_s.us = 0 must be > 0" in message({"trips_s": {"us": 0}})


def test_plain_short_keys_are_shown_as_they_are() -> None:
    assert [shown_key(key) for key in ("a-b", "über", "", "a\n")] == ["a-b", "über", "''", "'a\\n'"]
    assert shown([1, "a"]) == "[1, 'a']"
