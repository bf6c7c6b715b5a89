"""The scenarios that loadlab ships, found by name: `insurer`, `support/insurer`, or `scenarios/smoke.toml` where no such file is."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadlab.errors import InputError
from loadlab.scenario.names import CAMPAIGN_FILE
from loadlab.schema import read_toml, shown, shown_path, sort_of

Sort = Literal["clusters", "hosting", "demand", "prices"]  # folders of shipped files beside the scenarios
SORT_NAMES: dict[Sort, str] = {"clusters": "cluster", "hosting": "hosting file", "demand": "demand", "prices": "price book"}
_PACKAGE = Path(__file__).parents[1]
_RUN = re.compile(r"^#\s+(loadlab run \S+.*)$", re.MULTILINE)
_TARGET = re.compile(r"--target (sim:\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A scenario or campaign in a folder. `question` is what its header asks, `answer` where a report answers it, `command` how that runs
    it; empty where it says nothing."""

    name: str
    path: Path  # the file, or a campaign's folder
    is_campaign: bool
    description: str
    question: str
    answer: str
    command: str

    @property
    def target(self) -> str:
        """What the header's command loads, such as `sim:scenarios/clusters/t4-14b.toml`; empty where it names no cluster."""
        found = _TARGET.search(self.command)
        return "" if found is None else found[1]

    @property
    def cluster(self) -> Path | None:
        """The cluster that the header's command names, as a file; None where there is none."""
        return find_cluster(Path(self.target.removeprefix("sim:"))) if self.target else None


def shipped_folder() -> Path:
    """Where the scenarios lie: inside an installed package, or beside it in a checkout."""
    inside = _PACKAGE / "_scenarios"
    return inside if inside.is_dir() else _PACKAGE.parent / "scenarios"


def entries(folder: Path) -> list[Entry]:
    """Every scenario and campaign below a folder, by name. Raises InputError on a file that is not TOML."""
    found = []
    for path in sorted(folder.rglob("*.toml")):
        if path.name != CAMPAIGN_FILE and (path.parent / CAMPAIGN_FILE).is_file():
            continue  # an experiment
        table = read_toml(path)
        sort = sort_of(table.get("schema"))
        if sort not in ("a scenario", "a campaign"):
            continue
        whole = path.parent if path.name == CAMPAIGN_FILE else path
        found.append(
            _entry(whole, path, _name_in(whole, folder), is_campaign=sort == "a campaign", description=table.get("description", ""))
        )
    return found


def entry_of(path: Path, *, is_campaign: bool) -> Entry:
    """The entry of one scenario file, or of a campaign's file or folder."""
    file = path / CAMPAIGN_FILE if path.is_dir() else path
    return _entry(path, file, _name_in(path, shipped_folder()), is_campaign=is_campaign, description=read_toml(file).get("description", ""))


def _name_in(path: Path, folder: Path) -> str:
    inside = path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder.resolve()
    return path.resolve().relative_to(folder.resolve()).with_suffix("").as_posix() if inside else path.stem


def _entry(whole: Path, file: Path, name: str, *, is_campaign: bool, description: str) -> Entry:
    head = file.read_text(encoding="utf-8").partition("schema")[0]
    question, answer = (re.search(rf"^# {word}: (.*)$", head, re.MULTILINE) for word in ("Question", "Answer"))
    command = _RUN.search(head)
    return Entry(
        name=name,
        path=whole,
        is_campaign=is_campaign,
        description=description,
        question="" if question is None else question[1],
        answer="" if answer is None else answer[1],
        command="" if command is None else command[1],
    )


def find_scenario(path: Path) -> Path:
    """The file or folder that a person means: the path itself where there is something, else the shipped scenario of that name.

    Raises InputError on a plain name that nothing has, with the nearest one. Other paths come back as they are: reading them will tell.
    """
    if path.exists():
        return path
    name = path.with_suffix("").as_posix() if path.suffix == ".toml" else path.as_posix()
    name = name.removeprefix("scenarios/")
    there = entries(shipped_folder()) if _is_plain(name) else []
    meant = [entry for entry in there if entry.name == name] or [entry for entry in there if entry.name.rpartition("/")[2] == name]
    if len(meant) == 1:
        return meant[0].path
    if meant:
        several = ", ".join(entry.name for entry in meant)
        raise InputError(f"= {shown(name)} is the name of several scenarios: {several}", key="SCENARIO")
    if path.suffix == ".toml" or not _is_plain(name) or "/" in name:
        return path
    close = difflib.get_close_matches(name, [part for entry in there for part in {entry.name, entry.name.rpartition("/")[2]}], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"does not exist, and no scenario has that name.{hint} `loadlab scenario list` shows all", source=shown_path(path))


def find_cluster(path: Path) -> Path:
    """The cluster file that a person means, as `find_shipped` finds it."""
    return find_shipped(path, "clusters")


def find_shipped(path: Path, sort: Sort) -> Path:
    """The file of a sort that a person means: the path itself where there is one, else the one of that name that ships with loadlab.

    Raises InputError on a plain name that nothing has, with the nearest one. Other paths come back as they are: reading them will tell.
    """
    if path.exists() or not _is_plain(path.as_posix()):
        return path
    folder = shipped_folder() / sort
    shipped = folder / f"{path.name.removesuffix('.toml')}.toml"
    if shipped.is_file() and path.parent.as_posix() in (".", f"scenarios/{sort}"):
        return shipped
    if path.suffix or path.parent.as_posix() != ".":
        return path
    close = difflib.get_close_matches(path.name, [file.stem for file in sorted(folder.glob("*.toml"))], n=1)
    hint = f". Did you mean {close[0]}?" if close else ""
    raise InputError(f"does not exist, and no {SORT_NAMES[sort]} that ships with loadlab has that name{hint}", source=shown_path(path))


def shipped_name(path: Path) -> str:
    """A path as a file may keep it: one that ships with loadlab by its name in a checkout, wherever loadlab is installed."""
    folder = shipped_folder()
    return f"scenarios/{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else str(path)


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", name) is not None and ".." not in name and not name.startswith("/")
