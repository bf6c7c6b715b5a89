"""Shipped scenarios by name, and that every one of them asks a question and says how to answer it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.library import (
    SORT_NAMES,
    Entry,
    Sort,
    entries,
    find_cluster,
    find_scenario,
    find_shipped,
    shipped_folder,
    shipped_name,
)

SHIPPED = entries(shipped_folder())


def test_the_folder_of_a_checkout_is_found() -> None:
    assert shipped_folder() == Path(__file__).parents[2] / "scenarios"
    assert len(SHIPPED) >= 20
    assert {"smoke", "support/insurer", "t4-study"} <= {entry.name for entry in SHIPPED}


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("smoke", "smoke.toml"),
        ("insurer", "support/insurer.toml"),
        ("support/insurer", "support/insurer.toml"),
        ("t4-study", "t4-study"),
        ("scenarios/smoke.toml", "smoke.toml"),
        ("scenarios/t4-study", "t4-study"),
    ],
)
def test_a_name_leads_to_its_file_from_anywhere(name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario(Path(name)) == shipped_folder() / where


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").write_text("")
    assert find_scenario(Path("smoke")) == Path("smoke")


def test_a_name_that_nobody_has_is_told_with_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"insurerr: does not exist, and no scenario has that name\. Did you mean insurer\?"):
        find_scenario(Path("insurerr"))


@pytest.mark.parametrize("path", ["missing.toml", "/etc/passwd", "../smoke", "x/y.toml", "a\x1bb"])
def test_other_paths_come_back_as_they_are(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario(Path(path)) == Path(path)


def test_clusters_are_found_by_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t4-14b", "t4-14b.toml", "scenarios/clusters/t4-14b.toml"):
        assert find_cluster(Path(name)) == shipped_folder() / "clusters" / "t4-14b.toml"
    with pytest.raises(InputError, match=r"t4-14bb: does not exist, and no cluster .* has that name\. Did you mean t4-14b\?"):
        find_cluster(Path("t4-14bb"))
    assert find_cluster(Path("elsewhere/t4-14b.toml")) == Path("elsewhere/t4-14b.toml")


@pytest.mark.parametrize(("sort", "name"), [("hosting", "l40s-70b"), ("demand", "diurnal"), ("prices", "public-2026-11")])
def test_hosting_demand_and_prices_are_found_by_name_too(sort: Sort, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for written in (name, f"{name}.toml", f"scenarios/{sort}/{name}.toml"):
        assert find_shipped(Path(written), sort) == shipped_folder() / sort / f"{name}.toml"
    with pytest.raises(InputError, match=rf"no {SORT_NAMES[sort]} that ships .* Did you mean {name}\?"):
        find_shipped(Path(f"{name}x"), sort)
    assert find_shipped(Path(f"{name}.json"), sort) == Path(f"{name}.json")


def test_a_shipped_file_is_kept_by_its_name_wherever_loadlab_lies() -> None:
    assert shipped_name(shipped_folder() / "prices" / "public-2026-11.toml") == "scenarios/prices/public-2026-11.toml"
    assert shipped_name(Path("mine/book.toml")) == "mine/book.toml"


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_every_shipped_scenario_says_what_it_is_for(entry: Entry) -> None:
    """By the question of its header, or at least by its description; and whoever asks a question says how to answer it."""
    assert entry.question or entry.description
    if entry.question:
        assert "?" in entry.question
        assert entry.command
    named = re.search(r"loadlab run (\S+)", entry.command)
    if named is not None:
        assert find_scenario(Path(named[1])).resolve() == entry.path


def test_most_shipped_scenarios_ask_a_question() -> None:
    assert sum(bool(entry.question) for entry in SHIPPED) >= 20
